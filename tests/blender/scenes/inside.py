# SPDX-License-Identifier: Apache-2.0
"""Runs inside a Blender process of its own: installs the extension and plays every scene of the table.

Usage: python inside.py EXTENSION_ZIP [SCENE ...]. Prints a line for each scene, ``SCENE {"name", "fault"}``; the fault
is empty where all holds that must.
"""

import json
import os
import sys
import traceback
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))

import stage


def main() -> None:
    """Install, play, print."""
    extension, *names = sys.argv[1:]
    bpy.ops.extensions.package_install_files(filepath=extension, repo="user_default", enable_on_install=True)
    for table in ("floor", "keys", "layers", "truth", "time", "rest", "ik"):
        __import__(f"scenes_{table}")
    for name, play in stage.SCENES.items():
        if names and name not in names:
            continue
        fault = ""
        try:
            stage.start()
            play()
        except AssertionError as error:
            line = traceback.extract_tb(error.__traceback__)
            at = next(frame for frame in reversed(line) if frame.filename != stage.__file__)
            fault = f"{Path(at.filename).name}:{at.lineno}: {error or at.line}"
        except Exception:
            fault = traceback.format_exc()
        print("SCENE", json.dumps({"name": name, "fault": fault}), flush=True)


try:
    main()
except Exception:
    # Blender's module can hang when the process ends after an error, and a test would wait for it.
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
