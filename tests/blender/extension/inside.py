# SPDX-License-Identifier: Apache-2.0
"""Runs inside a Blender process of its own: enables the installed extension, runs a script, prints its ``result``.

Usage: python inside.py SCRIPT. The script finds ``bpy``, ``addon`` (the extension's package), ``call``, ``all_curves``
and a dictionary ``result``, which is printed as JSON on a line of its own.
"""

import importlib
import json
import sys
from pathlib import Path

import bpy

EXTENSION = "bl_ext.user_default.posellava"


def call(operator, **options):
    """Call an operator; the text of its error, or an empty one."""
    try:
        operator(**options)
    except RuntimeError as error:
        return str(error).strip().removeprefix("Error: ")
    return ""


def all_curves():
    """The F-curves of all actions; Blender 5.0 has them in channel bags only."""
    for action in bpy.data.actions:
        if hasattr(action, "fcurves"):
            yield from action.fcurves
        else:
            bags = (bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags)
            yield from (curve for bag in bags for curve in bag.fcurves)


def main():
    """Enable, run, print."""
    bpy.ops.preferences.addon_enable(module=EXTENSION)
    result = {}
    script = Path(sys.argv[1])
    names = {"bpy": bpy, "addon": importlib.import_module(EXTENSION), "call": call, "result": result}
    names["all_curves"] = all_curves
    exec(compile(script.read_text(), str(script), "exec"), names)
    print("RESULT", json.dumps(result), flush=True)


main()
