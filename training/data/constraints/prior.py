# SPDX-License-Identifier: Apache-2.0
"""What human poses are like: mean and covariance of the joints' rotations, fitted on recorded poses, and their ranges.

    python -m training.data.constraints.prior --poses POSES.npz

fits them anew on the training poses, mirrored, mixed with constructed ones (recordings are upright and narrow), and
writes ``prior.npz`` beside this module. Legend: J = 24 joints, of which 0 (the pelvis) and the hands have no prior.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_addon.contract.kinematics import mirror_pose
from blender_addon.contract.limits import RANGES
from blender_addon.contract.rotations import Array
from blender_addon.contract.skeleton import NUM_JOINTS

PRIOR_FILE: Final = Path(__file__).with_name("prior.npz")
FIRST, LAST = 1, 22
"""The joints that have a prior."""
_CONSTRUCTED: Final = 30_000
_SHRINKAGE: Final = 0.25
"""How much of the covariance between joints is given up, so that what recordings never combine stays possible."""
_LEAST_SPREAD: Final = 0.05


@dataclass(frozen=True)
class Prior:
    """Of the joints ``FIRST`` to ``LAST`` - 1, n of them: ``mean`` (n, 3) and ``precision`` (n * 3, n * 3) of their
    rotation vectors, and the least and the most of each, ``low`` and ``high`` (n, 3); radians."""

    mean: Tensor
    precision: Tensor
    low: Tensor
    high: Tensor


@cache
def load_prior() -> Prior:
    """The prior that was fitted."""
    with np.load(PRIOR_FILE, allow_pickle=False) as arrays:
        fitted = [torch.tensor(arrays[name], dtype=torch.float32) for name in ("mean", "precision")]
    return Prior(*fitted, *(torch.tensor(limit, dtype=torch.float32) for limit in _ranges()))


def fit(poses: Array) -> dict[str, npt.NDArray[np.float32]]:
    """The prior's arrays, from poses (N, J, 3) axis-angle, radians; their mirror images count as well."""
    both = np.concatenate([poses, mirror_pose(poses)])[:, FIRST:LAST]
    flat = both.reshape(len(both), -1)
    mean, covariance = flat.mean(0), np.cov(flat, rowvar=False)
    covariance = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.diag(np.diag(covariance))
    covariance += np.eye(len(covariance)) * _LEAST_SPREAD**2
    return {
        "mean": mean.reshape(-1, 3).astype(np.float32),
        "precision": np.linalg.inv(covariance).astype(np.float32),
    }


def _ranges() -> tuple[Array, Array]:
    low, high = np.full((NUM_JOINTS, 3), -np.pi), np.full((NUM_JOINTS, 3), np.pi)
    for joint, ranges in RANGES.items():
        low[joint], high[joint] = np.radians(ranges).T
    return low[FIRST:LAST], high[FIRST:LAST]


def main() -> None:
    """Fits and writes the prior."""
    from training.data.sources.constructed import constructed_poses
    from training.data.sources.reading import read_poses

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", type=Path, required=True, help="a file or folder of poses")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    recorded = read_poses(arguments.poses, "train")
    weights = recorded.label_weights()
    rows = rng.choice(len(weights), 2 * _CONSTRUCTED, p=weights / weights.sum())
    poses = np.concatenate([recorded.pose_aa[rows], constructed_poses(rng, _CONSTRUCTED)])
    np.savez_compressed(PRIOR_FILE, **fit(poses))
    print(f"{PRIOR_FILE.name}: fitted on {len(poses)} poses and their mirror images")


if __name__ == "__main__":
    main()
