# SPDX-License-Identifier: GPL-3.0-or-later
"""What the published types of Blender leave open, said once: what an armature object holds, and that there is a scene.

The stubs know that an object's data can be anything and that a context can lack its parts. Where an object is an
armature, and wherever this add-on runs, it is known better. At run time these are Blender's own classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import bpy

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import IconItems, OperatorReturnItems

    class ArmatureObject(bpy.types.Object):
        """An object that is an armature."""

        data: bpy.types.Armature

        @property
        def pose(self) -> bpy.types.Pose:
            """Its pose."""
            ...

    class PanelMixIn(bpy.types.Panel):
        """What panels share."""

        @property
        def layout(self) -> bpy.types.UILayout:
            """There while the panel is drawn."""
            ...

    Icon = IconItems
    OperatorMixIn = bpy.types.Operator
    OperatorResult = set[OperatorReturnItems]
else:
    ArmatureObject = bpy.types.Object
    OperatorResult = set
    Icon = str

    # What classes share must be no class of Blender's itself: Blender reads no properties from a base that is one.
    class PanelMixIn:
        """What panels share."""

    class OperatorMixIn:
        """What operators share."""


Posable = bpy.types.PoseBone | bpy.types.Object
"""What has a place and a rotation that can be keyed. Both have the same properties for them."""


def is_armature(thing: bpy.types.Object | None) -> TypeGuard[ArmatureObject]:
    """Whether an object is an armature."""
    return thing is not None and thing.type == "ARMATURE"


def owner_of(thing: Posable) -> bpy.types.Object:
    """The object that a pose bone belongs to; of an object, itself."""
    owner = thing.id_data
    assert isinstance(owner, bpy.types.Object)
    return owner


def current_scene() -> bpy.types.Scene:
    """The scene that is shown; in background, the file's."""
    scene = bpy.context.scene
    assert scene is not None
    return scene


def current_layer() -> bpy.types.ViewLayer:
    """The view layer that is shown."""
    layer = bpy.context.view_layer
    assert layer is not None
    return layer
