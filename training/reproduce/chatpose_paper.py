# SPDX-License-Identifier: Apache-2.0
"""What ChatPose reports in its tables 1 to 3 (Feng et al. 2024). Imports nothing of the project.

Recalls at 5 / 10 / 20 in per cent; errors are MPJPE / PA-MPJPE in mm and MPJRE, which ChatPose gives times 100.
"""

from __future__ import annotations

from typing import Final

Row = tuple[float | None, ...]

RECALLS: Final[dict[str, dict[str, tuple[Row, Row]]]] = {
    "generation": {
        "PoseScript": ((22.6, 31.0, 42.3), (22.4, 32.1, 43.6)),
        "ChatPose": ((17.6, 25.3, 35.8), (28.0, 39.0, 54.4)),
    },
    "spg": {
        "PoseScript": ((None, 3.8, 6.5), (2.8, 4.3, 7.2)),
        "ChatPose": ((None, 14.2, 20.8), (10.9, 16.9, 25.3)),
    },
}
"""Of a column and a row: pose to words, words to pose. What is None cannot be read in our copy of the paper."""

REASONING: Final[dict[str, dict[str, Row]]] = {
    "SPIN": {"averaged": (244.9, 107.3, 12.4)},
    "HMR 2.0": {"averaged": (225.2, 105.7, 12.1)},
    "LLaVA + SMPLify": {"averaged": (481.1, 203.7, 20.7)},
    "LLaVA + PoseScript": {"averaged": (394.8, 186.8, 17.7)},
    "ChatPose": {
        "behavior": (307.9, 102.9, 12.1), "shape": (269.9, 103.7, 12.0), "outfits": (265.6, 102.6, 11.8),
        "pose": (277.9, 96.0, 11.7), "summary": (253.6, 103.8, 11.7), "averaged": (275.0, 101.8, 11.9),
    },
}  # fmt: skip

ESTIMATION: Final[dict[str, dict[str, Row]]] = {
    "SPIN": {"3dpw": (102.9, 62.9, 10.1), "human36m": (61.9, 42.6, None)},
    "HMR 2.0": {"3dpw": (91.0, 58.4, 9.2), "human36m": (50.0, 33.6, None)},
    "LLaVA-S": {"3dpw": (440.8, 205.4, 21.8), "human36m": (461.3, 195.4, None)},
    "LLaVA*-S": {"3dpw": (232.1, 101.1, 12.8), "human36m": (246.0, 118.2, None)},
    "GPT4-S": {"3dpw": (322.0, 136.7, 16.0), "human36m": (336.9, 144.0, None)},
    "LLaVA-P": {"3dpw": (335.2, 172.3, 16.5), "human36m": (334.1, 172.5, None)},
    "GPT4-P": {"3dpw": (396.5, 203.4, 18.6), "human36m": (354.1, 203.5, None)},
    "ChatPose": {"3dpw": (163.6, 81.9, 10.4), "human36m": (126.0, 82.4, None)},
}
