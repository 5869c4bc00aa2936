# SPDX-License-Identifier: Apache-2.0
"""Users' own licensed SMPL, SMPL-H and SMPL-X files, opened without letting them run code, posed by `smplx`.

The files are pickles or npz. Pickles can execute anything when opened with full powers, and smplx itself opens them
so: here only arrays come through, and smplx gets those.

Legend: B poses, V vertices, F triangles, K joints of the file (24 SMPL, 52 SMPL-H, 55 SMPL-X), J = 24 SMPL joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blender_addon.contract.skeleton import NUM_JOINTS

from .pickles import ForbiddenPickleError, read_pickle

NUM_BODY_JOINTS: Final = 22
"""Joints before the hands, the same in all three models."""

MAX_BETAS: Final = 300
"""Leading columns of shapedirs that are about the shape; in SMPL-X those after them are the face's expression."""

_HANDS: Final = {24: (22, 23), 52: (25, 40), 55: (28, 43)}
"""By number of joints: which stand for left_hand and right_hand. Where there are fingers, the middle one's root."""

_NAMES: Final = {24: "SMPL", 52: "SMPL-H", 55: "SMPL-X"}
_NEEDED: Final = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")


class BodyFileError(ValueError):
    """A body model file cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class LicensedBody:
    """A body model from a user's file."""

    name: str
    """SMPL, SMPL-H or SMPL-X."""
    vertices: Tensor  # (V, 3) the template, metres
    faces: Tensor  # (F, 3) int64
    weights: Tensor  # (V, J), those of fingers and face folded into hands, wrists and head
    shape_directions: Tensor  # (V, 3, S)
    pose_directions: Tensor  # (9 (K - 1), 3 V)
    joint_regressor: Tensor  # (K, V)
    parents: Tensor  # (K,)
    all_weights: Tensor  # (V, K)

    def pose(self, pose_aa: Tensor, betas: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pose the body, fingers and face at rest.

        Args:
            pose_aa: (B, J, 3) axis-angle, radians. In SMPL-H and SMPL-X, which have fingers in the place of the
                two hand joints, those two rotations have no effect.
            betas: (B, S') shape, S' at most what the file has; zeros when None.

        Returns:
            Vertices (B, V, 3) and joints (B, J, 3), metres, in the file's own frame.
        """
        from smplx.lbs import lbs

        count = len(self.parents)
        own = NUM_JOINTS if count == NUM_JOINTS else NUM_BODY_JOINTS
        full = pose_aa.new_zeros(len(pose_aa), count, 3)
        full[:, :own] = pose_aa[:, :own]
        if betas is None:
            betas = pose_aa.new_zeros(len(pose_aa), 1)
        if betas.shape[1] > self.shape_directions.shape[2]:
            raise ValueError(
                f"{betas.shape[1]} shape numbers were given; this {self.name} file has {self.shape_directions.shape[2]}"
            )
        vertices, joints = lbs(
            betas, full.flatten(1), self.vertices, self.shape_directions[..., : betas.shape[1]], self.pose_directions,
            self.joint_regressor, self.parents, self.all_weights,
        )  # fmt: skip
        hands = joints[:, list(_HANDS[count])]
        return vertices, torch.cat([joints[:, :NUM_BODY_JOINTS], hands], dim=1)


def load_licensed_body(path: Path) -> LicensedBody:
    """Open a SMPL, SMPL-H or SMPL-X file, ``.pkl`` or ``.npz``; which of them it is, its joints tell.

    Raises:
        BodyFileError: the file is damaged, is no body model, or holds anything but arrays.
        FileNotFoundError: no such file.
    """
    data = _read_npz(path) if path.suffix == ".npz" else _read_pickle(path)
    missing = [name for name in _NEEDED if name not in data]
    if missing:
        raise BodyFileError(f"{path} is no SMPL, SMPL-H or SMPL-X model: it lacks {', '.join(missing)}.")
    try:
        arrays = {name: _numbers(data[name]) for name in _NEEDED}
        return _body(arrays)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise BodyFileError(
            f"{path} does not fit together as a SMPL, SMPL-H or SMPL-X model: {error}"
        ) from error


def _body(arrays: Mapping[str, npt.NDArray[Any]]) -> LicensedBody:
    weights = torch.from_numpy(arrays["weights"].astype(np.float32))
    vertex_count, count = weights.shape
    if count not in _NAMES:
        raise ValueError(f"it has {count} joints, not 24, 52 or 55")
    faces = arrays["f"].astype(np.int64)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.min() < 0 or faces.max() >= vertex_count:
        raise ValueError(f"its triangles are not those of {vertex_count} vertices")
    parents = torch.from_numpy(_parents(arrays["kintree_table"], count))
    posedirs = arrays["posedirs"].astype(np.float32).reshape(vertex_count * 3, 9 * (count - 1))
    return LicensedBody(
        name=_NAMES[count],
        vertices=torch.from_numpy(arrays["v_template"].astype(np.float32).reshape(vertex_count, 3)),
        faces=torch.from_numpy(faces),
        weights=_fold(weights, parents, _HANDS[count]),
        shape_directions=torch.from_numpy(arrays["shapedirs"].astype(np.float32)[..., :MAX_BETAS]),
        pose_directions=torch.from_numpy(np.ascontiguousarray(posedirs.T)),
        joint_regressor=torch.from_numpy(
            arrays["J_regressor"].astype(np.float32).reshape(count, vertex_count)
        ),
        parents=parents,
        all_weights=weights,
    )


def _parents(table: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """(K,) the parent of each joint, -1 for the first."""
    if table.shape != (2, count):
        raise ValueError(f"its tree has the shape {table.shape}, not (2, {count})")
    parents: npt.NDArray[np.int64] = table[0].astype(np.int64)
    parents[0] = -1  # files say 2**32 - 1
    if (parents[1:] < 0).any() or (parents >= np.arange(count)).any():
        raise ValueError("a joint in its tree does not come after its parent")
    return parents


def _fold(weights: Tensor, parents: Tensor, hands: tuple[int, int]) -> Tensor:
    """(V, K) weights as (V, J): each joint beyond the body's counts for its nearest ancestor within the 24."""
    place = {joint: joint for joint in range(NUM_BODY_JOINTS)}
    place |= {hand: NUM_BODY_JOINTS + side for side, hand in enumerate(hands)}
    folded = weights.new_zeros(len(weights), NUM_JOINTS)
    for joint in range(weights.shape[1]):
        ancestor = joint
        while ancestor not in place:
            ancestor = int(parents[ancestor])
        folded[:, place[ancestor]] += weights[:, joint]
    return folded


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        data = read_pickle(path)
    except ForbiddenPickleError as error:
        if error.module.partition(".")[0] == "chumpy":
            raise BodyFileError(
                f"{path} was not opened: it holds chumpy objects, as the first release of SMPL does: download version "
                "1.1.0 of SMPL for Python, or turn them into numpy arrays with the script tools/clean_ch.py of smplx."
            ) from None
        raise BodyFileError(
            f"{path} was not opened: {error}, which no body model needs: the file may have been tampered with, "
            "download it again from where SMPL is distributed."
        ) from None
    except ValueError as error:
        raise BodyFileError(f"{path} was not opened: {error}; download it again.") from error
    if not isinstance(data, dict):
        raise BodyFileError(f"{path} is no body model: it holds a {type(data).__name__}, not named arrays.")
    return data


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        # Some SMPL-X files also carry pickled dictionaries, which stay unopened.
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in _NEEDED if name in file.files}
    except (BadZipFile, ValueError, EOFError) as error:
        raise BodyFileError(f"{path} is no readable npz of arrays ({error}): download it again.") from error


def _numbers(value: Any) -> npt.NDArray[Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"numbers were expected, not {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError("a number in it is not finite")
    return array
