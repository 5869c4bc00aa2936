# SPDX-License-Identifier: Apache-2.0
"""SMPL, SMPL-H and SMPL-X parameters as models, fits and exporters write them: pickle or npz, one pose or many.

Either ``global_orient`` and ``body_pose`` (63 or 69 numbers a pose, or rotation matrices), as smplx names them, or
``root_orient`` and ``pose_body``, or all in one as ``poses``, ``pose`` or ``fullpose`` (72 numbers a pose; 66 to 165
with or without fingers and face). The
frame of the world differs between writers; see ``clip.upright``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from .amass import frame_rate
from .clip import Clip, Content, PoseFormat, body_pose, label_of

_PARTS: Final = (("global_orient", "body_pose"), ("root_orient", "pose_body"))
_WHOLE: Final = ("poses", "pose", "fullpose", "full_pose")
_JOINTS: Final = (22, 24, 52, 53, 55)
"""Of the body alone, SMPL, SMPL-H, SMPL-H with jaw, SMPL-X."""


def whole_pose(value: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(N, 24, 3) from one array: 72 numbers a pose are SMPL's; of 66 and more (SMPL-H, SMPL-X) the first 66 count.

    Raises:
        ValueError: another count, or no numbers.
    """
    array = np.asarray(value)
    if array.shape[-1:] == (3,) and array.shape[-2:-1] and array.shape[-2] in _JOINTS:
        array = array.reshape(*array.shape[:-2], -1)
    if (
        array.dtype.kind not in "fiu"
        or array.ndim == 0
        or array.shape[-1] not in {3 * count for count in _JOINTS}
    ):
        raise ValueError(f"its poses have the shape {array.shape}, where 72 numbers a pose were expected")
    end = 72 if array.shape[-1] == 72 else 66
    return body_pose(array[..., :3], array[..., 3:end])


def _recognises(content: Content) -> bool:
    if isinstance(content, str) or "v_template" in content:  # that is a body model, not a pose
        return False
    return any(set(keys) <= set(content) for keys in _PARTS) or any(key in content for key in _WHOLE)


def _clips(content: Content, path: Path) -> list[Clip]:
    assert not isinstance(content, str)
    rate = frame_rate(content)
    for root, body in _PARTS:
        if root in content and body in content:
            pose = body_pose(content[root], content[body])
            break
    else:
        pose = whole_pose(content[next(key for key in _WHOLE if key in content)])
    return [Clip(pose, None, rate, label_of(path))]


SMPL: Final = PoseFormat("SMPL parameters", _recognises, _clips)
