# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a button is grey: Blender shows the reason as its tooltip, and a script gets it as its error."""

import bpy


def is_ready(operator: type[bpy.types.Operator], ready: bool, reason: str) -> bool:
    """``ready``; where it is false, the reason is what the user reads."""
    if not ready:
        operator.poll_message_set(reason)
    return ready
