# SPDX-License-Identifier: Apache-2.0
"""How many of the scenes that animators have do not hold what they must: ``scene_faults``.

The table is that of ``tests/blender/scenes``, played in headless Blender with the built extension against a backend
whose answers the instructions spell out.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import build_addon

PLAY = Path(__file__).parents[1] / "tests" / "blender" / "scenes" / "play.py"


def main() -> None:
    """Play and print."""
    spec = importlib.util.spec_from_file_location("play", PLAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    faults = module.play(build_addon.build_slim())
    broken = {name: fault for name, fault in faults.items() if fault}
    for name, fault in broken.items():
        print(f"{name}: {fault}", file=sys.stderr)
    line = {"name": "scene_faults", "value": len(broken), "unit": "scenes", "of": len(faults)}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
