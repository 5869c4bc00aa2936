# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals: the cases drawn again with replacement (Efron and Tibshirani 1993, percentile intervals).

Legend: N cases, R resamples, J values a case. Values of one case stay together: they are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.rotations import Array

RESAMPLES: Final = 1000
INTERVAL: Final = (2.5, 97.5)
"""Percentiles that bound the interval of 95 %."""


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval of 95 % around it."""

    value: float
    low: float
    high: float

    def told(self, digits: int = 1) -> str:
        """As words: the figure, and its interval in brackets."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


class Bootstrap:
    """Draws the resamples once, so that figures of the same cases are resampled alike.

    Args:
        count: N.
        seed: of the draws.
    """

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._times = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)  # (R, N)

    def mean(self, values: npt.ArrayLike) -> Estimate:
        """Of the mean of values (N,)."""
        values = np.asarray(values, dtype=np.float64)
        return _estimate(values.mean(), self._times @ values / len(values))

    def ratio(self, over: npt.ArrayLike, under: npt.ArrayLike) -> Estimate:
        """Of the ratio of two means, of values (N,) of the same cases."""
        over, under = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
        return _estimate(over.mean() / under.mean(), (self._times @ over) / (self._times @ under))

    def percentile(self, values: Array, percent: float) -> Estimate:
        """Of a percentile of all values (N, J) together; NaN is no value."""
        cases, _ = np.nonzero(~np.isnan(values))
        flat = values[~np.isnan(values)]
        order = np.argsort(flat, kind="stable")
        cases, flat = cases[order], flat[order]
        found = np.empty(RESAMPLES)
        for row, times in enumerate(self._times):
            reached = np.cumsum(times[cases])
            found[row] = flat[np.searchsorted(reached, percent / 100 * reached[-1])]
        return _estimate(np.percentile(flat, percent), found)


def _estimate(value: float, resampled: Array) -> Estimate:
    low, high = np.percentile(resampled, INTERVAL)
    return Estimate(float(value), float(low), float(high))
