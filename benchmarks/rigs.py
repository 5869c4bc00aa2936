# SPDX-License-Identifier: Apache-2.0
"""How many of the armatures that the tests go through are recognised as what they are.

- ``rigs_recognised``: those of ``tests/blender/rigs/humanoids.py`` that are at hand and known as their own family;
  ``of`` is how many are at hand, ``absent`` how many are files that are not, ``unknown`` those that are not known.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Final

import bpy

from blender_addon.rig.armature import Rig
from blender_addon.rig.bone_map import RigError
from tests.blender.rigs.humanoids import HUMANOIDS

MOST: Final = 1000
"""Armatures to try."""


def main() -> None:
    """Measure and print."""
    # What Blender prints does not belong to the figures.
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    known, absent, unknown = 0, 0, []
    try:
        for humanoid in HUMANOIDS[:MOST]:
            bpy.ops.wm.read_factory_settings(use_empty=True)
            try:
                family = Rig.of(humanoid.make()).family
            except FileNotFoundError:
                absent += 1
                continue
            except RigError as error:
                family = str(error)
            if family == humanoid.family:
                known += 1
            else:
                unknown.append(humanoid.name)
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
    figure = {
        "name": "rigs_recognised",
        "value": known,
        "unit": "armatures",
        "of": known + len(unknown),
        "absent": absent,
        "unknown": unknown,
    }
    print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
