# SPDX-License-Identifier: Apache-2.0
"""The pictures that are sent: photographs stand upright, figures fill them, and where the camera is goes along."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from blender_addon.operators.framing import FIELD_OF_VIEW, frame
from blender_addon.operators.photo import orientation, turn_upright

from .scripts import CAMERA, FIGURE, InBlender, OnFigure

KINDS = ("jpg", "png", "webp", "tiff")


def photograph(path: Path, turned: int) -> Image.Image:
    """Save a picture with a different colour in each corner, which says that it is to be seen ``turned``."""
    pixels = np.zeros((60, 80, 3), dtype=np.uint8)
    pixels[:30, :40], pixels[:30, 40:], pixels[30:, :40] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[274] = turned
    options = {"quality": 95, "exif": exif.tobytes()} if path.suffix != ".png" else {"exif": exif}
    Image.fromarray(pixels).save(path, **options)
    return Image.open(path)


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_the_way_a_camera_was_held_is_read_from_every_kind_of_file(
    kind: str, turned: int, tmp_path: Path
) -> None:
    path = tmp_path / f"photo.{kind}"
    stored = photograph(path, turned)
    assert orientation(path.read_bytes()) == turned
    if kind == "tiff":
        return  # Pillow turns these itself, so that it does not show what is stored
    upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    assert np.array_equal(turn_upright(np.asarray(stored.convert("RGB")), turned), upright)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0\xff\xff\xff\xff",
        b"\xff\xd8\xff\xe1\x00\x0aExif\0\0XX",
        b"II*\0\x08\0\0\0\xff\xff",
        b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffeXIfMM",
        b"RIFF\0\0\0\0WEBPEXIF\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0",
    ],
)
def test_a_file_that_is_damaged_is_taken_as_it_is_stored(file: bytes) -> None:
    assert orientation(file) == 1


@pytest.mark.parametrize("kind", ["jpg", "webp", "tiff"])
def test_a_photograph_is_sent_upright_as_file_and_as_image(
    kind: str, on_figure: OnFigure, tmp_path: Path
) -> None:
    path, arrived = tmp_path / f"photo.{kind}", tmp_path / "arrived.png"
    photograph(path, 6)
    upright = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    result = on_figure(
        """
import shutil
result["file"] = call(bpy.ops.posellava.estimate_pose, filepath=os.environ["IMAGE"])
shutil.move(os.environ["ARRIVED"], os.environ["FIRST"])
image = bpy.data.images.load(os.environ["IMAGE"])
image.pack()
os.remove(os.environ["IMAGE"])
bpy.context.scene.posellava.image = image
result["image"] = call(bpy.ops.posellava.estimate_pose)
result["left"] = [list(image.size), len(bpy.data.images)]
""",
        backend=("--picture", str(arrived)),
        IMAGE=str(path),
        ARRIVED=str(arrived),
        FIRST=str(tmp_path / "first.png"),
    )
    assert result == {"file": "", "image": "", "left": [[80, 60], 1]}
    for file in (arrived, tmp_path / "first.png"):
        sent = np.asarray(Image.open(file).convert("RGB"), dtype=int)
        assert sent.shape == (80, 60, 3)
        assert np.abs(sent - np.asarray(upright, dtype=int)).mean() < 8


def test_a_large_file_is_made_small_by_another_process_and_gives_the_same_picture(
    in_blender: InBlender, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((2000, 1500)).save(path, quality=95)
    result = in_blender(
        FIGURE
        + """
from bl_ext.user_default.posellava.operators import picture
here = finish(picture.of_file(os.environ["IMAGE"])).png
picture._is_large = lambda path: True
waits = []
steps = picture.of_file(os.environ["IMAGE"])()
while True:
    try:
        wait = next(steps)
    except StopIteration as end:
        elsewhere = end.value.png
        break
    if wait is not None:
        waits.append(wait(0.05))
result["same"], result["waits"] = here == elsewhere, len(waits)
picture.blender_command = lambda script: ["/no/such/blender"]
result["without"] = finish(picture.of_file(os.environ["IMAGE"])).png == here
""",
        IMAGE=str(path),
    )
    assert result.pop("waits") > 0
    assert result == {"same": True, "without": True}


# The figure in the picture.


@pytest.mark.parametrize("towards", [(0, -4, 0), (1, -18, 6), (0, 0, 5), (0, 0, -5), (-300, 2, 0)])
def test_a_figure_fills_its_picture_from_wherever_it_is_seen(towards: tuple[float, ...]) -> None:
    points = np.random.default_rng(1).uniform((-0.5, -0.2, 0.0), (0.5, 0.2, 1.8), (50, 3)) + np.array(
        [30, -7, 2]
    )
    camera = frame(points, np.array(towards, dtype=float), np.array([0.0, 0.0, 1.0]))
    clip = np.concatenate([points, np.ones((50, 1))], axis=1) @ (camera.projection @ camera.to_camera).T
    seen = clip[:, :3] / clip[:, 3:]
    assert 0.7 < np.abs(seen[:, :2]).max() < 0.95
    assert np.abs(seen[:, 2]).max() < 1
    back = camera.to_world[:3, 2]
    assert back @ np.array(towards) / np.linalg.norm(towards) == pytest.approx(1)
    assert np.linalg.det(camera.to_world[:3, :3]) == pytest.approx(1)
    assert camera.projection[1, 1] == pytest.approx(1 / np.tan(np.radians(FIELD_OF_VIEW) / 2))


def test_a_far_camera_and_one_that_looks_elsewhere_show_the_figure_as_a_near_one_does(
    in_blender: InBlender, tmp_path: Path
) -> None:
    result = in_blender(
        FIGURE
        + CAMERA
        + """
from bl_ext.user_default.posellava.operators import picture
def shoot(name):
    bpy.context.view_layer.update()
    taken = finish(picture.of_view(bpy.context, figure))
    open(os.path.join(os.environ["FOLDER"], name), "wb").write(taken.png)
    return [math.degrees(taken.view.yaw), math.degrees(taken.view.pitch)]
look_from(0, -4, 0.9)
result["near"] = shoot("near.png")
look_from(0, -18, 0.9)
wall = bpy.data.objects.new("Wall", bpy.data.meshes.new("Wall"))
wall.data.from_pydata([(-9, -8, -9), (9, -8, -9), (9, -8, 9), (-9, -8, 9)], [], [(0, 1, 2, 3)])
bpy.context.collection.objects.link(wall)
result["far"] = shoot("far.png")
camera.rotation_euler.z += 0.8
shoot("aside.png")
result["left"] = [len(bpy.data.scenes), len(bpy.data.cameras), len(bpy.data.objects)]
""",
        FOLDER=str(tmp_path),
    )
    assert result["left"] == [1, 1, 4]
    assert result["near"] == pytest.approx([0, 0], abs=3)
    assert result["far"] == pytest.approx([0, 0], abs=3)
    near, far, aside = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"), dtype=int)
        for name in ("near", "far", "aside")
    )
    assert near.std() > 10, "the picture shows nothing"
    assert np.abs(near - far).mean() < 3
    assert np.abs(near - aside).mean() < 3


VIEWS = """
import json
views = result["views"] = []
def ask(**options):
    error = call(bpy.ops.posellava.edit_pose, instruction="look here", send_view=True, **options)
    views.append(json.load(open(os.environ["ASKED"]))["view"] if not error else error)
"""


def test_a_view_that_cycles_draws_needs_no_denoiser_and_one_that_cannot_be_drawn_is_told(
    on_figure: OnFigure, tmp_path: Path
) -> None:
    """Not every build of Blender has Cycles' denoiser, which a new scene asks for."""
    result = on_figure(
        CAMERA,
        """
from types import SimpleNamespace
from bl_ext.user_default.posellava.operators import view
look_from(0, -4, 1)
bpy.context.scene.cycles.use_denoising = True
view.workbench_works = lambda: False
rendered = result["rendered"] = []
def note(scene, *_):
    rendered.append([scene.render.engine, scene.cycles.use_denoising])
bpy.app.handlers.render_pre.append(note)
result["error"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", send_view=True)
bpy.app.handlers.render_pre.remove(note)
result["denoising"] = bpy.context.scene.cycles.use_denoising
class Folder:
    __init__ = lambda self, prefix: None
    __enter__ = lambda self: os.environ["FILE"]
    __exit__ = lambda self, *_: None
view.tempfile = SimpleNamespace(TemporaryDirectory=Folder)
before = keys()
result["told"] = call(bpy.ops.posellava.edit_pose, instruction="raise it", send_view=True)
result["kept"] = [keys() == before, len(bpy.data.scenes)]
""",
        FILE=str(Path(__file__)),
    )
    assert result["error"] == ""
    assert result["rendered"] == [["CYCLES", False]]
    assert result["denoising"]
    assert result["told"].startswith("Blender cannot render the view here (")
    assert result["told"].rstrip().endswith("); send no picture.")
    assert result["kept"] == [True, 1]


def test_where_the_camera_is_goes_along_as_the_body_sees_it(on_figure: OnFigure, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    result = on_figure(
        CAMERA,
        VIEWS,
        """
look_from(4, 0, 0.9)
ask()
look_from(0, -4, 4.9)
ask()
figure.rotation_euler.z = math.radians(90)
look_from(4, 0, 0.9)
ask()
from bl_ext.user_default.posellava.rig.armature import Rig
import numpy
figure.rotation_euler.z = 0
pose = Rig.of(figure).read_current()[None]
pose[0, 0] = (0, math.radians(-90), 0)
Rig.of(figure).write([1], pose, joints=frozenset({0}))
bpy.context.scene.frame_set(1)
ask()
""",
        backend=("--asked", str(asked)),
        ASKED=str(asked),
    )
    left, above, before, right_turned = np.degrees(np.array(result["views"]))
    # The figure faces -Y, so that +X is its left.
    assert left == pytest.approx([90, 0], abs=3)
    assert above == pytest.approx([0, 45], abs=6)  # the answers raise its arm, and so move its middle
    assert before == pytest.approx([0, 0], abs=6)
    # Turned to its right by a quarter, it has what was at its left behind it.
    assert abs(right_turned[0]) == pytest.approx(180, abs=6)
    assert json.loads(asked.read_text())["variants"] == 4


def test_the_view_is_that_of_the_frame_that_is_asked_about(on_figure: OnFigure, tmp_path: Path) -> None:
    asked = tmp_path / "asked.json"
    result = on_figure(
        CAMERA,
        VIEWS,
        """
import numpy
from bl_ext.user_default.posellava.rig.armature import Rig
poses = numpy.stack([Rig.of(figure).read_current()] * 2)
poses[1, 0] = (0, math.radians(-90), 0)
Rig.of(figure).write([1, 10], poses, joints=frozenset({0}))
bpy.context.scene.frame_set(1)
look_from(4, 0, 0.9)
for frames in ("1", "10"):
    ask(frame_list=frames)
""",
        backend=("--asked", str(asked)),
        ASKED=str(asked),
    )
    now, then = np.degrees(np.array(result["views"]))[:, 0]
    # The camera stands at the figure's left; at frame 10 the figure has turned to its right, and has it behind it.
    assert now == pytest.approx(90, abs=3)
    assert abs(then) == pytest.approx(180, abs=3)


def test_a_pose_in_a_picture_is_changed_as_the_instruction_says(on_figure: OnFigure, tmp_path: Path) -> None:
    asked, path = tmp_path / "asked.json", tmp_path / "photo.png"
    Image.new("RGB", (60, 80), "teal").save(path)
    result = on_figure(
        """
bpy.context.scene.posellava.instruction = "as there, but the left arm down"
result["error"] = call(bpy.ops.posellava.estimate_pose, filepath=os.environ["IMAGE"], changed=True)
""",
        backend=("--asked", str(asked)),
        IMAGE=str(path),
    )
    assert result["error"] == ""
    told = json.loads(asked.read_text())
    assert told["instruction"] == "as there, but the left arm down"
    assert (told["task"], told["pose"]) == ("adjust", None)
