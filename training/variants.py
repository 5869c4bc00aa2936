# SPDX-License-Identifier: Apache-2.0
"""Gives a finished model of the residual form other answers to offer beside its own, after its stages.

    python -m training.variants MODEL OUTPUT --data FOLDER [--steps 1500] [--samples 24576]

The model itself learns nothing here: what its decoder thinks of each sample is kept once, and the small module of
``backend.model.variants`` learns from that, so that the best of the model's answer and the others is near the true
pose ("Multiple Choice Learning", Guzman-Rivera et al. 2012; the small share of the loss that the others have keeps
each of them in use: Rupprecht et al. 2017, "Learning in an Uncertain World"). The model's answers stay the same to the
bit. Sentences that many poses fit are most of the samples.

May import the rest of training and backend. Legend: N samples, Q of a batch, K others, J = 24 joints.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backend.arguments import positive
from backend.body.kinematics import forward_kinematics
from backend.exits import exit_status, print_each
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.llava import load_whole
from backend.model.pose_decoder import DecodedPose, PoseContext
from backend.model.storage import VARIANTS_IN_INT8
from backend.model.variants import PoseVariants
from training.added_part import parser_of, write_with_part
from training.data.samples import Sample
from training.data.shards import SampleSource
from training.stages.batches import Collator
from training.stages.launch import in_processor_precision

OTHERS: Final = 3
"""With the model's own four answers."""
SHARES: Final = {
    "captions": 0.58,
    "descriptions": 0.12,
    "actions": 0.10,
    "situations": 0.05,
    "directives": 0.06,
    "patterns": 0.09,
}
"""Folders of shards and how many of the samples come of each; those that are not there are left out."""
_AT_ONCE: Final = 64
_BATCH: Final = 128
_RATE: Final = 3e-3
_OTHERS_ALONE: Final = 0.7
"""Share of the loss in which the model's own answer does not compete: the others cover what is possible by themselves,
else most of them learn only what is far from it."""
_EVERY_ONE: Final = 0.03
"""Weight of all answers' error beside the best one's: none is left where it began."""
_ROTATIONS: Final = 0.0125
"""Weight of the squared error of rotations beside the mean distance of the joints in metres."""
_RANKING: Final = 0.02
_WARM_UP: Final = 50


@dataclass(frozen=True)
class Thoughts:
    """What a model's decoder made of samples: see ``PoseVariants.forward``; ``targets`` (N, J, 3, 3)."""

    thoughts: Tensor
    state: Tensor
    matrices: Tensor
    moves: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def draw(data: Path, count: int, seed: int) -> list[Sample]:
    """About ``count`` samples with a pose to answer with, by SHARES.

    Raises:
        FileNotFoundError: none of the folders is there.
    """
    rng = np.random.default_rng(seed)
    there = {name: share for name, share in SHARES.items() if any((data / name).glob("shard-*.npz"))}
    if not there:
        raise FileNotFoundError(
            f"{data} has no shards of {', '.join(SHARES)}: build some with posellava data build"
        )
    samples: list[Sample] = []
    for name, share in there.items():
        source = SampleSource(data / name)
        wanted = math.ceil(count * share / sum(there.values()))
        places = [(shard, row) for shard, size in enumerate(source.sizes) for row in range(size)]
        chosen = rng.permutation(len(places))[: 2 * wanted]  # some are answered in words
        # Shard by shard, each of which is read but once.
        found = [source.read(*places[index]) for index in sorted(chosen)]
        posed = [one for one in found if one.target_aa is not None]
        samples += [posed[row] for row in rng.permutation(len(posed))[:wanted]]
    return samples


@torch.inference_mode()
def think(
    model: PoseLlavaForConditionalGeneration, collator: Collator, samples: Sequence[Sample]
) -> Thoughts:
    """One pass over the samples."""
    seen: dict[str, Any] = {}

    def keep(module: object, given: tuple[PoseContext], made: DecodedPose) -> None:
        seen["context"], seen["decoded"] = given[0], made

    hook = model.pose_decoder.register_forward_hook(keep)
    parts: list[tuple[Tensor, ...]] = []
    ordered = sorted(samples, key=collator.length)
    try:
        for start in range(0, len(ordered), _AT_ONCE):
            batch = collator.instructions(ordered[start : start + _AT_ONCE])
            inputs = {name: value for name, value in batch.inputs.items() if name != "labels"}
            with in_processor_precision():
                model(**inputs, use_cache=False, logits_to_keep=None)
            decoded, context = seen["decoded"], seen["context"]
            moves = decoded.gate_logits > 0
            answer = torch.where(moves[..., None, None], decoded.matrices, context.initial)
            parts.append(
                (decoded.thoughts.half(), context.state.half(), answer.float(), moves, batch.targets.float())
            )
    finally:
        hook.remove()
    return Thoughts(*(torch.cat(column) for column in zip(*parts, strict=True)))


def fit(variants: PoseVariants, known: Thoughts, *, steps: int, seed: int) -> Iterator[tuple[int, float]]:
    """Trains the module; yields, now and then, the step and the mean error of the best answer since the last, mm."""
    torch.manual_seed(seed)
    variants.requires_grad_(True)
    optimizer = torch.optim.AdamW(variants.parameters(), lr=_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    errors: list[float] = []
    rows = torch.randperm(len(known))
    for step in range(1, steps + 1):
        if len(rows) < min(_BATCH, len(known)):
            rows = torch.randperm(len(known))
        chosen, rows = rows[:_BATCH], rows[_BATCH:]
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, step / _WARM_UP) * (0.02 + 0.98 * cosine)
        own = known.matrices[chosen]
        with in_processor_precision():
            others, likely = variants(
                known.thoughts[chosen].float(), known.state[chosen].float(), own, known.moves[chosen]
            )
        distance, error = _errors(torch.cat([own.unsqueeze(1), others], dim=1), known.targets[chosen])
        ranking = functional.cross_entropy(likely, error.detach()[:, 1:].argmin(dim=1))
        loss = (
            (1 - _OTHERS_ALONE) * error.amin(dim=1).mean()
            + _OTHERS_ALONE * error[:, 1:].amin(dim=1).mean()
            + _EVERY_ONE * error.mean()
            + _RANKING * ranking
        )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(variants.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        errors.append(1000 * float(distance.detach().amin(dim=1).mean()))
        if step % 100 == 0 or step == steps:
            yield step, float(np.mean(errors))
            errors.clear()
    variants.requires_grad_(False)


def _errors(answers: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of answers (Q, 1 + K, J, 3, 3): mean distance of the joints, pelvises together, and what is minimised."""
    at, wanted = forward_kinematics(answers)[1], forward_kinematics(targets)[1].unsqueeze(1)
    gap = (at - at[..., :1, :]) - (wanted - wanted[..., :1, :])
    distance = (gap.square().sum(-1) + 1e-8).sqrt().mean(-1)
    turned = (answers - targets.unsqueeze(1)).square().sum((-1, -2)).mean(-1)
    return distance, distance + _ROTATIONS * turned


def give_variants(
    source: Path, output: Path, data: Path, *, steps: int, count: int, seed: int
) -> Iterator[str]:
    """Writes the model in ``source`` with other answers to offer to ``output``; yields how far it is.

    Raises:
        FileNotFoundError: no model there, or no data.
        ValueError: the model's decoder is not the residual one, or ``output`` holds something else.
    """
    torch.manual_seed(seed)
    model, processor = load_whole(source, {"pose_variants": OTHERS}, dtype=torch.float32)
    if model.config.pose_decoder != "residual":
        raise ValueError(
            f"{source} has the decoder {model.config.pose_decoder}; other answers need the residual one"
        )
    assert model.variants is not None
    model.eval()
    begun = time.monotonic()
    known = think(model, Collator(processor), draw(data, count, seed))
    yield f"{len(known)} samples thought about in {time.monotonic() - begun:.0f} s"
    for step, error in fit(model.variants, known, steps=steps, seed=seed):
        yield f"step {step} of {steps}: the best answer is off by {error:.1f} mm"
    config = {name: getattr(model.config, name) for name in ("pose_variants", "pose_variants_hidden_size")}
    write_with_part(source, output, "variants", model.variants, config=config, in_int8=VARIANTS_IN_INT8)
    yield f"wrote {output}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = parser_of(
        "training.variants",
        "Give a model other answers to offer beside its own, which stays as it is.",
        model="a saved model of the residual form",
    )
    parser.add_argument("--steps", type=positive, default=1500, help="of training (default: %(default)s)")
    parser.add_argument("--samples", type=positive, default=24576, help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    sentences = give_variants(
        arguments.model,
        arguments.output,
        arguments.data,
        steps=arguments.steps,
        count=arguments.samples,
        seed=arguments.seed,
    )
    return exit_status("variants", lambda: print_each(sentences))


if __name__ == "__main__":
    raise SystemExit(main())
