# SPDX-License-Identifier: GPL-3.0-or-later
"""Between an armature in Blender and SMPL poses: the only code that converts from one to the other.

What the rest of the add-on uses:

- ``rig.armature``: ``find_armature(context)``, ``Rig.of(armature_object)``, ``Rig.read``, ``Rig.read_current``,
  ``Rig.write`` and the ``WriteReport`` it returns;
- ``rig.keys``: ``list_frames(context, rig, mode)``;
- ``rig.figure``: ``add_figure(context)``;
- ``rig.bone_map``: ``RigError``, whose text is a sentence for the user.

``bone_map``, ``rest``, ``convert`` and ``ground`` are pure Python and numpy. ``channels``, ``curves``, ``sampling``,
``keys``, ``armature`` and ``figure`` run inside Blender. May import ``contract``; nothing else of the add-on. This file
imports nothing, so that the pure modules can be used without Blender, and so that a Blender without numpy fails
in ``register()``, where the user can be told, and not earlier.
"""
