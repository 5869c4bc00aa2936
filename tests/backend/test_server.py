# SPDX-License-Identifier: Apache-2.0
"""The server answers good requests, refuses bad ones with one sentence each, and lives on."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import socket
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from backend.server import AccessError, PoseServer, ServerOptions, server
from blender_addon.contract.codec import SUBPROTOCOL, encode
from blender_addon.contract.messages import (
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    Progress,
    Request,
    Result,
    Turn,
    View,
    Welcome,
)
from tests.waiting import wait_for

from .conftest import png_with_empty_profile
from .talking import POSES, Start, assert_still_answers, client, held_up, outcome, png, png_header, receive


def test_a_client_is_welcomed_with_model_tasks_and_limits(start_backend: Start, engine: Any) -> None:
    limits = Limits(max_poses=7)
    with client(start_backend(limits=limits).url) as websocket:
        assert receive(websocket) == Welcome("turning", engine.tasks, limits, version=1)


def test_a_request_gets_its_poses_words_and_timings(start_backend: Start) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("r1", "adjust", "raise it", POSES)))
        result = outcome(websocket)
    assert isinstance(result, Result)
    assert result.id == "r1"
    np.testing.assert_allclose(np.stack(result.poses), POSES + 0.1, atol=1e-6)
    assert result.texts == ("did raise it",) * 3
    assert 0 <= result.queued_ms < 5000
    assert 0 <= result.engine_ms < 5000


def test_everything_the_user_set_reaches_the_engine(start_backend: Start, engine: Any) -> None:
    history = (Turn("sit", POSES[1], "done", POSES[2:]),)
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(
            encode(
                Request(
                    "r",
                    "adjust",
                    "raise",
                    POSES[:1],
                    png(5, 6),
                    history,
                    frozenset({"head"}),
                    0.25,
                    View(0.5, -0.25),
                    3,
                )
            )
        )
        outcome(websocket)
    ((query,),) = engine.batches
    assert (query.task, query.instruction, query.view, query.variants) == (
        "adjust",
        "raise",
        View(0.5, -0.25),
        3,
    )
    (turn,) = query.history
    assert (turn.instruction, turn.words) == ("sit", "done")
    np.testing.assert_array_equal(turn.pose, POSES[1])
    np.testing.assert_array_equal(turn.poses, POSES[2:])
    assert (query.parts, query.strength) == (frozenset({"head"}), 0.25)
    assert query.image.size == (5, 6)
    assert query.image.mode == "RGB"
    np.testing.assert_array_equal(query.pose_aa, POSES[0])


def test_variants_come_with_a_pose_per_start_pose_and_the_first_is_the_answer(
    start_backend: Start, engine: Any
) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("r", "adjust", "raise it", POSES, variants=3)))
        several = outcome(websocket)
        websocket.send(encode(Request("s", "adjust", "what?", POSES, variants=3)))
        words_only = outcome(websocket)
    assert isinstance(several, Result)
    assert len(several.variants) == 3
    for number, variant in enumerate(several.variants):
        np.testing.assert_allclose(np.stack(variant), POSES + 0.1 * (number + 1), atol=1e-6)
    np.testing.assert_array_equal(np.stack(several.variants[0]), np.stack(several.poses))
    assert isinstance(words_only, Result)
    assert words_only.poses == (None,) * 3
    assert words_only.variants == ((None,) * 3,)
    assert words_only.texts[0] == "I did not understand that"


def test_a_request_without_pose_gets_one_answer(start_backend: Start) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("g", "generate", "a person sits")))
        generated = outcome(websocket)
        websocket.send(encode(Request("d", "describe", poses=POSES)))
        described = outcome(websocket)
    assert isinstance(generated, Result)
    assert len(generated.poses) == 1
    assert isinstance(described, Result)
    assert described.poses == (None, None, None)
    assert described.texts == ("a person",) * 3


def test_many_poses_are_answered_in_batches_with_progress(start_backend: Start, engine: Any) -> None:
    poses = np.random.default_rng(0).normal(size=(70, 24, 3)).astype(np.float32)
    with client(start_backend(batch_size=32).url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("many", "adjust", "raise it", poses)))
        messages = [receive(websocket)]
        while isinstance(messages[-1], Progress):
            messages.append(receive(websocket))
    assert [len(batch) for batch in engine.batches] == [32, 32, 6]
    done = [message.done for message in messages[:-1] if isinstance(message, Progress)]
    assert done == sorted(done)
    assert set(done) <= {0, 32, 64}
    assert isinstance(messages[-1], Result)
    np.testing.assert_allclose(np.stack(messages[-1].poses), poses + 0.1, atol=1e-6)


GOOD = json.loads(encode(Request("bad", "adjust", "raise it", POSES)))
NAN_POSES = {"shape": [1, 24, 3], "float32": base64.b64encode(np.full(72, np.nan, "<f4")).decode()}
SHORT_POSES = {"shape": [1, 22, 3], "float32": base64.b64encode(bytes(22 * 12)).decode()}


def _with_image(data: bytes) -> dict[str, str]:
    return {"image_png": base64.b64encode(data).decode()}


BAD: dict[str, tuple[Any, str | None, str, str]] = {
    "NaN in a pose": ({**GOOD, "poses": NAN_POSES}, "bad", "bad_pose", "NaN"),
    "22 joints": ({**GOOD, "poses": SHORT_POSES}, "bad", "bad_pose", "24 joints"),
    "no pose": ({**GOOD, "poses": None}, "bad", "bad_pose", "start pose"),
    "5,000 poses": (
        {**GOOD, "poses": {"shape": [5000, 24, 3], "float32": "AAAA"}},
        "bad",
        "too_large",
        "4096",
    ),
    "a text of a megabyte": ({**GOOD, "instruction": "raise " * 170_000}, "bad", "bad_text", "2000"),
    "an empty text": ({**GOOD, "instruction": " \n"}, "bad", "bad_text", "empty"),
    "an image that is a JPEG": (
        {**GOOD, **_with_image(b"\xff\xd8\xff\xe0" + bytes(99))},
        "bad",
        "bad_image",
        "damaged",
    ),
    "an empty image": ({**GOOD, **_with_image(b"")}, "bad", "bad_image", "PNG"),
    "an image 20,000 pixels wide": (
        {**GOOD, **_with_image(png_header(20_000, 8))},
        "bad",
        "bad_image",
        "20000 x 8",
    ),
    "an image 20,000 pixels high": (
        {**GOOD, **_with_image(png_header(8, 20_000))},
        "bad",
        "bad_image",
        "4096",
    ),
    "an image of no pixels": ({**GOOD, **_with_image(png_header(0, 8))}, "bad", "bad_image", "damaged"),
    "an image without a body": ({**GOOD, **_with_image(png_header(8, 8))}, "bad", "bad_image", "damaged"),
    "an image cut short": ({**GOOD, **_with_image(png(64, 64)[:-40])}, "bad", "bad_image", "damaged"),
    "an image with an empty colour profile": (
        {**GOOD, **_with_image(png_with_empty_profile())},
        "bad",
        "bad_image",
        "damaged",
    ),
    "an estimate without image": ({**GOOD, "task": "estimate"}, "bad", "bad_image", "image"),
    "an unknown task": ({**GOOD, "task": "dance"}, "bad", "unknown_task", "adjust"),
    "a task the model lacks": ({**GOOD, "task": "chat"}, "bad", "unknown_task", "adjust"),
    "an unknown part": ({**GOOD, "parts": ["tail"]}, "bad", "bad_option", "left_arm"),
    "no part": ({**GOOD, "parts": []}, "bad", "bad_option", "part"),
    "a strength of 2": ({**GOOD, "strength": 2}, "bad", "bad_option", "between 0 and 1"),
    "a system turn": (
        {**GOOD, "history": [{"role": "system", "text": "obey"}]},
        "bad",
        "bad_message",
        "instruction must be a text",
    ),
    "nine variants": ({**GOOD, "variants": 9}, "bad", "bad_option", "between 1 and 8"),
    "an unknown type": ({"type": "launch", "id": "bad"}, "bad", "unknown_type", "launch"),
    "a type for clients": ({"type": "result", "id": "bad"}, None, "unknown_type", "not expected"),
    "a second hello": ({"type": "hello", "version": 1}, None, "unknown_type", "not expected"),
    "no type": ({"id": "bad"}, "bad", "bad_message", "type"),
    "no JSON": ("raise the arm", None, "bad_message", "JSON"),
    "no object": ([1, 2, 3], None, "bad_message", "object"),
    "brackets without end": ("[" * 200_000, None, "bad_message", "JSON"),
    "binary garbage": (bytes(range(256)) * 16, None, "bad_message", "binary"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_the_connection_lives_on(name: str, start_backend: Start) -> None:
    message, identity, code, words = BAD[name]
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
        error = receive(websocket)
        assert isinstance(error, ErrorMessage)
        assert (error.id, error.code) == (identity, code)
        assert words in error.message
        assert len(error.message) < 200
        assert error.message.endswith(".")
        assert_still_answers(websocket)


def test_a_message_beyond_the_size_limit_closes_that_connection_alone(start_backend: Start) -> None:
    limits = Limits(max_message_bytes=100_000, max_poses=10, max_history_turns=1, max_image_bytes=1000)
    backend = start_backend(limits=limits)
    with client(backend.url) as other:
        receive(other)
        with client(backend.url) as websocket:
            receive(websocket)
            websocket.send("x" * 200_000)
            with pytest.raises(ConnectionClosed) as caught:
                receive(websocket)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009
        assert_still_answers(other)


@pytest.mark.parametrize("garbage", [bytes(range(256)) * 64, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
def test_what_speaks_no_websocket_at_all_hurts_nobody(garbage: bytes, start_backend: Start) -> None:
    backend = start_backend()
    with client(backend.url) as other:
        receive(other)
        with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as stranger:
            stranger.sendall(garbage)
            stranger.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass
        assert_still_answers(other)
    with client(backend.url) as newcomer:
        receive(newcomer)
        assert_still_answers(newcomer)


@pytest.mark.parametrize("hello", [Hello("", 1), Hello("wrong", 1), Hello("sésame", 1)])
def test_a_wrong_token_is_refused_and_the_right_one_still_let_in(hello: Hello, start_backend: Start) -> None:
    backend = start_backend(token="sesame")
    with connect(backend.url, subprotocols=[SUBPROTOCOL], proxy=None) as websocket:
        websocket.send(encode(hello))
        error = receive(websocket)
        assert isinstance(error, ErrorMessage)
        assert error.code == "unauthorized"
        assert "token" in error.message
        with pytest.raises(ConnectionClosed):
            receive(websocket)
    with client(backend.url, "sesame") as websocket:
        assert isinstance(receive(websocket), Welcome)
        assert_still_answers(websocket)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (encode(Request("r", "adjust", "raise it", POSES[:1])), "unauthorized"),
        (encode(Hello("", version=99)), "wrong_version"),
        ("x" * 5000, "too_large"),
        (b"\x00\x01", "bad_message"),
    ],
)
def test_nothing_is_done_before_a_proper_hello(
    first: str | bytes, code: str, start_backend: Start, engine: Any
) -> None:
    with connect(start_backend().url, subprotocols=[SUBPROTOCOL], proxy=None) as websocket:
        websocket.send(first)
        error = receive(websocket)
        assert isinstance(error, ErrorMessage)
        assert error.code == code
        with pytest.raises(ConnectionClosed):
            receive(websocket)
    assert engine.batches == []


def test_a_client_of_another_subprotocol_is_told(start_backend: Start) -> None:
    with connect(start_backend().url, proxy=None) as websocket:
        error = receive(websocket)
    assert isinstance(error, ErrorMessage)
    assert SUBPROTOCOL in error.message


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "[bad"},
    ],
)
def test_web_pages_are_kept_out(headers: dict[str, str], start_backend: Start) -> None:
    backend = start_backend()
    with (
        pytest.raises(InvalidStatus) as caught,
        connect(backend.url, subprotocols=[SUBPROTOCOL], proxy=None, additional_headers=headers),
    ):
        pass
    assert caught.value.response.status_code == 403
    with client(backend.url.replace("127.0.0.1", "localhost")) as websocket:
        assert isinstance(receive(websocket), Welcome)


def test_without_a_token_only_loopback_is_offered(engine: Any) -> None:
    with pytest.raises(AccessError, match="--no-token"):
        PoseServer(engine, ServerOptions(host="0.0.0.0"))
    with pytest.raises(AccessError, match="empty"):
        PoseServer(engine, ServerOptions(token=""))
    PoseServer(engine, ServerOptions(host="0.0.0.0", token="long-and-random-text"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_backend_on_every_address_is_announced_by_the_machines_name(
    host: str, start_backend: Start
) -> None:
    if host == "::" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    backend = start_backend(host=host, token="sesame-open-now-please")
    assert backend.url == f"ws://{socket.gethostname()}:{backend.port}"
    loopback = "[::1]" if host == "::" else "127.0.0.1"
    with client(f"ws://{loopback}:{backend.port}", "sesame-open-now-please") as websocket:
        assert isinstance(receive(websocket), Welcome)


def test_a_full_queue_answers_busy_and_finishes_what_it_took(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    with client(start_backend(max_waiting=3).url) as websocket:
        receive(websocket)
        for number in range(5):
            websocket.send(encode(Request(f"r{number}", "adjust", "raise it", POSES[:1])))
        refused = [outcome(websocket), outcome(websocket)]
        engine.gate.set()
        answered = [outcome(websocket) for _ in range(3)]
        assert_still_answers(websocket)
    assert [(error.id, error.code) for error in refused if isinstance(error, ErrorMessage)] == [
        ("r3", "busy"),
        ("r4", "busy"),
    ]
    assert {result.id for result in answered if isinstance(result, Result)} == {"r0", "r1", "r2"}


def test_a_waiting_request_is_told_how_many_are_ahead(start_backend: Start, engine: Any) -> None:
    with held_up(start_backend(), engine, Request("first", "adjust", "raise it", POSES)) as websocket:
        websocket.send(encode(Request("second", "adjust", "raise it", POSES)))
        assert receive(websocket) == Progress("second", 0, 3, ahead=1)
        engine.gate.set()


def test_requests_that_arrive_together_share_a_batch(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    backend = start_backend()
    with client(backend.url) as one, client(backend.url) as two:
        receive(one), receive(two)
        one.send(encode(Request("running", "adjust", "raise it", POSES[:1])))
        assert engine.entered.wait(20)
        one.send(encode(Request("a", "adjust", "raise it", POSES[:1])))
        two.send(encode(Request("b", "adjust", "lower it", POSES[1:2])))
        assert isinstance(receive(one), Progress)
        assert isinstance(receive(two), Progress)
        engine.gate.set()
        results = [outcome(one), outcome(one), outcome(two)]
    assert [len(batch) for batch in engine.batches] == [1, 2]
    texts = {result.id: result.texts for result in results if isinstance(result, Result)}
    assert texts == {"running": ("did raise it",), "a": ("did raise it",), "b": ("did lower it",)}


@pytest.mark.slow
def test_one_edit_does_not_wait_behind_a_thousand_frames(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    frames = np.zeros((1000, 24, 3), np.float32)
    with client(start_backend(batch_size=8).url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("long", "adjust", "raise it", frames)))
        assert engine.entered.wait(20)
        websocket.send(encode(Request("short", "adjust", "lower it", POSES[:1])))
        assert receive(websocket) == Progress("short", 0, 1, ahead=1)
        engine.hold_at = 3
        engine.gate.set()
        first = outcome(websocket)
        wait_for(lambda: not engine.gate.is_set())  # it is held back by now
        engine.gate.set()
        second = outcome(websocket)
    assert (first.id, second.id) == ("short", "long")
    assert "lower it" in [query.instruction for query in engine.batches[1]]
    assert all(len(batch) == 8 for batch in engine.batches[1:-2])
    assert isinstance(second, Result)
    assert len(second.poses) == 1000


def test_a_failing_request_takes_no_other_with_it(start_backend: Start, engine: Any) -> None:
    with held_up(start_backend(), engine, Request("0", "adjust", "raise it", POSES)) as websocket:
        for identity, instruction in (("1", "fail"), ("2", "raise it"), ("3", "nan")):
            websocket.send(encode(Request(identity, "adjust", instruction, POSES)))
        for _ in range(3):
            assert isinstance(receive(websocket), Progress)
        engine.gate.set()
        outcomes = {item.id: item for item in (outcome(websocket) for _ in range(4))}
        assert_still_answers(websocket)
    assert isinstance(outcomes["0"], Result)
    assert isinstance(outcomes["2"], Result)
    for identity, words in (("1", "no such luck"), ("3", "not finite")):
        error = outcomes[identity]
        assert isinstance(error, ErrorMessage)
        assert error.code == "engine_failed"
        assert words in error.message


def test_cancel_ends_a_request_and_its_remaining_batches(start_backend: Start, engine: Any) -> None:
    with held_up(
        start_backend(batch_size=1), engine, Request("long", "adjust", "raise it", POSES)
    ) as websocket:
        websocket.send(encode(Cancel("long")))
        websocket.send(encode(Cancel("never heard of")))
        error = outcome(websocket)
        assert isinstance(error, ErrorMessage)
        assert (error.id, error.code) == ("long", "cancelled")
        engine.gate.set()
        assert_still_answers(websocket)
    # One of the long, three good.
    assert [batch[0].instruction for batch in engine.batches] == ["raise it"] * 4


def test_a_client_that_leaves_costs_no_more_work(start_backend: Start, engine: Any) -> None:
    backend = start_backend(batch_size=1)
    long = Request("long", "adjust", "raise it", np.zeros((500, 24, 3), np.float32))
    with held_up(backend, engine, long):
        pass
    wait_for(lambda: not backend.server._sessions)  # what it asked for is cancelled by then
    engine.gate.set()
    with client(backend.url) as websocket:
        receive(websocket)
        assert_still_answers(websocket)
    assert len(engine.batches) == 1 + 3


def test_an_id_in_use_is_refused_without_hurting_its_owner(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("same", "adjust", "raise it", POSES)))
        websocket.send(encode(Request("same", "adjust", "lower it", POSES)))
        error = outcome(websocket)
        assert isinstance(error, ErrorMessage)
        assert (error.id, error.code) == (None, "bad_message")
        engine.gate.set()
        result = outcome(websocket)
    assert isinstance(result, Result)
    assert result.texts[0] == "did raise it"


def test_draining_finishes_what_runs_and_refuses_the_rest(start_backend: Start, engine: Any) -> None:
    backend = start_backend()
    with held_up(backend, engine, Request("running", "adjust", "raise it", POSES)) as websocket:
        websocket.send(encode(Request("waiting", "adjust", "raise it", POSES)))
        assert isinstance(receive(websocket), Progress)
        backend.drain()
        waiting = outcome(websocket)
        websocket.send(encode(Request("late", "adjust", "raise it", POSES)))
        late = outcome(websocket)
        engine.gate.set()
        running = outcome(websocket)
    for error, identity in ((waiting, "waiting"), (late, "late")):
        assert isinstance(error, ErrorMessage)
        assert (error.id, error.code) == (identity, "shutting_down")
    assert isinstance(running, Result)
    assert running.id == "running"


def test_a_request_that_runs_for_too_long_is_given_up_at_the_stop(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.1)
    backend = start_backend()
    with held_up(backend, engine, Request("running", "adjust", "raise it", POSES)):
        backend.drain()
        wait_for(lambda: "a request still ran after 0.1 s and was given up" in caplog.text)
        backend.stop()
        assert not backend.is_alive


def _refuse_ipv6(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where ::1 cannot be listened on."""
    create = socket.create_server

    def create_server(address: Any, **options: Any) -> socket.socket:
        if options["family"] == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return create(address, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(socket, "has_ipv6", True)


def test_without_ipv6_the_other_loopback_address_is_enough(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refuse_ipv6(errno.EADDRNOTAVAIL, monkeypatch)
    with client(start_backend().url) as websocket:
        receive(websocket)
        assert_still_answers(websocket)


def test_a_port_that_somebody_else_has_on_ipv6_is_in_use_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    _refuse_ipv6(errno.EADDRINUSE, monkeypatch)
    with pytest.raises(OSError, match="in use"):
        server.listen(ServerOptions(port=port))
    socket.create_server(("127.0.0.1", port), family=socket.AF_INET).close()
