# SPDX-License-Identifier: Apache-2.0
"""``posellava eval --suite conversations``: whether a model still talks as it did before it learnt poses.

Of held-out conversations without poses, such as LLaVA's instruction data: the cross-entropy of their answers, and what
the model itself answers to each question after the turns before it, the likeliest token each time. Two models are
compared by how much the loss has changed and how many answers are word for word the same. Beside it stands how often a
pose is answered, which nobody asked for.

Legend: N conversations, each with one or more questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch

from backend.engines.speaking import say
from backend.engines.torch import TorchEngine
from backend.model.llava import is_whole, load_base
from backend.prompt import POSE_OUTPUT, PromptSample
from training.data.frames import Frame
from training.data.samples import Sample, open_image
from training.data.shards import SampleSource

from .bootstrap import Bootstrap, Estimate

TASK: Final = "chat"
LABELS: Final = {
    "loss_before": "loss of a token, before",
    "loss": "loss of a token",
    "loss_change": "  its change",
    "unchanged": "answers unchanged, %",
    "alike": "  of their words alike, %",
    "poses_before": "answers with a pose, before, %",
    "poses": "answers with a pose, %",
}
"""Figures in the order in which they are shown."""


@dataclass(frozen=True)
class Responses:
    """What a model makes of N conversations.

    Attributes:
        losses: (N,) cross-entropy, summed over the tokens of a conversation's answers, the end of each among them.
        tokens: (N,) how many these are.
        answers: for each conversation what the model itself answers to each of its questions.
    """

    losses: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.float64]
    answers: list[list[str]]


def load_speaker(folder: Path, *, device: str, threads: int | None) -> TorchEngine:
    """A model that converses: PoseLLaVA's own, an adapter, or a published LLaVA-NeXT as it is.

    Raises:
        FileNotFoundError: there is no model.
        ValueError: it is damaged, or it does not converse in its own words.
    """
    if (folder / "config.json").is_file() and not is_whole(folder):
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        model, processor = load_base(folder, {}, dtype=dtype)
        engine = TorchEngine(cast(Any, model.to(device)), processor, name=folder.name)
    else:
        engine = TorchEngine.load(folder, device=device, threads=threads)
    prompter = engine.processor.prompter
    if TASK not in prompter.templates or prompter.spoken_tokens is not None:
        raise ValueError(f"the model in {folder} does not converse: give one that started from LLaVA")
    return engine


def held_out(source: Path, count: int, frame: Frame | None = None) -> list[Sample]:
    """The first ``count`` conversations without poses of a folder of shards or a JSON file; ``frame`` is the world of
    the poses that others in the file may have, None to recognise it.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: fewer than two.
    """
    data = SampleSource(source, frame=frame)
    rows = (data.read(shard, row) for shard, size in enumerate(data.sizes) for row in range(size))
    wanted = (row for row in rows if row.task == TASK and row.reply and not len(row.targets_aa))
    found = list(islice(wanted, count))
    if len(found) < 2:
        raise ValueError(f"{source} holds fewer than two conversations without poses")
    return found


@torch.inference_mode()
def respond_to(
    engine: TorchEngine,
    samples: Sequence[Sample],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Responses:
    """Has a model read conversations and answer their questions, each by itself."""
    losses, tokens, answers = [], [], []
    for done, sample in enumerate(samples, 1):
        shown = sample if sample.image is None else replace(sample, image=open_image(sample.image))
        loss, count = _loss(engine, shown)
        losses.append(loss)
        tokens.append(count)
        answers.append([_answer(engine, shown, turn) for turn in range(1 + len(shown.further))])
        on_progress(done, len(samples))
    return Responses(np.array(losses), np.array(tokens, dtype=np.float64), answers)


def _loss(engine: TorchEngine, sample: Sample) -> tuple[float, int]:
    """Cross-entropy over the tokens of a conversation's answers, and how many they are."""
    inputs = dict(
        engine.processor.encode(
            [cast(PromptSample, sample)], with_labels=True, replies=[sample.reply], further=[sample.further]
        ).to(engine.model.device)
    )
    for name in ("headings", "answer_at"):
        del inputs[name]
    output = engine.model(**inputs, use_cache=False)
    assert output.text_loss is not None
    assert output.logits is not None
    return float(output.text_loss) * len(output.logits), len(output.logits)


def _answer(engine: TorchEngine, sample: Sample, turn: int) -> str:
    """What the model answers to the question of a turn, after what the conversation holds before it."""
    prompter = engine.processor.prompter
    said = [(sample.instruction, sample.reply or ""), *sample.further][: turn + 1]
    said[-1] = (said[-1][0], "")
    prompts = prompter.encode([cast(PromptSample, sample)], replies=[said[0][1]], further=[said[1:]])
    [tokens] = say(prompter, TASK, prompts, engine)
    return prompter.tokenizer.said(tokens)


def compared(before: Responses | None, after: Responses, *, seed: int) -> dict[str, Estimate]:
    """The figures of LABELS with their intervals over conversations; without a model before only those of one.

    Raises:
        ValueError: the two do not cut the same words into the same tokens.
    """
    bootstrap = Bootstrap(len(after.tokens), seed)
    asked = np.array([len(answers) for answers in after.answers], dtype=np.float64)
    found = {
        "loss": bootstrap.ratio(after.losses, after.tokens),
        "poses": bootstrap.ratio(100 * _poses(after), asked),
    }
    if before is None:
        return found
    if not np.array_equal(before.tokens, after.tokens):
        raise ValueError("the two models have different tokenizers: their losses of a token are not alike")
    pairs = [list(zip(*both, strict=True)) for both in zip(before.answers, after.answers, strict=True)]
    same = np.array([sum(one == other for one, other in each) for each in pairs], dtype=np.float64)
    alike = np.array([sum(_alike(one, other) for one, other in each) for each in pairs])
    return found | {
        "loss_before": bootstrap.ratio(before.losses, before.tokens),
        "loss_change": bootstrap.ratio(after.losses - before.losses, after.tokens),
        "unchanged": bootstrap.ratio(100 * same, asked),
        "alike": bootstrap.ratio(100 * alike, asked),
        "poses_before": bootstrap.ratio(100 * _poses(before), asked),
    }


def _poses(given: Responses) -> npt.NDArray[np.float64]:
    """(N,) how many of the answers hold a pose."""
    return np.array([sum(POSE_OUTPUT in answer for answer in each) for each in given.answers], np.float64)


def _alike(one: str, other: str) -> float:
    """The share of words that two answers have in common, in order; 1 where they are the same."""
    return SequenceMatcher(None, one.split(), other.split(), autojunk=False).ratio()


def conversations_table(figures: Mapping[str, Estimate], about: Mapping[str, Any]) -> str:
    """As lines of text, with intervals of 95 %."""
    lines = [
        f"{about['cases']} conversations of {about['source']} with {about['questions']} questions; "
        + about["model_name"]
        + (f", before: {about['before']}" if about.get("before") else "")
    ]
    for name, label in LABELS.items():
        if name in figures:
            lines.append(f"{label:34s}{figures[name].told(3 if 'loss' in name else 1):>26s}")
    return "\n".join(lines)


def conversations_json(
    figures: Mapping[str, Estimate],
    about: Mapping[str, Any],
    samples: Sequence[Sample],
    before: Responses | None,
    after: Responses,
) -> dict[str, Any]:
    """As JSON: each figure with its interval, and every question with its answers."""
    rows = []
    for row, sample in enumerate(samples):
        asked = [sample.instruction, *(question for question, _ in sample.further)]
        rows += [
            {"id": sample.id, "question": question, "answer": after.answers[row][turn]}
            | ({} if before is None else {"before": before.answers[row][turn]})
            for turn, question in enumerate(asked)
        ]
    return {
        **about,
        **{name: figures[name].value for name in LABELS if name in figures},
        "intervals": {name: [one.low, one.high] for name, one in figures.items()},
        "answers": rows,
    }
