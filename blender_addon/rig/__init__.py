# SPDX-License-Identifier: GPL-3.0-or-later
"""Between an armature in Blender and SMPL poses: the only code that converts from one to the other.

What the rest of the add-on uses:

- ``rig.armature``: ``find_armature(context)``, ``Rig.of(armature_object)``, ``Rig.read``, ``Rig.read_current``,
  ``Rig.write`` and the ``WriteReport`` it returns;
- ``rig.editable``: ``check_editable(armature_object)``;
- ``rig.frames``: ``list_frames(rig, mode)``;
- ``rig.figure``: ``add_figure(context)``;
- ``rig.correct``: the bone map that the user corrects; ``rig.fk``: ``switch_to_fk(rig)``;
- ``rig.view`` and ``rig.control``: where a camera is as the body sees it, and pictures of what it sees;
- ``rig.bone_map``: ``RigError``, whose text is a sentence for the user.

The way of a pose is four steps, each a module that knows only the ones before it: ``sample`` reads the scene,
``plan`` works out what changes, ``write`` sets the keys, ``verify`` reads back what came of it. ``armature`` takes
them in order; ``body`` is what all of them know of the armature, ``ik`` says for ``plan`` where the targets of inverse
kinematics have to be. ``blender_types`` says of Blender's types what its stubs leave open.

How an armature is recognised: ``recognise`` asks ``families`` (names, from the files in ``bone_maps/``) for a
``bone_map``, else ``structure``; ``links`` says how bones share the joints' rotations, ``spine`` which of a spine's
bones play SMPL's three.

These, ``rest``, ``convert``, ``ground``, ``skin``, ``anchors`` and ``offset`` are pure Python and numpy. The others
run inside Blender. May import ``contract``; nothing else of the add-on. This file imports nothing, so that the pure
modules can be used without Blender, and so that a Blender without numpy fails in ``register()``, where the user can
be told, and not earlier.
"""
