# SPDX-License-Identifier: Apache-2.0
"""The whole body: turned on the spot, tilted, set upright. Only the global orientation changes."""

from __future__ import annotations

from typing import Final

import numpy as np

from .amounts import draw_amount
from .kinds import Edit, kind
from .posed_body import FRONT, LEFT, UP, PosedBody, angle_degrees, turn
from .reach import finish


def _is_upright(start: PosedBody) -> bool:
    return bool(start.rot_of("pelvis")[1, 1] > 0.5)


@kind("root.turn", family="root", weight=3.0)
def root_turn(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    amount = draw_amount(rng, 90.0, numbers=(5, 180), slight=0.25, large=1.5)
    if not _is_upright(start):
        return None
    return Edit(start.with_heading_turned(amount.value), amount.slots)


_FRACTIONS: Final = {"quarter": 90.0, "eighth": 45.0, "three_quarter": 270.0}


@kind("root.turn_fraction", family="root", weight=0.9)
def root_turn_fraction(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    if not _is_upright(start):
        return None
    variant = str(rng.choice(list(_FRACTIONS), p=[0.65, 0.2, 0.15]))
    return Edit(start.with_heading_turned(_FRACTIONS[variant]), variant=variant)


@kind("root.turn_around", family="root", weight=1.4)
def root_turn_around(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    return Edit(start.with_heading_turned(180.0)) if _is_upright(start) else None


_TILTS: Final = {"forward": (LEFT, 1.0), "back": (LEFT, -1.0), "side": (FRONT, -1.0)}


@kind("root.tilt", family="root", weight=1.2)
def root_tilt(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    variant = str(rng.choice(list(_TILTS), p=[0.4, 0.25, 0.35]))
    axis, sign = _TILTS[variant]
    amount = draw_amount(rng, 22.0, numbers=(5, 60), slight=0.45)
    target = start.turned("pelvis", turn(axis, sign * amount.value))
    tilt = angle_degrees(target.rot_of("pelvis")[:, 1], UP)
    if not _is_upright(start) or tilt > 65.0:
        return None
    return finish(rng, start, target, amount.slots, variant)


@kind("root.upright", family="root", weight=0.8)
def root_upright(rng: np.random.Generator, start: PosedBody) -> Edit | None:
    """The pelvis level, every joint as it is."""
    if angle_degrees(start.rot_of("pelvis")[:, 1], UP) < 12.0:
        return None
    return finish(rng, start, start.with_local({"pelvis": np.eye(3)}))
