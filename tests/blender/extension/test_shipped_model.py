# SPDX-License-Identifier: Apache-2.0
"""The main job: the built extension in headless Blender, the real server, the model that ships."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PREPARE = """
import os
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module=addon.__name__)
from bl_ext.user_default.posellava import cli
from bl_ext.user_default.posellava.contract.skeleton import STANDING_POSE
from bl_ext.user_default.posellava.rig.armature import Rig
bpy.ops.posellava.add_figure()
figure = bpy.context.object
Rig.of(figure).write([1], STANDING_POSE[None], joints=frozenset(range(24)))
options = {"url": os.environ["URL"], "token": os.environ["TOKEN"]}
def height(bone):
    bpy.context.view_layer.update()
    return (figure.matrix_world @ figure.pose.bones[bone].tail).z
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "bone", "other"), [("left", "L_Wrist", "R_Wrist"), ("right", "R_Wrist", "L_Wrist")]
)
def test_a_typed_sentence_raises_the_arm_it_names_and_leaves_keys(
    in_blender: Callable[..., dict[str, Any]], shipped_backend: Any, side: str, bone: str, other: str
) -> None:
    result = in_blender(
        PREPARE
        + f"""
before = height("{bone}"), height("{other}")
outcome = cli.edit("raise your {side} arm", frames="1", **options)
result["rise"] = [height("{bone}") - before[0], height("{other}") - before[1]]
result["keys"] = outcome.report.keys
""",
        URL=shipped_backend.url,
        TOKEN=shipped_backend.token,
    )
    assert result["keys"] > 0
    assert result["rise"][0] > 0.25
    assert abs(result["rise"][1]) < 0.1


@pytest.mark.slow
def test_a_pose_is_made_from_a_description_and_a_range_is_edited(
    in_blender: Callable[..., dict[str, Any]], shipped_backend: Any
) -> None:
    result = in_blender(
        PREPARE
        + """
standing = height("Head")
bpy.context.scene.frame_set(5)
generated = cli.generate("a person squatting", **options)
result["drop"] = standing - height("Head")
edited = cli.edit("bend the left elbow by 60 degrees", frames="10:14", **options)
result["frames"] = list(edited.report.frames)
result["elbow"] = edited.report.degrees.get("left_elbow", 0)
""",
        URL=shipped_backend.url,
        TOKEN=shipped_backend.token,
    )
    assert result["drop"] > 0.1
    assert result["frames"] == [10, 11, 12, 13, 14]
    assert 30 < result["elbow"] < 100
