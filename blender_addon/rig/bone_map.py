# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone is which SMPL joint, by name. Pure Python."""


class RigError(Exception):
    """An armature that cannot be used; the text is one sentence that tells the user what to do."""
