# SPDX-License-Identifier: Apache-2.0
"""What the paper reports in its tables 2 to 5, in mm, and what it claims of them. Imports nothing of the project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Reported = dict[str, dict[str, tuple[float | None, float | None]]]
"""Row to column to MPJPE and PA-MPJPE; None where the paper has none."""

TABLES: Final[dict[str, Reported]] = {
    "table2": {
        "SPIN": {"human36m": (60.2, 41.7), "3dpw": (None, 52.3)},
        "HMR2.0": {"human36m": (52.1, 41.0), "3dpw": (None, 58.4)},
        "ChatPose": {"human36m": (177.8, 55.7), "3dpw": (None, 79.0)},
        "PoseLLaVA": {"human36m": (71.7, 51.2), "3dpw": (None, 81.0)},
    },
    "table3": {
        "PoseFix": {"posefix": (130.5, 94.09)},
        "ChatPose": {"posefix": (180.5, 100.7), "posepart": (181.66, 107.33)},
        "ControlNet": {"posefix": (98.7, 71.5), "posepart": (70.3, 52.7)},
        "PoseLLaVA-Image": {"posefix": (88.8, 63.2), "posepart": (189.43, 112.06)},
        "PoseLLaVA-Pose": {"posefix": (71.7, 52.1), "posepart": (61.6, 42.3)},
    },
    "table4": {
        "PoseScript": {"generation": (214.3, 145.1)},
        "ChatPose": {"generation": (237.1, 139.9)},
        "PoseLLaVA": {"generation": (169.72, 111.03)},
    },
    "table5": {
        "PoseFix only": {"posefix": (74.6, 51.9), "posepart": (65.5, 45.9)},
        "PosePart only": {"posefix": (83.5, 57.2), "posepart": (62.9, 44.8)},
        "both": {"posefix": (71.7, 52.1), "posepart": (61.6, 42.3)},
    },
}


@dataclass(frozen=True)
class Claim:
    """That one row has a lower MPJPE than another in a column."""

    better: str
    worse: str
    column: str

    def gain(self, table: str) -> float | None:
        """By which share the paper's MPJPE is lower; None where it reports none."""
        reported = TABLES[table]
        values = [
            reported.get(row, {}).get(self.column, (None, None))[0] for row in (self.better, self.worse)
        ]
        return None if values[0] is None or values[1] is None else 1 - values[0] / values[1]


CLAIMS: Final[dict[str, tuple[Claim, ...]]] = {
    "table2": (
        Claim("PoseLLaVA", "ChatPose", "human36m"),
        Claim("PoseLLaVA", "mean pose", "drawn"),
        Claim("PoseLLaVA", "standing pose", "drawn"),
    ),
    "table3": (
        Claim("PoseLLaVA-Pose", "PoseFix", "posefix"),
        Claim("PoseLLaVA-Pose", "ChatPose", "posefix"),
        Claim("PoseLLaVA-Pose", "ChatPose", "posepart"),
        Claim("PoseLLaVA-Pose", "PoseLLaVA-Image", "posefix"),
        Claim("PoseLLaVA-Pose", "PoseLLaVA-Image", "posepart"),
        Claim("PoseLLaVA-Image", "ChatPose", "posefix"),
        # What the paper leaves out: its edits must beat leaving the pose alone.
        Claim("PoseLLaVA-Pose", "copy", "posefix"),
        Claim("PoseLLaVA-Pose", "copy", "posepart"),
    ),
    "table4": (
        Claim("PoseLLaVA", "PoseScript", "generation"),
        Claim("PoseLLaVA", "ChatPose", "generation"),
        Claim("PoseLLaVA", "mean pose", "generation"),
    ),
    "table5": (
        Claim("PosePart only", "PoseFix only", "posepart"),
        Claim("PoseFix only", "PosePart only", "posefix"),
        Claim("both", "PoseFix only", "posefix"),
        Claim("both", "PosePart only", "posepart"),
        Claim("both", "copy", "posefix"),
        Claim("both", "copy", "posepart"),
    ),
}
