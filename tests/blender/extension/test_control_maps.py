# SPDX-License-Identifier: Apache-2.0
"""Control maps from a scene: as large as asked, of the figure, of each frame, and the scene as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .scripts import CAMERA, FIGURE, InBlender

UPRIGHT = f"""{CAMERA}
look_from(0, -4, 0.9)
bpy.context.scene.render.resolution_x, bpy.context.scene.render.resolution_y = 200, 300
"""


def test_the_maps_show_the_figure_where_the_camera_sees_it(in_blender: InBlender, tmp_path: Path) -> None:
    in_blender(
        FIGURE
        + UPRIGHT
        + """
result["error"] = call(bpy.ops.posellava.control_maps, directory=os.environ["OUT"], size=192)
""",
        URL="",
        OUT=str(tmp_path),
    )
    maps = {path.stem: np.asarray(Image.open(path)).astype(int) for path in tmp_path.glob("*.png")}
    assert sorted(maps) == ["depth_0001", "normal_0001", "openpose_0001"]
    assert {picture.shape for picture in maps.values()} == {(192, 128, 3)}
    body = maps["depth_0001"].any(axis=2)
    assert 0.02 < body.mean() < 0.5
    joints = maps["openpose_0001"].any(axis=2)
    assert (joints & body).sum() > 0.9 * joints.sum(), "the skeleton lies in the body"
    assert (maps["normal_0001"][body][:, 2] > 100).mean() > 0.9, "what is seen faces who looks"
    _, columns = np.nonzero(body)
    assert abs(columns.mean() - 64) < 3, "it stands in the middle"


def test_a_range_is_written_frame_by_frame_and_the_scene_shows_what_it_showed(
    in_blender: InBlender, tmp_path: Path
) -> None:
    result = in_blender(
        FIGURE
        + UPRIGHT
        + """
scene = bpy.context.scene
scene.frame_start, scene.frame_end = 3, 5
bone = bpy.data.objects["SMPL Figure"].pose.bones["L_Shoulder"]
for frame, turn in ((3, 0.0), (5, 0.7)):
    bone.rotation_quaternion = ((1 - turn**2) ** 0.5, turn, 0, 0)
    bone.keyframe_insert("rotation_quaternion", frame=frame)
scene.frame_set(8, subframe=0.5)
bone.rotation_quaternion = (0.0, 1.0, 0.0, 0.0)
call(bpy.ops.posellava.control_maps, directory=os.environ["OUT"], size=128, frames="RANGE", kinds={"openpose"})
result["shows"] = [scene.frame_current, scene.frame_subframe, *bone.rotation_quaternion]
""",
        URL="",
        OUT=str(tmp_path),
    )
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"openpose_000{n}.png" for n in (3, 4, 5)]
    first, last = (np.asarray(Image.open(tmp_path / f"openpose_000{n}.png")) for n in (3, 5))
    assert (first != last).any()
    assert result["shows"] == [8, 0.5, 0, 1, 0, 0], "the frame, and a pose that is not keyed"


def test_what_is_missing_is_said(in_blender: InBlender, tmp_path: Path) -> None:
    result = in_blender(
        FIGURE
        + """
said = [call(bpy.ops.posellava.control_maps, directory=os.environ["OUT"])]
"""
        + UPRIGHT
        + """
said.append(call(bpy.ops.posellava.control_maps, directory=os.environ["OUT"] + "/nowhere"))
for thing in [one for one in bpy.data.objects if one.type == "MESH"]:
    bpy.data.objects.remove(thing)
said.append(call(bpy.ops.posellava.control_maps, directory=os.environ["OUT"]))
result["said"] = said
""",
        URL="",
        OUT=str(tmp_path),
    )
    for sentence, part in zip(
        result["said"], ("has no camera", "There is no folder", "moves no mesh"), strict=True
    ):
        assert part in sentence
