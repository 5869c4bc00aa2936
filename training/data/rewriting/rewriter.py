# SPDX-License-Identifier: Apache-2.0
"""Rewords the instructions of built samples, shard by shard; going on where an interrupted run stopped.

Each answer is kept in a small database as soon as it is there, under what was asked of whom, so that nothing is asked
twice. An answer that lost a side or a number, or is no sentence, is not used: the sample keeps its own words.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from training.data.build import write_index
from training.data.captions.correction import PARTS, changed_parts
from training.data.samples import Sample
from training.data.shards import INDEX, SampleSource, shard_name, write_shard

from .chat import ChatModel

FOLDER: Final = Path(__file__).parent
CACHE: Final = "answers.sqlite"
SHARD_SIZE: Final = 4096
"""Samples of a shard where the original is one file."""
NAMED_PARTS: Final = 3
"""A sample whose poses differ in more parts than this is asked about without naming them."""
MOST_WORDS: Final = 3
"""An answer longer than this many times the original says something else."""

_TELLING: Final = re.compile(r"left|right|both|\d+", re.IGNORECASE)
LONGEST: Final = 40
"""Words of a situation."""
_PARTS: Final = re.compile(
    r"\b(arms?|hands?|elbows?|wrists?|shoulders?|legs?|knees?|foot|feet|ankles?|hips?|thighs?|torso|trunk|head|neck)\b",
    re.IGNORECASE,
)
_NOT_A_SIDE: Final = re.compile(
    r"\b(right angles?|all right|right now|right away|left over)\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Progress:
    """How far a run is: samples written, and how many of them kept their own words."""

    done: int
    kept: int


class Answers:
    """Answers on disk, by question.

    Args:
        path: the database; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT)")

    def get(self, key: str) -> str | None:
        """The answer, if there is one."""
        row = self._connection.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str) -> None:
        """Keeps an answer for good."""
        with self._connection:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, answer))

    def close(self) -> None:
        """Closes the database."""
        self._connection.close()


def question(sample: Sample) -> str:
    """What the model is asked: the text and, where few body parts change, their names."""
    if sample.pose_aa is None or sample.target_aa is None:
        return sample.instruction
    changed = changed_parts(sample.pose_aa[None], sample.target_aa[None])[0]
    names = [name.replace("_", " ") for name, moved in zip(PARTS, changed, strict=True) if moved]
    if not 0 < len(names) <= NAMED_PARTS:
        return sample.instruction
    return f"{sample.instruction}\nBody part: {', '.join(names).replace('root', 'whole body')}"


def faithful(original: str, answer: str) -> bool:
    """Whether the answer is one line of words that speaks of the same sides and numbers as the original."""
    if not answer or "\n" in answer or len(answer.split()) > MOST_WORDS * len(original.split()) + 6:
        return False
    return _telling(original) == _telling(answer)


def implicit(original: str, answer: str) -> bool:
    """Whether the answer is one line of words that names no part of a body: what somebody does, not how."""
    return (
        bool(answer) and "\n" not in answer and len(answer.split()) <= LONGEST and not _PARTS.search(answer)
    )


@dataclass(frozen=True)
class Manner:
    """In which manner texts are reworded: the file of what the model is told, and which answers may be used."""

    prompt: Path
    accepts: Callable[[str, str], bool]


MANNERS: Final = {
    "instructions": Manner(FOLDER / "prompt.txt", faithful),
    "situations": Manner(FOLDER / "situations.txt", implicit),
}
"""As a patient instructor says it (the paper's PosePart), or as what somebody may be doing (ChatPose's SPG)."""


def _telling(text: str) -> set[str]:
    return {word.lower() for word in _TELLING.findall(_NOT_A_SIDE.sub(" ", text))} - {"both"}


class Rewriter:
    """Asks a model to reword texts.

    Args:
        model: whom to ask.
        answers: what it said before.
        parallel: questions under way at the same time.
        manner: a key of MANNERS.
    """

    def __init__(
        self, model: ChatModel, answers: Answers, *, parallel: int = 8, manner: str = "instructions"
    ) -> None:
        self._model = model
        self._answers = answers
        self._parallel = parallel
        self._accepts = MANNERS[manner].accepts
        self._prompt = MANNERS[manner].prompt.read_text(encoding="utf-8")

    def reword(self, samples: Sequence[Sample]) -> tuple[list[Sample], int]:
        """The samples with new words, and how many kept their own.

        Raises:
            ChatError: the model does not answer; what it answered before is kept.
        """
        questions = [question(sample) for sample in samples]
        keys = {text: self._key(text) for text in questions}
        missing = [text for text, key in keys.items() if self._answers.get(key) is None]
        with ThreadPoolExecutor(self._parallel) as pool:
            asked = [pool.submit(self._model.ask, self._prompt, text) for text in missing]
            try:
                for text, future in zip(missing, asked, strict=True):
                    self._answers.put(keys[text], future.result())
            except BaseException:
                for future in asked:
                    future.cancel()
                raise
        reworded, kept = [], 0
        for sample, text in zip(samples, questions, strict=True):
            answer = (self._answers.get(keys[text]) or "").strip().strip('"')
            if self._accepts(sample.instruction, answer):
                reworded.append(replace(sample, instruction=answer))
            else:
                reworded.append(sample)
                kept += 1
        return reworded, kept

    def _key(self, text: str) -> str:
        asked = "\0".join((self._model.address, self._model.name, self._prompt, text))
        return hashlib.sha256(asked.encode()).hexdigest()


def rewrite(
    source: Path, folder: Path, model: ChatModel, *, parallel: int = 8, manner: str = "instructions"
) -> Iterator[Progress]:
    """Writes a folder of shards like ``source`` with reworded instructions; yields after each shard.

    Args:
        source: a folder of shards, or a file in the paper's JSON form.
        folder: of the new shards and of the answers; shards that it holds already are left as they are.
        model: whom to ask.
        parallel: questions under way at the same time.
        manner: a key of MANNERS.

    Raises:
        FileNotFoundError: no samples there.
        ValueError: the folder holds something else.
        ChatError: the model does not answer.
    """
    samples = SampleSource(source)
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"source": str(source), "reworded_by": model.name}
    if manner != "instructions":
        identity["manner"] = manner
    index = folder / INDEX
    if index.is_file() and json.loads(index.read_text(encoding="utf-8"))["build"] != identity:
        raise ValueError(f"{folder} holds other samples; choose another folder or delete it")
    pieces = [
        [(shard, row) for row in range(start, min(start + SHARD_SIZE, size))]
        for shard, size in enumerate(samples.sizes)
        for start in range(0, size, SHARD_SIZE)
    ]
    counts = [
        len(rows) if (folder / shard_name(number)).is_file() else 0 for number, rows in enumerate(pieces)
    ]
    write_index(folder, identity, counts)
    with closing(Answers(folder / CACHE)) as answers:
        rewriter = Rewriter(model, answers, parallel=parallel, manner=manner)
        kept = 0
        for number, rows in enumerate(pieces):
            if not counts[number]:
                reworded, unchanged = rewriter.reword([samples.read(*row) for row in rows])
                write_shard(folder / shard_name(number), reworded)
                counts[number], kept = len(rows), kept + unchanged
                write_index(folder, identity, counts)
            yield Progress(sum(counts), kept)
