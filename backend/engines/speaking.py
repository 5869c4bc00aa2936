# SPDX-License-Identifier: Apache-2.0
"""Answers in the model's own words, token by token: the same for every engine.

Of all that may follow the likeliest token is said, so that an answer is the same each time. ``<POSE>`` may come
anywhere in an answer and more than once; what was said up to it is then read once more, as an edit's question is, and
the pose decoded. Questions of one length are answered side by side.

Legend: B questions side by side, L their tokens, V tokens that may be said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from backend.prompt import POSE_OUTPUT, PromptBatch, Prompter
from backend.query import Answer, OnWords, Query
from blender_addon.contract.kinematics import yaw_matrix

from .answers import finish

MOST_TOKENS: Final = 160
"""An answer ends after so many."""
SIDE_BY_SIDE: Final = 32
MOST_POSES: Final = 8
"""In one answer; as many as a turn of the history may hold."""
Floats = npt.NDArray[np.float32]
State = TypeVar("State")


class Reader(Protocol[State]):
    """What an engine does of it. A state is what the words so far have left behind, and nobody else's: between two
    words the engine may be asked something else."""

    def read(self, prompts: PromptBatch) -> tuple[Floats, State]:
        """The logits (B, V) of the first words, and the state after the questions."""
        ...

    def go_on(self, tokens: npt.NDArray[np.int64], state: State) -> tuple[Floats, State]:
        """The logits (B, V) of what follows the tokens (B,)."""
        ...

    def poses(self, prompts: PromptBatch) -> npt.NDArray[np.float64]:
        """(J, 3, 3) the pose of the last ``<POSE>`` in the one row of ``prompts``, without the heading."""
        ...


@dataclass
class _Saying:
    """An answer that grows."""

    tokens: list[int]
    ended: bool = False


def apart(
    prompter: Prompter,
    queries: Sequence[Query],
    pose: Callable[[Sequence[Query]], list[Answer]],
    say: Callable[[Sequence[Query], OnWords | None], list[Answer]],
    on_words: OnWords | None,
) -> list[Answer]:
    """Answers in order, where those in the model's own words are given by ``say`` and all others by ``pose``.

    Raises:
        ValueError: an unknown task, or a query that lacks the pose or image its task needs.
    """
    spoken = [
        place
        for place, query in enumerate(queries)
        if query.task in prompter.templates and prompter.speaks(query.task)
    ]
    if not spoken:
        return pose(queries)
    rest = [place for place in range(len(queries)) if place not in set(spoken)]
    told = None if on_words is None else lambda number, words: on_words(spoken[number], words)
    answers = dict(zip(rest, pose([queries[place] for place in rest]) if rest else [], strict=True))
    answers |= zip(spoken, say([queries[place] for place in spoken], told), strict=True)
    return [answers[place] for place in range(len(queries))]


def speak(
    prompter: Prompter, queries: Sequence[Query], reader: Reader[State], on_words: OnWords | None = None
) -> list[Answer]:
    """Answer questions of tasks that are answered in the model's own words.

    Args:
        prompter: lays the questions out.
        queries: what is asked.
        reader: the engine's part.
        on_words: is told what has been said after each word; see ``OnWords``.

    Raises:
        ValueError: a query that lacks the pose or image that its task needs.
    """
    answers: dict[int, Answer] = {}
    alone = [prompter.encode([query]) for query in queries]
    for places in _of_one_length(queries, alone):
        asked = [queries[place] for place in places]
        told = None if on_words is None else partial(_told_by_place, on_words, places)
        said = say(prompter, asked[0].task, prompter.encode(asked), reader, told)
        for tokens, place in zip(said, places, strict=True):
            answers[place] = _answer(prompter, queries[place], alone[place], tokens, reader)
    return [answers[place] for place in range(len(queries))]


def _told_by_place(on_words: OnWords, places: Sequence[int], row: int, words: str) -> bool:
    return on_words(places[row], words)


def _of_one_length(queries: Sequence[Query], prompts: Sequence[PromptBatch]) -> Iterator[list[int]]:
    """Places of queries whose questions are equally long and of one task."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
        found[query.task, prompt.input_ids.shape[1]].append(place)
    for places in found.values():
        for start in range(0, len(places), SIDE_BY_SIDE):
            yield places[start : start + SIDE_BY_SIDE]


def say(
    prompter: Prompter,
    task: str,
    prompts: PromptBatch,
    reader: Reader[State],
    on_words: OnWords | None = None,
) -> list[list[int]]:
    """The tokens that are answered to questions of one task that are equally long, each without the one that ends it.

    Args:
        prompter: which laid the questions out.
        task: one that is answered in the model's own words.
        prompts: the questions, up to where the answer is to begin.
        reader: the engine's part.
        on_words: is told by the row of a question what has been said to it after each word; see ``OnWords``.
    """
    tokens, allowed = prompter.may_say(task)
    end, output = prompter.tokenizer.eos_id, prompter.tokenizer.id_of(POSE_OUTPUT)
    said = [_Saying([]) for _ in prompts.input_ids]
    logits, state = reader.read(prompts)
    for _ in range(MOST_TOKENS):
        chosen = tokens[np.where(allowed, logits, -np.inf).argmax(axis=1)]
        for row, (saying, token) in enumerate(zip(said, chosen.tolist(), strict=True)):
            if saying.ended:
                continue
            full = token == output and saying.tokens.count(output) == MOST_POSES
            if token == end or full:
                saying.ended = True
                continue
            saying.tokens.append(token)
            if on_words is not None and not on_words(
                row, prompter.tokenizer.said(saying.tokens).rstrip("\ufffd")
            ):
                saying.ended = True
        if all(saying.ended for saying in said):
            break
        logits, state = reader.go_on(chosen, state)
    return [saying.tokens for saying in said]


def _answer(
    prompter: Prompter, query: Query, prompts: PromptBatch, tokens: list[int], reader: Reader[State]
) -> Answer:
    """The words, and the poses that stand in them; the first one is the answer's, all of them its variants."""
    text = prompter.tokenizer.said(tokens).replace("\ufffd", "")
    output = prompter.tokenizer.id_of(POSE_OUTPUT)
    matrices = [
        reader.poses(_with_tokens(prompts, tokens[: place + 1]))
        for place, token in enumerate(tokens)
        if token == output
    ]
    if not matrices:
        return Answer(None, text)
    turned = np.stack(matrices)
    turned[:, 0] = yaw_matrix(float(prompts.headings[0])) @ turned[:, 0]
    poses_aa = finish([query] * len(turned), turned)
    return Answer(poses_aa[0], text, poses_aa if len(poses_aa) > 1 else None)


def _with_tokens(prompts: PromptBatch, tokens: Sequence[int]) -> PromptBatch:
    """A question with what was answered to it so far."""
    more = np.array([tokens], dtype=np.int64)
    return replace(
        prompts,
        input_ids=np.concatenate([prompts.input_ids, more], axis=1),
        attention_mask=np.concatenate([prompts.attention_mask, np.ones_like(more)], axis=1),
        text_places=np.concatenate([prompts.text_places, np.full_like(more, -1)], axis=1),
    )
