# SPDX-License-Identifier: Apache-2.0
"""Pictures that a backend paints: of the figure as the camera sees it, or a picture whose person is posed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.backend.tiny_diffusion import tiny_pipeline

from ..conftest import Backend, serving
from .scripts import CAMERA, FIGURE, PREPARE, UNTOUCHED, InBlender

SCENE = (
    FIGURE
    + CAMERA
    + """
look_from(0, -4, 0.9)
scene = bpy.context.scene
scene.render.resolution_x, scene.render.resolution_y = 200, 300
scene.render.filepath = os.environ.get("OUT", "/nowhere") + "/"
def painted(operator, **options):
    said = call(operator, **options)
    if not said and activity.outcome.picture:
        image = bpy.data.images[activity.outcome.picture.image]
        result.setdefault("images", []).append(
            [image.name, list(image.size), image.packed_file is not None, image.users, activity.outcome.picture.path])
    return said or activity.outcome.summary()
"""
)


def test_a_pose_is_painted_along_what_the_camera_sees_and_kept_in_the_file(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "posellava_0001.png").write_bytes(b"of before")
    result = in_blender(
        SCENE
        + """
result["said"] = [painted(bpy.ops.posellava.paint_pose, prompt="keep the first map", size=192) for _ in range(2)]
bpy.ops.wm.save_as_mainfile(filepath=os.environ["OUT"] + "/scene.blend")
bpy.ops.wm.open_mainfile(filepath=os.environ["OUT"] + "/scene.blend")
result["after"] = [image.name for image in bpy.data.images if image.packed_file]
"""
        + UNTOUCHED,
        URL=start_backend("--paints", "openpose", "depth").url,
        OUT=str(tmp_path),
    )
    files = [tmp_path / f"posellava_000{number}.png" for number in (2, 3)]
    assert result["images"] == [[file.name, [128, 192], True, 1, str(file)] for file in files]
    assert result["said"] == [f"Painted {file.name}; its file is {file}." for file in files]
    assert result["after"] == [file.name for file in files], "a saved scene has them"
    assert (tmp_path / "posellava_0001.png").read_bytes() == b"of before"
    assert (result["keys"], result["posed"], result["panel"]) == ([], [], "")
    bones = np.asarray(Image.open(files[0]))
    assert bones.shape == (192, 128, 3)
    assert 0.01 < bones.any(axis=2).mean() < 0.3, "the first map is the skeleton's"


def test_a_picture_is_painted_anew_with_what_was_read_and_changed(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "photo.png")
    asked = tmp_path / "asked.json"
    result = in_blender(
        PREPARE
        + SCENE.removeprefix(FIGURE).replace("figure = bpy.context.object", "")
        + """
photo = os.environ["OUT"] + "/photo.png"
chosen = bpy.context.scene.posellava
chosen.prompt, chosen.instruction = "keep it", "raise the left arm"
chosen.repaint_image = bpy.data.images.load(photo)
repaint = bpy.ops.posellava.repaint_picture
result["said"] = [painted(repaint), painted(repaint, filepath=photo)]
result["words"] = activity.outcome.words
result["said"].append(painted(repaint, instruction="who is it?"))
result["recalled"] = [edit.instruction for edit in activity.history.edits]
""",
        URL=start_backend("--paints", "openpose", "--asked", str(asked)).url,
        OUT=str(tmp_path),
    )
    assert [image[1] for image in result["images"]] == [[40, 30], [40, 30]]
    assert result["words"] == "I turned the left shoulder."
    assert result["said"][2] == "No picture was painted.", "it was answered in words"
    assert result["recalled"] == ["who is it?", "raise the left arm", "raise the left arm"]
    assert np.asarray(Image.open(tmp_path / "posellava_0001.png")).reshape(-1, 3).tolist()[0] == [0, 128, 128]


def test_what_was_rendered_is_painted_anew(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_blender(
        SCENE
        + """
said = [call(bpy.ops.posellava.repaint_picture, prompt="keep it", repaint_from="RENDER")]
scene.render.engine, scene.cycles.samples, scene.render.resolution_percentage = "CYCLES", 1, 32
scene.render.image_settings.file_format = "OPEN_EXR"
bpy.ops.render.render()
said.append(painted(bpy.ops.posellava.repaint_picture, prompt="keep it", repaint_from="RENDER"))
result["said"] = said
""",
        URL=start_backend("--paints", "openpose").url,
        OUT=str(tmp_path),
    )
    assert "Nothing was rendered yet" in result["said"][0]
    assert [image[1] for image in result["images"]] == [[64, 96]], result["said"]


def test_what_cannot_be_painted_is_said_and_changes_nothing(
    in_blender: InBlender, start_backend: Callable[..., Any], tmp_path: Path
) -> None:
    result = in_blender(
        SCENE
        + """
paint, repaint = bpy.ops.posellava.paint_pose, bpy.ops.posellava.repaint_picture
scene.camera = None
said = [call(paint, prompt="a dancer")]
scene.camera = camera
said += [
    call(paint), call(paint, prompt="fail"), call(paint, prompt="die"), call(repaint, prompt="a dancer"),
    call(repaint, prompt="a dancer", filepath="/nothing.png"),
]
for thing in [one for one in bpy.data.objects if one.type == "MESH"]:
    bpy.data.objects.remove(thing)
said.append(call(paint, prompt="a dancer"))
preferences.url = os.environ["PLAIN"]
said.append(call(paint, prompt="a dancer"))
result["said"], result["images"] = said, [image.name for image in bpy.data.images]
"""
        + UNTOUCHED,
        URL=start_backend("--paints", "openpose", "depth").url,
        PLAIN=start_backend().url,
        OUT=str(tmp_path),
    )
    parts = (
        "has no camera",
        "The prompt is empty",
        "no such luck",
        "The process that paints ended",
        "No image is chosen",
        "There is no file",
        "moves no mesh",
        "posellava serve --images FOLDER",
    )
    for sentence, part in zip(result["said"], parts, strict=True):
        assert part in sentence
    assert result["images"] == []
    assert (result["keys"], result["posed"]) == ([], [])
    assert list(tmp_path.glob("*.png")) == []


def test_a_button_says_what_its_backend_does_not_paint(in_blender: InBlender) -> None:
    result = in_blender(
        FIGURE
        + """
from types import SimpleNamespace
from bl_ext.user_default.posellava.contract.messages import Welcome
from bl_ext.user_default.posellava.operators import backend, local_backend, paint
from bl_ext.user_default.posellava.session import State, Status
chosen = bpy.context.scene.posellava
chosen.prompt, chosen.repaint_from = "a dancer", "RENDER"
def obstacles():
    context = SimpleNamespace(scene=bpy.context.scene, view_layer=bpy.context.view_layer,
                              preferences=bpy.context.preferences, posellava_panel=chosen)
    return [one.obstacle(context) for one in paint.CLASSES]
real = local_backend.obstacle
local_backend.obstacle = lambda: ""
preferences.url = ""
result["own"] = obstacles()
local_backend.obstacle = real
preferences.url = "ws://127.0.0.1:9"
for name, tasks in (("none", ("adjust",)), ("one", ("adjust", "paint")), ("both", ("adjust", "paint", "repaint"))):
    backend.status = lambda: Status(State.CONNECTED, "", Welcome("a model", tasks))
    result[name] = obstacles()
""",
    )
    assert all("paints no pictures" in sentence for sentence in result["own"]), (
        "it need not be started to say so"
    )
    assert all("paints no pictures" in sentence for sentence in result["none"])
    assert result["one"][0] == ""
    assert "its model reads no pictures" in result["one"][1]
    assert result["both"] == ["", ""]


def test_where_renders_cannot_be_saved_a_picture_is_among_blenders_temporary_files(
    in_blender: InBlender, start_backend: Callable[..., Any]
) -> None:
    result = in_blender(
        SCENE
        + """
result["said"] = painted(bpy.ops.posellava.paint_pose, prompt="a dancer")
result["temporary"] = bpy.app.tempdir
""",
        URL=start_backend("--paints", "openpose").url,
    )
    assert result["images"][0][4].startswith(result["temporary"]), result["said"]


@pytest.fixture
def painting_backend(tmp_path: Path) -> Iterator[Backend]:
    """``posellava serve`` with the model that ships and a tiny diffusion pipeline in diffusers' own files."""
    weights, controlnet = tiny_pipeline(tmp_path)
    images = ("--images", str(weights), "--control", f"openpose={controlnet}", "--image-steps", "2")
    with serving(*images) as backend:
        yield backend


def test_a_pipeline_of_diffusers_paints_the_figure(
    in_blender: InBlender, painting_backend: Backend, tmp_path: Path
) -> None:
    result = in_blender(
        SCENE + 'result["said"] = painted(bpy.ops.posellava.paint_pose, prompt="a dancer", size=96)\n',
        URL=painting_backend.url,
        TOKEN=painting_backend.token,
        OUT=str(tmp_path),
    )
    assert [image[1] for image in result["images"]] == [[64, 96]], result["said"]
    assert Path(result["images"][0][4]).stat().st_size > 1000
