# SPDX-License-Identifier: Apache-2.0
"""Samples of a data set: read one after the other, not drawn, so that a build holds each of them once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np

from training.data.samples import Sample

_log = logging.getLogger(__name__)
Entry = TypeVar("Entry")

SHOWN_PROBLEMS: Final = 5
"""Samples left out that are told of one by one, at a time; of the others only the number."""


@dataclass(frozen=True)
class DatasetSamples(Generic[Entry]):
    """A list of what there is, and how to read an entry.

    Attributes:
        entries: what the data set lists.
        read: makes the sample of an entry. Raises ValueError or OSError where the entry cannot be used, for example
            because a file is missing: it is then told in the log and left out.
    """

    entries: Sequence[Entry]
    read: Callable[[Entry], Sample]

    def __len__(self) -> int:
        return len(self.entries)

    def __call__(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples at random, or all if there are no more."""
        found: list[Sample] = []
        for row in rng.permutation(len(self)):
            if len(found) == count:
                break
            found += self.rows(int(row), int(row) + 1)
        return found

    def some(self, count: int, seed: int) -> DatasetSamples[Entry]:
        """``count`` entries at random, in their order; all if there are no more."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return DatasetSamples([self.entries[int(row)] for row in rows], self.read)

    def rows(self, start: int, stop: int) -> list[Sample]:
        """Those of the entries in a range that can be read."""
        found: list[Sample] = []
        problems: list[str] = []
        for entry in self.entries[start:stop]:
            try:
                found.append(self.read(entry))
            except (ValueError, OSError) as error:
                problems.append(str(error))
        for problem in list(dict.fromkeys(problems))[:SHOWN_PROBLEMS]:
            _log.warning("%s; the other samples are read", problem)
        if len(problems) > 1:
            _log.warning("%d of %d samples were left out", len(problems), len(problems) + len(found))
        return found
