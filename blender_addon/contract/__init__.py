# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on and the backend agree on: the SMPL skeleton, rotations, the wire messages, what loopback is.

Pure Python and numpy. Never imports bpy, backend or training, so that either side can use it alone.
"""
