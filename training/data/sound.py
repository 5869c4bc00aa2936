# SPDX-License-Identifier: Apache-2.0
"""Whether poses can be what they are said to be: finite numbers, and radians. Imports numpy only.

Legend: N poses; J = 24 joints; poses axis-angle, radians.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

LARGEST_TURN: Final = 3 * np.pi
"""Radians. Fits wind joints up to two turns at times; more is in degrees, or broken."""


def turns(pose_aa: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """(N,) the largest angle of each pose (N, J, 3), radians; NaN where a number is not finite."""
    largest: npt.NDArray[np.float64] = np.linalg.norm(pose_aa.astype(np.float64), axis=-1).max(axis=-1)
    return np.where(np.isfinite(largest), largest, np.nan)


def sound(pose_aa: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(N,) whether the numbers of each pose (N, J, 3) are finite and can be radians."""
    found: npt.NDArray[np.bool_] = turns(pose_aa) <= LARGEST_TURN
    return found
