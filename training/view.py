# SPDX-License-Identifier: Apache-2.0
"""Teaches a model words about the camera; all that it answered before stays as it was, to the bit.

    python -m training.view MODEL OUTPUT --data FOLDER [--minutes 55] [--keep FILE]

Two things are learnt beside frozen weights (``backend.model.view``). The *head* tells from the text encoder's states
which sentences are tied to the camera: those of ``in_view/`` against all others, with a threshold that next to none of
the others passes. The *weights* answer such sentences as the camera sees the body: they learn from samples of the
source ``view`` (``posellava data build view``) in folders ``view*`` of the data. With ``--keep`` a training that was
stopped goes on. May import what ``training.variants`` may.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from backend.arguments import above_zero, positive
from backend.exits import exit_status, print_each
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.llava import load_whole
from backend.model.storage import VIEW_IN_INT8
from backend.model.text_encoder import TextEncoder
from backend.prompt import COMPACT_VIEW, VERBAL_ANSWERS, VIEW_ANSWER
from backend.prompt.speech import NOT_THE_TRUNKS
from blender_addon.contract.skeleton import NUM_JOINTS
from training.added_part import parser_of, write_with_part
from training.data.directives.slips import type_in
from training.data.patterns.loading import default_patterns
from training.data.patterns.sampler import Weighted
from training.data.patterns.viewing import JOINED_SHARE, varied, view_patterns
from training.data.patterns.wrapping import in_a_row, wrapped
from training.data.samples import Sample
from training.data.shards import INDEX, SampleSource
from training.stages.batches import Collator
from training.stages.launch import in_processor_precision
from training.stages.objectives import instruction_measures, instruction_terms, weighted_sum
from training.text_heads import ReadTexts, chances, fit, instructions, said, weighted

RANK: Final = 32
LOSSES: Final = {"gate": 2.0, "moving": 1.0, "still": 0.2, "joints": 4.0}
BATCH: Final = 64
WINDOW: Final = 16
"""Batches that are sorted by length together."""
RATE: Final = 1.2e-3
WARM_UP: Final = 60
FINAL: Final = 0.02
KEPT_BYTES: Final = 1_000_000_000
OTHERS_SHARE: Final = 0.2
"""Of the source's sentences that are not about the camera: asked in its frame, they are answered as ever."""
WORDS_LEFT_OUT: Final = 0.05
"""Of a sentence's words while the weights learn: no single one is to be what a wish is known by."""
HEAD_BATCH: Final = (48, 80)
"""Sentences about the camera, and others."""
OTHERS_PASS: Final = 0.025
"""Of held-out sentences that are not about the camera so many may be taken for it."""
THRESHOLDS: Final = (0.5, 0.9)
LOG_STEPS: Final = 50


class KeptStates(nn.Module):
    """A frozen text encoder that reads each text once; of the words' states so large a share is left out by chance."""

    def __init__(self, encoder: TextEncoder, word_dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.word_dropout = word_dropout
        self.kept: dict[bytes, Tensor] = {}
        self._size = 0

    def forward(self, texts: Tensor) -> Tensor:
        """As the encoder's."""
        lengths = (texts != self.encoder.padding).sum(1).tolist()
        keys = [row[:length].numpy().tobytes() for row, length in zip(texts.int(), lengths, strict=True)]
        fresh = {key: row for row, key in enumerate(keys) if key not in self.kept}
        read: dict[bytes, Tensor] = {}
        ordered = sorted(fresh.items(), key=lambda item: lengths[item[1]])
        for start in range(0, len(ordered), 24):
            part = ordered[start : start + 24]
            with torch.no_grad():
                states = self.encoder(texts[[row for _, row in part], : lengths[part[-1][1]]])
            for (key, row), state in zip(part, states.bfloat16(), strict=True):
                read[key] = state[: lengths[row]].clone()
        if self._size < KEPT_BYTES:
            self.kept |= read
            self._size += sum(state.nbytes for state in read.values())
        rows = [read.get(key, self.kept.get(key)) for key in keys]
        states = nn.utils.rnn.pad_sequence([row for row in rows if row is not None], batch_first=True)
        states = nn.functional.pad(states, (0, 0, 0, texts.shape[1] - states.shape[1])).float()
        if not self.word_dropout:
            return states
        return states * (torch.rand(states.shape[:2]) >= self.word_dropout).unsqueeze(-1)


def teach_weights(
    model: PoseLlavaForConditionalGeneration,
    collator: Collator,
    draw: Callable[[int], Sequence[Sample]],
    *,
    seconds: float,
    steps: int | None = None,
    keep: Path | None = None,
    held: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """Trains what is added to the weights, for so long; says now and then how well it does.

    Args:
        model: in float32, frozen.
        collator: makes its batches.
        draw: so many samples about the camera with a pose to answer with.
        seconds: of training, those before a stop included.
        steps: train so many instead, whatever the time: the same seed ends with the same weights.
        keep: where to keep how far it is; None for nowhere.
        held: what was kept there, to go on from; None to begin.
    """
    assert model.view is not None
    weights, trunk = model.view.weights, _trunk(model)
    optimizer = _optimizer(weights)
    step, spent = 0, 0.0
    if held is not None:
        weights.load_state_dict(held["weights"])
        optimizer.load_state_dict(held["optimizer"])
        step, spent = held["step"], held["spent"]
    begun, saved = time.monotonic() - spent, time.monotonic()
    share = 0.0
    seen: list[Mapping[str, float]] = []
    with _learning(model):
        while share < 1:
            samples = sorted(draw(BATCH * WINDOW), key=collator.length)
            for row in torch.randperm(WINDOW).tolist():
                spent = time.monotonic() - begun
                share = spent / seconds if steps is None else step / steps
                if share >= 1:
                    break
                rate = RATE * min(1.0, (step + 1) / WARM_UP) * _cosine(share)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                seen.append(_step(model, collator, samples[row * BATCH : (row + 1) * BATCH], optimizer))
                step += 1
                if step % LOG_STEPS == 0:
                    yield f"step {step}, {spent:.0f} of {seconds:.0f} s: {_means(seen)}"
                    seen.clear()
            if keep is not None and time.monotonic() - saved > 60:
                saved = time.monotonic()
                _keep(keep, trunk, weights, optimizer, step, spent)
    if keep is not None:
        _keep(keep, trunk, weights, optimizer, step, spent)


def _optimizer(weights: nn.Module) -> torch.optim.Optimizer:
    """Only matrices decay."""
    matrices = [weight for weight in weights.parameters() if weight.ndim == 2]
    vectors = [weight for weight in weights.parameters() if weight.ndim != 2]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
        lr=RATE,
        betas=(0.9, 0.99),
    )


@contextmanager
def _learning(model: PoseLlavaForConditionalGeneration) -> Iterator[None]:
    """What is added to the weights learns, and what the text encoder makes of a text is kept for the next time."""
    assert model.view is not None
    encoder = model.model.text_encoder
    model.view.weights.requires_grad_(True)
    model.model.text_encoder = KeptStates(encoder, WORDS_LEFT_OUT)  # type: ignore[assignment,arg-type]
    try:
        yield
    finally:
        model.model.text_encoder = encoder
        model.view.weights.requires_grad_(False)


def _means(seen: Sequence[Mapping[str, float]]) -> str:
    """The mean of each figure over the steps."""
    means = {name: sum(one[name] for one in seen) / len(seen) for name in seen[0]}
    return ", ".join(f"{name} {value:.3g}" for name, value in means.items())


def _step(
    model: PoseLlavaForConditionalGeneration,
    collator: Collator,
    samples: Sequence[Sample],
    optimizer: torch.optim.Optimizer,
) -> dict[str, float]:
    assert model.view is not None
    batch = collator.instructions(samples)
    inputs = {name: value for name, value in batch.inputs.items() if name != "labels"}
    with in_processor_precision():
        output = model.view.answer(model, {**inputs, "use_cache": False, "logits_to_keep": None})
    terms = instruction_terms(output, batch, LOSSES)
    loss = weighted_sum(terms, LOSSES)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.view.weights.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        measures = {name: float(value.mean()) for name, value in instruction_measures(output, batch).items()}
    return {"loss": float(loss.detach()), **{n: float(t.detach()) for n, t in terms.items()}, **measures}


def _keep(
    file: Path,
    trunk: str,
    weights: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    spent: float,
) -> None:
    partial = file.with_suffix(".partial")
    held = {
        "trunk": trunk,
        "weights": weights.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "spent": spent,
    }
    torch.save(held, partial)
    partial.replace(file)


def _held(file: Path | None, model: PoseLlavaForConditionalGeneration) -> Mapping[str, Any] | None:
    """What ``_keep`` wrote, if it did.

    Raises:
        ValueError: beside other weights than the model's.
    """
    if file is None or not file.is_file():
        return None
    held: Mapping[str, Any] = torch.load(file)
    if held.get("trunk") != _trunk(model):
        raise ValueError(f"{file} was learnt beside other weights than the model's: delete it to begin anew")
    return held


def _trunk(model: PoseLlavaForConditionalGeneration) -> str:
    """SHA-256 of the weights that words about the camera are learnt beside."""
    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        if not name.startswith(NOT_THE_TRUNKS):
            digest.update(weight.detach().numpy().tobytes())
    return digest.hexdigest()


def _cosine(share: float) -> float:
    return FINAL + (1 - FINAL) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def sentences(rng: np.random.Generator, count: int, *, about_camera: bool, held_out: bool) -> list[str]:
    """So many sentences of the patterns as people type them, without poses."""
    others = weighted(default_patterns(), held_out)
    own = weighted(view_patterns(), held_out) if about_camera else others
    return [_sentence(rng, own, others, about_camera, held_out) for _ in range(count)]


def _sentence(
    rng: np.random.Generator, own: Weighted, others: Weighted, about_camera: bool, held_out: bool
) -> str:
    pattern = own.draw(rng)
    assert pattern is not None
    text, imperative = said(rng, pattern, held_out)
    if about_camera:
        text = varied(rng, text)
    if pattern.lang != "en":
        return type_in(rng, text, slip_share=0.08)
    row = [text]
    if imperative and rng.random() < JOINED_SHARE:
        other = others.draw(rng)
        if other is not None and other.lang == "en" and other.usable(held_out=held_out, imperative=True):
            row.insert(int(rng.integers(2)), said(rng, other, held_out, imperative=True)[0])
    unmoved = np.zeros(NUM_JOINTS, dtype=bool)
    return wrapped(rng, in_a_row(rng, row), imperative=imperative, side=None, unmoved=unmoved)


def teach_head(
    model: PoseLlavaForConditionalGeneration,
    processor: PoseLlavaProcessor,
    data: Path,
    *,
    count: int,
    steps: int,
    seed: int,
) -> Iterator[str]:
    """Trains the head on so many sentences about the camera and twice as many others, and sets the processor's
    threshold; says what it tells apart."""
    assert model.view is not None
    head, rng = model.view.asks, np.random.default_rng(seed)
    torch.manual_seed(seed)

    def read(about_camera: bool, number: int, held_out: bool, more: Sequence[str] = ()) -> ReadTexts:
        texts = sentences(rng, number, about_camera=about_camera, held_out=held_out)
        return ReadTexts(model, processor, [*texts, *more])

    about = read(True, count, False)
    others = read(False, count, False, instructions(data, count, rng))
    yield f"head: read {len(about.states)} sentences about the camera and {len(others.states)} others"
    fit(head, about, others, shares=HEAD_BATCH, steps=steps, rng=rng)
    unseen_others = chances(head, read(False, count // 4, True))
    unseen_about = chances(head, read(True, count // 8, True))
    allowed = float(np.quantile(unseen_others, 1 - OTHERS_PASS))
    threshold = float(np.clip(math.ceil(100 * allowed) / 100, *THRESHOLDS))
    processor.view_threshold = processor.prompter.view_threshold = threshold
    yield (
        f"head: at {threshold:.2f} it takes {np.mean(unseen_about >= threshold):.1%} of held-out sentences about the "
        f"camera and {np.mean(unseen_others >= threshold):.2%} of others"
    )


class _Samples:
    """Samples about the camera with a pose to answer with, from folders ``view*``, in an order of chance.

    Raises:
        FileNotFoundError: there are no such folders.
        ValueError: they have no such samples.
    """

    def __init__(self, data: Path, seed: int) -> None:
        folders = sorted(path.parent for path in data.glob(f"view*/{INDEX}"))
        if not folders:
            raise FileNotFoundError(f"{data} has no folder view: build one with posellava data build view")
        self._rng = np.random.default_rng(seed)
        self._sources = [SampleSource(folder) for folder in folders]
        self._shards = [(source, shard) for source in self._sources for shard in range(len(source.sizes))]
        self._waiting: list[Sample] = []
        self._read_more()
        if not self._waiting:
            raise ValueError(
                f"{data}: no sample of {', '.join(map(str, folders))} has a view and a pose to answer with"
            )

    def draw(self, count: int) -> list[Sample]:
        """So many of them."""
        while len(self._waiting) < count:
            self._read_more()
        drawn_now, self._waiting = self._waiting[:count], self._waiting[count:]
        return drawn_now

    def _read_more(self) -> None:
        for row in self._rng.permutation(len(self._shards))[:4].tolist():
            source, shard = self._shards[row]
            samples = [source.read(shard, one) for one in range(source.sizes[shard])]
            self._waiting += [one for one in samples if self._is_used(one)]
        self._waiting = [self._waiting[row] for row in self._rng.permutation(len(self._waiting))]

    def _is_used(self, sample: Sample) -> bool:
        if sample.target_aa is None or sample.view is None:
            return False
        return sample.kind.startswith("view.") or bool(self._rng.random() < OTHERS_SHARE)


def give_view(
    source: Path,
    output: Path,
    data: Path,
    *,
    seconds: float,
    weight_steps: int | None = None,
    keep: Path | None = None,
    count: int = 16000,
    steps: int = 3000,
    seed: int = 0,
) -> Iterator[str]:
    """Writes the model in ``source``, which learns words about the camera, to ``output``; yields how far it is.

    A model that knows such words goes on from what it knows. ``seconds``, or ``weight_steps`` whatever the time, are of
    the weights, ``count`` sentences and ``steps`` of the head.

    Raises:
        FileNotFoundError: no model there, or no data.
        ValueError: the model has no text encoder, no sample can be learnt from, ``keep`` is of other weights, or
            ``output`` holds something else.
    """
    torch.manual_seed(seed)
    samples = _Samples(data, seed)
    model, processor = load_whole(source, {"pose_view_rank": RANK}, dtype=torch.float32)
    if model.model.text_encoder is None or model.view is None:
        raise ValueError(
            f"{source} has no text encoder: what is tied to the camera is told from what that says"
        )
    model.eval().requires_grad_(False)
    known = processor.verbal_answers or {}
    settings = {
        "view_template": COMPACT_VIEW,
        "verbal_answers": known | {VIEW_ANSWER: VERBAL_ANSWERS[VIEW_ANSWER]},
    }
    processor = PoseLlavaProcessor.from_pretrained(source, **settings)
    held = _held(keep, model)  # before the head's minutes
    yield from teach_head(model, processor, data, count=count, steps=steps, seed=seed)
    yield from teach_weights(
        model, Collator(processor), samples.draw, seconds=seconds, steps=weight_steps, keep=keep, held=held
    )
    write_with_part(
        source,
        output,
        "view",
        model.view,
        config={"pose_view_rank": RANK},
        processor=settings | {"view_threshold": processor.view_threshold},
        in_int8=VIEW_IN_INT8,
    )
    yield f"wrote {output}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = parser_of(
        "training.view",
        "Teach a model words about the camera; all that it answered before stays as it was.",
        model="a saved model with a text encoder",
        data="folders of shards by name, view* among them",
    )
    parser.add_argument("--minutes", type=above_zero, default=55, help="of training (default: %(default)s)")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="where to keep how far it is, to go on from there"
    )
    parser.add_argument(
        "--sentences", type=positive, default=16000, help="that the head learns from (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    sentences = give_view(
        arguments.model,
        arguments.output,
        arguments.data,
        seconds=60 * arguments.minutes,
        keep=arguments.keep,
        count=arguments.sentences,
        seed=arguments.seed,
    )
    return exit_status("view", lambda: print_each(sentences))


if __name__ == "__main__":
    raise SystemExit(main())
