# SPDX-License-Identifier: Apache-2.0
"""Where poses come from: one small module for each file format, all yielding a ``PoseSet``."""

from .pose_set import PoseSet

__all__ = ["PoseSet"]
