# SPDX-License-Identifier: Apache-2.0
"""Pictures are painted beside the engine, one at a time; who no longer waits for one stops it, and none holds up an
edit."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import paint_process, pipes, serve
from backend.body.camera import Camera
from backend.body.draw import DrawingUnavailableError
from backend.body.pictures import draw_poses
from backend.server import PaintOptions, painter
from blender_addon.contract.address import Address
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.messages import Limits, Painting, Progress, ProtocolError, Request, Result
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from blender_addon.session import Connection, Handle, new_request_id
from tests.waiting import wait_for

from .scripted_painter import SCRIPTED
from .talking import POSES, png
from .test_serve import options
from .tiny_diffusion import tiny_pipeline

Connect = Callable[..., Connection]


@pytest.fixture
def connect(start_backend: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """connect(**options of PaintOptions) -> a connection to a backend that has scripted_painter.py paint."""
    monkeypatch.setattr(painter, "PROGRAM", SCRIPTED)
    connections: list[Connection] = []

    def connect(**options: Any) -> Connection:
        images = PaintOptions(Path("sd"), {"openpose": Path("net")}, **options)
        connection = Connection(Address.parse(start_backend(images=images).url))
        connections.append(connection)
        connection.connect()
        return connection

    yield connect
    for connection in connections:
        connection.close()


def paint(prompt: str = "a dancer", **changes: Any) -> Request:
    """A request along a control map."""
    maps = {"openpose": png(16, 24)}
    return Request(new_request_id(), "paint", painting=Painting(prompt, maps), **changes)


def repaint(instruction: str = "raise it") -> Request:
    """A request to paint a picture anew."""
    return Request(
        new_request_id(), "repaint", instruction, image_png=png(40, 30), painting=Painting("a dancer")
    )


def size_of(result: Result) -> tuple[int, int]:
    assert result.image_png is not None
    with Image.open(io.BytesIO(result.image_png)) as picture:
        return picture.size


def failure_of(connection: Connection, request: Request) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        connection.ask(request, timeout=30)
    return caught.value


def test_a_picture_is_painted_along_the_maps_that_are_sent_and_its_steps_are_told(connect: Connect) -> None:
    steps: list[Progress] = []
    connection = connect()
    result = connection.ask(paint(), timeout=30, on_progress=steps.append)
    assert size_of(result) == (16, 24)
    assert (result.poses, result.texts) == ((None,), ("",))
    assert connection.status.welcome is not None
    assert connection.status.welcome.maps == ("openpose",)
    assert {"paint", "repaint"} <= set(connection.status.welcome.tasks)
    slow = connection.submit(paint("wait"))
    wait_for(lambda: slow.progress is not None and slow.progress.done > 1)
    assert slow.progress is not None
    assert slow.progress.total == 1200


def test_to_repaint_the_engine_reads_the_pose_and_changes_it_as_the_words_say(
    connect: Connect, engine: Any
) -> None:
    connection = connect()
    result = connection.ask(repaint(), timeout=30)
    assert size_of(result) == (40, 30)
    assert result.texts == ("did raise it",)
    np.testing.assert_allclose(result.poses[0], np.full((24, 3), 0.1), atol=1e-6)
    connection.ask(repaint(""), timeout=30)
    assert [batch[0].task for batch in engine.batches] == ["adjust", "estimate"]
    assert engine.batches[0][0].image.size == (40, 30)


def test_an_engine_that_reads_no_pictures_repaints_none(connect: Connect, engine: Any) -> None:
    engine.tasks = ("adjust", "generate")
    connection = connect()
    assert size_of(connection.ask(paint(), timeout=30)) == (16, 24)
    refusal = failure_of(connection, repaint())
    assert refusal.code == "unknown_task"
    assert "its model reads no pictures" in refusal.sentence


def test_where_no_pose_is_read_the_words_are_the_answer_and_nothing_is_painted(connect: Connect) -> None:
    result = connect().ask(repaint("who is it?"), timeout=30)
    assert (result.poses, result.texts, result.image_png) == ((None,), ("I did not understand that",), None)


def test_no_edit_waits_for_a_picture(connect: Connect) -> None:
    connection = connect()
    painted = connection.submit(paint("wait"))
    wait_for(lambda: painted.progress is not None)
    for _ in range(3):
        connection.ask(Request(new_request_id(), "adjust", "raise it", POSES), timeout=30)
    assert not painted.done, "the picture takes a minute"


def test_one_that_is_cancelled_stops_at_its_next_step_and_the_next_is_painted(connect: Connect) -> None:
    connection = connect()
    first, second = connection.submit(paint("wait")), connection.submit(paint())
    wait_for(lambda: first.progress is not None and first.progress.done > 0)
    wait_for(lambda: second.progress is not None and second.progress.ahead == 1)
    connection.cancel(first)
    assert second.wait(30), "the first one takes a minute"
    assert second.result is not None
    assert size_of(second.result) == (16, 24)


def test_one_that_is_cancelled_while_its_pose_is_read_is_not_painted(connect: Connect, engine: Any) -> None:
    connection = connect()
    engine.gate.clear()
    first, second = connection.submit(repaint()), connection.submit(paint())
    assert engine.entered.wait(20)
    connection.cancel(first)
    assert second.wait(30), "the engine still holds the first one"
    assert second.result is not None
    engine.gate.set()


def test_a_client_that_goes_takes_its_pictures_along(connect: Connect) -> None:
    connection = connect()
    handles = [connection.submit(paint("wait")), connection.submit(paint("wait"))]
    wait_for(lambda: handles[0].progress is not None and handles[0].progress.done > 0)
    other = Connection(connection.address)
    connection.close()
    with other:
        assert size_of(other.ask(paint(), timeout=30)) == (16, 24), "each of the others takes a minute"


def test_a_process_that_fails_or_dies_costs_its_picture_alone(connect: Connect) -> None:
    connection = connect()
    assert failure_of(connection, paint("fail")).sentence == "The picture could not be painted: no such luck."
    broken = failure_of(connection, paint("break")).sentence
    assert broken == "The picture could not be painted: <Device at …> is in disorder."
    assert size_of(connection.ask(paint(), timeout=30)) == (16, 24), "by another process"
    died = failure_of(connection, paint("die"))
    assert died.code == "engine_failed"
    assert "The process that paints ended" in died.sentence
    assert size_of(connection.ask(paint(), timeout=30)) == (16, 24)


@pytest.mark.parametrize(
    ("error", "answers"),
    [(ValueError("too small"), [b"E", b"E"]), (RuntimeError("the device is in disorder"), [b"F"])],
)
def test_the_process_ends_after_a_failure_that_is_not_the_questions(
    monkeypatch: pytest.MonkeyPatch, error: Exception, answers: list[bytes]
) -> None:
    class Failing:
        kinds = ()

        def __init__(self, *_: Any) -> None:
            pass

        def paint(self, *_: Any, **__: Any) -> Any:
            raise error

    monkeypatch.setattr(paint_process, "Pipeline", Failing)
    monkeypatch.setattr(paint_process, "stand_back", lambda: None)
    source, target = io.BytesIO(), io.BytesIO()
    head = {"prompt": "", "strength": 1.0, "seed": 0, "pose": None, "sizes": {"openpose": [8, 8]}}
    for _ in range(2):
        pipes.send(source, b"A", [json.dumps(head).encode(), bytes(8 * 8 * 3)])
    source.seek(0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=target))
    options = {"weights": "sd", "controls": {}, "device": "cpu", "steps": 3, "size": 8}
    paint_process.main(json.dumps(options))
    target.seek(0)
    said = []
    while (answer := pipes.receive(target)) is not None:
        said.append(answer)
    assert said == [(kind, [str(error).encode()]) for kind in answers]


def test_a_picture_that_takes_too_long_is_given_up_and_the_process_with_it(connect: Connect) -> None:
    connection = connect(seconds=5.0)  # in which the process that comes after has to begin, too
    late = failure_of(connection, paint("hang"))
    assert (late.code, "within 5 seconds" in late.sentence) == ("timeout", True)
    assert size_of(connection.ask(paint(), timeout=30)) == (16, 24)


def test_a_pose_that_is_not_read_in_time_is_not_read_after_it(start_backend: Any, engine: Any) -> None:
    backend = start_backend(images=PaintOptions(Path("sd"), {"openpose": Path("net")}, seconds=0.5))
    engine.gate.clear()
    with Connection(Address.parse(backend.url)) as connection:
        assert failure_of(connection, repaint()).code == "timeout"
        assert not backend.server._scheduler._jobs, "it would keep its place, and be read for nobody"


def test_a_picture_to_paint_is_kept_decoded_and_not_as_it_came(start_backend: Any, engine: Any) -> None:
    backend = start_backend(images=PaintOptions(Path("sd"), {"openpose": Path("net")}))
    engine.gate.clear()
    with Connection(Address.parse(backend.url)) as connection:
        connection.submit(repaint())
        assert engine.entered.wait(20)
        connection.submit(paint())
        wait_for(lambda: len(backend.server._painter._waiting) == 1)
        first, second = backend.server._painter._job, backend.server._painter._waiting[0]
        assert (first.picture.size, first.request.image_png) == ((40, 30), None)
        assert (second.maps["openpose"].size, second.request.painting.maps) == ((16, 24), {})
        engine.gate.set()


def test_two_pictures_of_a_client_wait_and_a_third_is_refused(connect: Connect) -> None:
    connection = connect()
    handles: list[Handle] = [connection.submit(paint("wait")) for _ in range(3)]
    assert handles[2].wait(30)
    assert handles[2].error is not None
    assert (handles[2].error.code, "2 of them yours" in handles[2].error.sentence) == ("busy", True)
    with Connection(connection.address) as other:
        assert not other.submit(paint("wait")).wait(0.5), "somebody else's is taken"


def test_of_all_clients_together_so_many_pictures_wait_and_one_more_is_refused(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "MAX_WAITING", 3)
    connection = connect()
    with Connection(connection.address) as other:
        handles = [one.submit(paint("wait")) for one in (connection, connection, other)]
        wait_for(lambda: all(handle.progress is not None for handle in handles))
        assert "busy with 3 pictures, 1 of them yours" in failure_of(other, paint()).sentence


def test_a_stop_does_not_wait_for_a_picture(start_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter, "PROGRAM", SCRIPTED)
    backend = start_backend(images=PaintOptions(Path("sd"), {"openpose": Path("net")}))
    with Connection(Address.parse(backend.url)) as connection:
        handle = connection.submit(paint("hang"))
        wait_for(lambda: backend.server._painter._process is not None)
        began = time.monotonic()
        stopping = threading.Thread(target=backend.stop)
        stopping.start()
        assert handle.wait(20)
        stopping.join(20)
    assert not backend.is_alive
    assert time.monotonic() - began < 10.0
    assert handle.error is not None


@pytest.mark.parametrize(
    ("painting", "sentence"),
    [
        (None, "The prompt is empty"),
        (Painting(" ", {"openpose": b"x"}), "The prompt is empty"),
        (Painting("x" * 3000, {"openpose": b"x"}), "The prompt has 3000 characters"),
        (Painting("a dancer"), "needs a control map"),
        (Painting("a dancer", {"canny": b"x"}), "There are no control maps 'canny'"),
        (Painting("a dancer", {"openpose": b"x"}, strength=0.0), "strength is 0.0"),
        (Painting("a dancer", {"openpose": b"x"}, seed=-1), "seed is '-1'"),
        (Painting("a dancer", {"openpose": bytes(2**24), "depth": b"x"}), "have 16777217 bytes together"),
        (Painting("a dancer", {"depth": png()}), "has no map of openpose"),
        (Painting("a dancer", {"openpose": b"no picture"}), "is no PNG"),
    ],
)
def test_what_cannot_be_painted_is_refused_in_one_sentence(
    connect: Connect, painting: Painting | None, sentence: str
) -> None:
    request = Request(new_request_id(), "paint", painting=painting)
    assert sentence in failure_of(connect(), request).sentence


def test_a_backend_without_a_pipeline_says_how_to_start_one(start_backend: Any) -> None:
    with Connection(Address.parse(start_backend().url)) as connection:
        assert "posellava serve --images FOLDER" in failure_of(connection, paint()).sentence
        refusal = failure_of(connection, repaint())
    assert refusal.code == "unknown_task"
    assert "paints no pictures" in refusal.sentence


@pytest.mark.slow
def test_posellava_serve_paints_with_weights_of_diffusers(tmp_path: Path) -> None:
    weights, controlnet = tiny_pipeline(tmp_path)
    command = [str(Path(sys.executable).parent / "posellava"), "serve", "--port", "0", "--no-token"]
    arguments = ["--images", str(weights), "--control", f"openpose={controlnet}", "--image-steps", "4"]
    try:
        (person,) = draw_poses(STANDING_POSE[None], 160, Camera(azimuth=0.0, elevation=5.0))
    except DrawingUnavailableError:
        pytest.skip("no OpenGL here")
    buffer = io.BytesIO()
    person.save(buffer, "PNG")
    log = tmp_path / "log"
    with (
        log.open("w") as said,
        subprocess.Popen(
            [*command, *arguments, "--image-size", "64"], stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            with Connection(Address.parse(process.stdout.readline())) as connection:
                painting = Painting("a dancer", {"openpose": png(64, 96)})
                steps: list[Progress] = []

                def ask(task: str, painting: Painting = painting, **changes: Any) -> Result:
                    request = Request(new_request_id(), task, painting=painting, **changes)
                    return connection.ask(request, timeout=400, on_progress=steps.append)

                first = ask("paint")
                assert size_of(first) == (64, 96)
                assert ask("paint").image_png == first.image_png, "the seed is the same"
                assert {step.total for step in steps} <= {0, 4}
                again = ask("repaint", instruction="raise your left arm", image_png=buffer.getvalue())
                assert size_of(again) == (64, 64)
                assert again.poses[0] is not None
                joints = forward_kinematics(axis_angle_to_matrix(again.poses[0].astype(float)))[1]
                left, right = (joints[JOINT_INDEX[f"{side}_wrist"], 1] for side in ("left", "right"))
                assert left > right + 0.4
                nobody = ask("repaint", image_png=png(64, 96))
                assert (nobody.image_png, "nobody" in nobody.texts[0]) == (None, True)
                long = Painting("a dancer" + " secretly" * 9, painting.maps)
                assert size_of(ask("paint", long)) == (64, 96)
                assert "secretly" not in log.read_text(), "diffusers says what it leaves out of a long prompt"
                assert "%|" not in log.read_text(), "and shows how far it is with loading"
        finally:
            process.kill()


def test_a_size_whose_pictures_fit_into_no_answer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert options("--image-size", str(serve.MAX_IMAGE_SIZE)).image_size ** 2 * 3 < Limits().max_image_bytes
    with pytest.raises(SystemExit):
        options("--image-size", "4096")
    assert "give at most 2048" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--control", "openpose=net"], "--control is of --images"),
        (["--images", "sd"], "--images needs a ControlNet"),
        (["--images", "sd", "--control", "openpose"], "--images needs a ControlNet"),
        (["--images", "sd", "--control", "canny=net"], "there are no maps 'canny'"),
        (["--images", "sd", "--control", "depth=net"], "there is no folder sd of weights"),
    ],
)
def test_options_that_paint_nothing_are_found_before_anything_is_loaded(
    arguments: list[str], sentence: str
) -> None:
    def load() -> Any:
        raise AssertionError("the model was loaded")

    with pytest.raises(ValueError, match=sentence):
        serve.run(options("--port", "0", *arguments), load, {})
