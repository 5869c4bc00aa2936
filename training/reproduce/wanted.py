# SPDX-License-Identifier: Apache-2.0
"""What every table is ordered by, whichever paper it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .contestants import Effort


@dataclass(frozen=True)
class Wanted:
    """What to reproduce, and of what.

    Attributes:
        table: a key of COLUMNS in the module of the paper.
        output: the folder; the contestants are kept in it for other tables.
        poses: a pose file or folder for the project's own data; None for constructed poses.
        count: cases of each column.
        effort: how long each contestant trains.
        test: for each column of the table a data set whose samples are its cases.
        processes: contestants that are trained at a time.
    """

    table: str
    output: Path
    poses: Path | None = None
    count: int = 300
    effort: Effort = field(default_factory=Effort)
    test: Mapping[str, Path] = field(default_factory=dict)
    processes: int = 1
