# SPDX-License-Identifier: Apache-2.0
"""Postures by name, for ``set: pose NAME`` and for starts: those of the directives, and those of ``poses.yaml``.

An entry of ``poses.yaml`` says which posture it begins with (``base``), what may turn (``move``) and what the result is
to be like (``want``), in the notation of patterns; a posture with a side is written for the left one.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from blender_addon.contract.skeleton import MIRROR
from training.data.directives.posed_body import PosedBody
from training.data.directives.postures import (
    LEG_POSTURES,
    SIDED_POSTURES,
    WHOLE_POSTURES,
    leg_posture,
    standing,
    whole_posture,
)
from training.yaml_file import read_yaml

from .language import PatternError, Side, constraints, joints
from .solving import solve_from

POSES_FILE: Final = Path(__file__).with_name("poses.yaml")
_REFLECTION: Final = torch.tensor(np.outer([-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]), dtype=torch.float32)
STANDING: Final = "standing"


def mirrored(local: Tensor) -> Tensor:
    """Local rotations (..., J, 3, 3) seen in a mirror."""
    return local[..., list(MIRROR), :, :] * _REFLECTION


@cache
def own_postures() -> Mapping[str, Mapping[str, Any]]:
    """The entries of ``poses.yaml``."""
    table: Mapping[str, Mapping[str, Any]] = read_yaml(POSES_FILE)
    return table


def posture_names() -> list[str]:
    """Every posture that can be named."""
    return sorted({STANDING, *WHOLE_POSTURES, *SIDED_POSTURES, *LEG_POSTURES, *own_postures()})


def posture(name: str, side: Side = "L") -> Tensor:
    """(J, 3, 3) local rotations of a posture, without heading; mirrored for the right side.

    Raises:
        PatternError: there is none of this name.
    """
    local = _left(name)
    return local if side == "L" else mirrored(local)


@cache
def _left(name: str) -> Tensor:
    if name in own_postures():
        return _solved(name)
    if name == STANDING:
        body: PosedBody = standing()
    elif name in WHOLE_POSTURES or name in SIDED_POSTURES:
        body = whole_posture(name)(standing())
    elif name in LEG_POSTURES:
        body = leg_posture(name)(standing())
    else:
        raise PatternError(f"no posture {name!r}; --postures lists them")
    return torch.tensor(body.local, dtype=torch.float32)


def _solved(name: str) -> Tensor:
    entry = own_postures()[name]
    base = posture(entry.get("base", STANDING))
    wants = [one for line in entry.get("want", ()) for one in constraints(line, "L", {})]
    local, met = solve_from(base, joints(entry.get("move", "upper"), "L"), wants)
    if not met:
        raise PatternError(f"the posture {name!r} cannot be met")
    return local
