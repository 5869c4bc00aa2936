# SPDX-License-Identifier: GPL-3.0-or-later
"""Add SMPL Figure: the 24-bone armature in its T-pose with the neutral body mesh skinned to it."""

from __future__ import annotations

from typing import Any


def add_figure(context: Any) -> Any:
    """Add the figure to the scene at the 3D cursor, facing -Y, Z up, in metres; returns the armature object,
    active and selected. Bones are named ``Pelvis, L_Hip, ... R_Hand``."""
    raise NotImplementedError
