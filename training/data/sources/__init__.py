# SPDX-License-Identifier: Apache-2.0
"""Where poses come from: one small module for each file format, all yielding a ``PoseSet``.

``reading.read_poses`` takes any file or folder; each module says what its format holds and where to ask for the files.
May import backend.body and blender_addon.contract.
"""

from .pose_set import PoseSet

__all__ = ["PoseSet"]
