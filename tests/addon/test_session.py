# SPDX-License-Identifier: Apache-2.0
"""The session connects, retries, and finishes every request exactly once, without holding its caller."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import io
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from blender_addon.contract import client, codec
from blender_addon.contract.codec import SUBPROTOCOL
from blender_addon.contract.messages import Limits, Progress, ProtocolError, Request, Turn, Welcome
from blender_addon.session import (
    Address,
    Connection,
    Edit,
    Handle,
    History,
    State,
    new_request_id,
)
from blender_addon.session.link import Link
from blender_addon.session.reconnect import keep_connected
from tests.fake_backend import Cut, FakeBackend, Hear, welcome
from tests.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
POSES = np.linspace(-1, 1, 3 * 72, dtype=np.float32).reshape(3, 24, 3)
Start = Callable[..., Any]
Connect = Callable[..., Connection]


def request(instruction: str = "raise it", poses: np.ndarray = POSES, **changes: Any) -> Request:
    return Request(new_request_id(), "adjust", instruction, poses, **changes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_state(connection: Connection, state: State) -> None:
    wait_for(lambda: connection.status.state is state)


def error_of(handle: Handle) -> ProtocolError:
    assert handle.wait(20)
    assert handle.error is not None
    assert handle.result is None
    return handle.error


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A connection that is closed after the test; already connecting unless told."""
    connections: list[Connection] = []

    def make(url: str, token: str = "", *, opened: bool = True) -> Connection:
        connections.append(Connection(Address.parse(url, token)))
        if opened:
            connections[-1].connect()
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def slow_backend() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start tests/addon/slow_backend.py; the process listens when it is returned."""
    processes: list[subprocess.Popen[str]] = []

    def start(port: int, seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("slow_backend.py")), str(port), str(seconds)]
        environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening ")
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_request_is_answered_and_whatever_is_new_is_told_once(
    start_backend: Start, connect: Connect
) -> None:
    connection = connect(start_backend(batch_size=2, token="sesame").url, "sesame")
    handle = connection.submit(request())
    assert handle.wait(20)
    assert handle.result is not None
    np.testing.assert_allclose(
        np.stack([p for p in handle.result.poses if p is not None]), POSES + 0.1, atol=1e-6
    )
    assert connection.status.welcome is not None
    assert connection.status.welcome.model == "turning"
    assert connection.status.sentence == "Connected to turning."
    assert connection.poll()
    assert not connection.poll()
    connection.disconnect()
    assert connection.poll()


def test_the_first_end_of_a_request_counts_and_is_told_once() -> None:
    told: list[bool] = []
    handle = Handle(request(), lambda: told.append(handle.done))
    handle.advance(Progress(handle.request.id, 1, 3))
    handle.finish(error=ProtocolError("cancelled", "Cancelled; nothing was changed."))
    handle.finish(error=ProtocolError("connection_lost", "The connection broke."))
    handle.advance(Progress(handle.request.id, 2, 3))
    assert error_of(handle).code == "cancelled"
    assert handle.progress is not None
    assert handle.progress.done == 1
    assert told == [False, True]


def test_a_background_script_asks_and_waits(start_backend: Start, engine: Any) -> None:
    seen = []
    with Connection(Address.parse(start_backend(batch_size=1).url)) as connection:
        first = connection.ask(request(), timeout=20)
        engine.gate.clear()
        threading.Timer(0.3, engine.gate.set).start()
        connection.ask(request(poses=np.zeros((50, 24, 3), np.float32)), timeout=20, on_progress=seen.append)
    assert first.texts == ("did raise it",) * 3
    assert all(progress.total == 50 for progress in seen)
    assert connection.status.state is State.DISCONNECTED


def test_ask_connects_by_itself(start_backend: Start, connect: Connect) -> None:
    connection = connect(start_backend().url, opened=False)
    assert connection.ask(request(), timeout=20).texts[0] == "did raise it"


def test_ask_gives_up_in_time_and_the_backend_is_told(
    start_backend: Start, connect: Connect, engine: Any
) -> None:
    backend = start_backend(batch_size=1)
    connection = connect(backend.url)
    connection.ask(request("first"), timeout=20)
    engine.gate.clear()
    with pytest.raises(ProtocolError) as caught:
        connection.ask(request(), timeout=0.5)
    assert caught.value.code == "timeout"
    assert "0.5 seconds" in caught.value.sentence
    wait_for(lambda: not backend.server._scheduler._jobs)  # the cancel has arrived
    engine.gate.set()
    assert connection.ask(request("lower it"), timeout=20).texts[0] == "did lower it"
    assert [batch[0].instruction for batch in engine.batches].count("raise it") <= 1


def test_without_a_backend_a_request_fails_at_once_and_says_how_to_start_one(connect: Connect) -> None:
    connection = connect(f"127.0.0.1:{free_port()}")
    started = time.monotonic()
    errors = [error_of(connection.submit(request())) for _ in range(3)]
    assert time.monotonic() - started < 5
    assert {error.code for error in errors} == {"no_backend"}
    assert all("posellava serve" in error.sentence for error in errors)
    assert connection.status.state is State.CONNECTING
    assert "Trying again" in connection.status.sentence


def test_a_silent_address_is_given_up_soon_at_the_first_call_and_at_the_next(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.OPEN_SECONDS <= 5
    monkeypatch.setattr(client, "OPEN_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connect(f"127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(ProtocolError, match="Nothing answers") as error:
                connection.ask(request(), timeout=30)
            assert error.value.code == "no_backend"
            assert time.monotonic() - began < 5


def test_a_backend_that_starts_later_is_found_without_pressing_connect(
    start_backend: Start, connect: Connect
) -> None:
    port = free_port()
    connection = connect(f"127.0.0.1:{port}")
    wait_for(lambda: "Trying again" in connection.status.sentence)
    start_backend(port=port)
    wait_for_state(connection, State.CONNECTED)
    assert connection.ask(request(), timeout=20).texts[0] == "did raise it"


def test_connect_pressed_while_waiting_tries_at_once(start_backend: Start, connect: Connect) -> None:
    port = free_port()
    connection = connect(f"127.0.0.1:{port}")
    wait_for(lambda: "again in 2 s" in connection.status.sentence)
    start_backend(port=port)
    started = time.monotonic()
    connection.connect()
    wait_for_state(connection, State.CONNECTED)
    assert time.monotonic() - started < 1.5


def test_a_backend_killed_in_mid_request_gives_one_error_and_is_found_again(
    slow_backend: Callable[..., subprocess.Popen[str]], connect: Connect
) -> None:
    port = free_port()
    process = slow_backend(port, 60)
    connection = connect(f"127.0.0.1:{port}")
    handles = [connection.submit(request()) for _ in range(2)]
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.kill()
    for handle in handles:
        error = error_of(handle)
        assert error.code == "connection_lost"
        assert "broke" in error.sentence
        assert "Nothing was changed" in error.sentence
    wait_for(lambda: "Trying again" in connection.status.sentence)
    slow_backend(port, 0)
    assert connection.ask(request(), timeout=20).texts[0] == "done"


def test_whoever_is_told_that_a_request_failed_finds_no_connection() -> None:
    found: list[State] = []
    with FakeBackend([*welcome(), Hear(), Cut()]) as backend:
        link = Link(Address.parse(backend.url), lambda: None)
        handle = Handle(request(), lambda: found.append(link.status.state))
        link.submit(handle)
        link.start(keep_connected)
        assert error_of(handle).code == "connection_lost"
        link.stop()
        link.join(20)
    assert found == [State.CONNECTING]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to stop gracefully on")
def test_a_backend_told_to_stop_answers_what_runs_first(
    slow_backend: Callable[..., subprocess.Popen[str]], connect: Connect
) -> None:
    port = free_port()
    process = slow_backend(port, 1.0)
    connection = connect(f"127.0.0.1:{port}")
    handle = connection.submit(request())
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGTERM)
    assert handle.wait(20)
    assert handle.result is not None
    assert process.wait(20) == 0


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_wrong_token_is_final_and_says_so(token: str, start_backend: Start, connect: Connect) -> None:
    backend = start_backend(token="sesame")
    connection = connect(backend.url, token)
    handle = connection.submit(request())
    assert "token is wrong" in error_of(handle).sentence
    wait_for_state(connection, State.FAILED)
    assert "token is wrong" in connection.status.sentence
    assert "token is wrong" in error_of(connection.submit(request())).sentence
    assert connect(backend.url, "sesame").ask(request(), timeout=20)


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404, "Not Found")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_web_server_at_the_address_is_final(
    version: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Page, "protocol_version", version)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = connect(f"127.0.0.1:{server.server_port}")
        wait_for_state(connection, State.FAILED)
        server.shutdown()
    assert "no PoseLLaVA backend" in connection.status.sentence


def test_another_websocket_server_at_the_address_is_final(connect: Connect) -> None:
    def hear(websocket: ServerConnection) -> None:
        for _ in websocket:
            pass

    with serve(hear, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = connect(f"127.0.0.1:{server.socket.getsockname()[1]}")
        wait_for_state(connection, State.FAILED)
        server.shutdown()
    assert "posellava.v1" in connection.status.sentence


@pytest.fixture
def tls_backend(tmp_path: Path) -> Iterator[Callable[[str], tuple[int, Path]]]:
    """tls_backend(days) -> port and certificate of a backend that greets over TLS as ``localhost``; the certificate
    is its own authority and valid for so many days."""
    with contextlib.ExitStack() as stack:

        def start(days: str) -> tuple[int, Path]:
            key, csr, names, certificate = (
                str(tmp_path / name) for name in ("key.pem", "csr.pem", "names", "certificate.pem")
            )
            Path(names).write_text("subjectAltName=DNS:localhost")
            for command in (
                ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=localhost", "-out", csr],
                ["x509", "-req", "-in", csr, "-signkey", key, "-days", days, "-extfile", names, "-out", certificate],
            ):  # fmt: skip
                subprocess.run(["openssl", *command], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server = stack.enter_context(
                serve(greet, "127.0.0.1", 0, ssl=context, subprotocols=[Subprotocol(SUBPROTOCOL)])
            )
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return server.socket.getsockname()[1], Path(certificate)

        def greet(websocket: ServerConnection) -> None:
            websocket.recv()
            websocket.send(codec.encode(Welcome("safe", ("adjust",), version=1)))
            for _ in websocket:
                pass

        yield start


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize(
    ("host", "days", "advice"),
    [
        ("localhost", "1", "SSL_CERT_FILE"),
        ("127.0.0.1", "1", "put the name that the certificate was made for into the address"),
        ("localhost", "-1", "renew it"),
    ],
)
def test_a_certificate_that_is_not_trusted_is_final_and_says_what_to_do(
    host: str,
    days: str,
    advice: str,
    tls_backend: Callable[[str], tuple[int, Path]],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, certificate = tls_backend(days)
    if advice != "SSL_CERT_FILE":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    connection = connect(f"wss://{host}:{port}")
    wait_for_state(connection, State.FAILED)
    assert connection.status.sentence.startswith(
        f"The certificate of wss://{host}:{port} cannot be trusted ("
    )
    assert advice in connection.status.sentence
    assert connection.status.sentence.endswith(".")


def test_an_address_with_wss_of_a_backend_without_tls_is_explained(
    start_backend: Start, connect: Connect
) -> None:
    connection = connect(start_backend().url.replace("ws://", "wss://"))
    assert "write ws:// instead of wss://" in error_of(connection.submit(request())).sentence


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_of_ones_own_is_trusted_once_it_is_named(
    tls_backend: Callable[[str], tuple[int, Path]], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, certificate = tls_backend("1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    connection = connect(f"wss://localhost:{port}")
    wait_for_state(connection, State.CONNECTED)
    assert connection.status.sentence == "Connected to safe."


BAD = {
    "NaN": (request(poses=POSES * np.float32("nan")), "bad_pose"),
    "22 joints": (request(poses=POSES[:, :22]), "bad_pose"),
    "a megabyte of text": (request("x" * 1_000_000), "bad_text"),
    "too many poses": (request(poses=np.zeros((60, 24, 3), np.float32)), "too_large"),
    "no PNG": (request(image_png=b"GIF89a"), "bad_image"),
    "an unknown task": (Request("t", "dance", "x"), "unknown_task"),
    "an image beyond the limit": (request(image_png=bytes(180_000)), "bad_image"),
    "too many words": (request(history=(Turn("x" * 2000, words="ß" * 2000),) * 32), "too_large"),
    "an unknown part": (request(parts=frozenset({"tail"})), "bad_option"),
}


def test_the_backends_limits_count_once_it_has_told_them(start_backend: Start, connect: Connect) -> None:
    connection = connect(start_backend(limits=Limits(max_poses=50)).url, opened=False)
    assert connection.limits.max_poses == Limits().max_poses
    connection.connect()
    wait_for_state(connection, State.CONNECTED)
    assert connection.limits.max_poses == 50


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_fails_alone(name: str, start_backend: Start, connect: Connect) -> None:
    bad, code = BAD[name]
    connection = connect(start_backend(limits=Limits(max_poses=50, max_image_bytes=150_000)).url)
    wait_for_state(connection, State.CONNECTED)
    welcome = connection.status.welcome
    error = error_of(connection.submit(bad))
    assert error.code == code
    assert len(error.sentence) < 200
    assert connection.ask(request(), timeout=20).texts[0] == "did raise it"
    assert connection.status.welcome is welcome  # the very connection that it was


def test_cancel_is_immediate_and_the_late_answer_is_dropped(
    start_backend: Start, connect: Connect, engine: Any
) -> None:
    engine.gate.clear()
    connection = connect(start_backend().url)
    handle = connection.submit(request())
    assert engine.entered.wait(20)
    connection.cancel(handle)
    assert handle.done
    assert error_of(handle).code == "cancelled"
    engine.gate.set()
    assert connection.ask(request("lower it"), timeout=20).texts[0] == "did lower it"
    assert handle.result is None
    assert error_of(handle).code == "cancelled"


def test_a_request_cancelled_before_the_connection_opened_is_never_sent(
    start_backend: Start, connect: Connect, engine: Any
) -> None:
    connection = connect(start_backend().url)
    connection.cancel(connection.submit(request()))
    connection.ask(request("lower it"), timeout=20)
    assert {query.instruction for batch in engine.batches for query in batch} <= {"lower it", "raise it"}
    assert engine.batches[-1][0].instruction == "lower it"


def test_requests_fail_when_nobody_asked_to_connect_or_the_connection_is_given_up(
    start_backend: Start, connect: Connect, engine: Any
) -> None:
    connection = connect(start_backend().url, opened=False)
    error = error_of(connection.submit(request()))
    assert (error.code, "press Connect" in error.sentence) == ("not_connected", True)
    engine.gate.clear()
    connection.connect()
    handle = connection.submit(request())
    assert engine.entered.wait(20)
    connection.disconnect()
    assert error_of(handle).code == "not_connected"
    assert connection.status.state is State.DISCONNECTED
    engine.gate.set()
    connection.connect()
    assert connection.ask(request(), timeout=20)


def test_close_ends_the_thread_even_while_connecting(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connect(f"127.0.0.1:{silent.getsockname()[1]}")
        silent.settimeout(60)
        connecting, _ = silent.accept()
        with connecting:
            connection.close()
        assert not any(thread.name == "posellava-link" for thread in threading.enumerate())


def test_close_waits_for_the_thread_that_disconnect_left_behind(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = connect(f"127.0.0.1:{silent.getsockname()[1]}")
        wait_for(lambda: any(thread.name == "posellava-link" for thread in threading.enumerate()))
        connection.disconnect()
        connection.close()
        assert not any(thread.name == "posellava-link" for thread in threading.enumerate())


@pytest.mark.slow
def test_submit_and_poll_do_not_hold_the_caller(
    slow_backend: Callable[..., subprocess.Popen[str]], connect: Connect
) -> None:
    port = free_port()
    slow_backend(port, 0.02)
    connection = connect(f"127.0.0.1:{port}")
    wait_for_state(connection, State.CONNECTED)
    large = request(poses=np.zeros((1000, 24, 3), np.float32), image_png=_noise_png())
    # The best of three: what other programs do on this machine is not the session's doing.
    assert min(_longest_hold(connection, large) for _ in range(3)) < 0.01


def _longest_hold(connection: Connection, large: Request) -> float:
    """Seconds of the longest call on this thread, as a window makes them, until the request is answered."""
    started = time.perf_counter()
    handle = connection.submit(dataclasses.replace(large, id=new_request_id()))
    longest = time.perf_counter() - started
    while not handle.done:
        started = time.perf_counter()
        connection.poll()
        longest = max(longest, time.perf_counter() - started)
        time.sleep(0.005)
    assert handle.result is not None, handle.error
    return longest


def _noise_png() -> bytes:
    """Three megabytes of PNG."""
    pixels = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("text", "url", "token", "loopback"),
    [
        ("127.0.0.1:9000", "ws://127.0.0.1:9000", "", True),
        ("localhost", "ws://localhost:8765", "", True),
        ("ws://[::1]:9000/", "ws://[::1]:9000", "", True),
        ("wss://poses.example/room", "wss://poses.example:443/room", "", False),
        ("192.168.1.7", "ws://192.168.1.7:8765", "", False),
        (" listening ws://127.0.0.1:4321 token=abc\n", "ws://127.0.0.1:4321", "abc", True),
        ("ws://127.0.0.1:4321 token=abc", "ws://127.0.0.1:4321", "abc", True),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, url: str, token: str, loopback: bool) -> None:
    address = Address.parse(text)
    assert (address.url, address.token, address.is_loopback) == (url, token, loopback)
    assert Address.parse(text, "mine").token == "mine"
    assert "mine" not in repr(Address.parse(text, "mine"))


@pytest.mark.parametrize(
    "text", ["", "  ", "http://127.0.0.1", "ws://", "host:port", "ws://a:99999", "ws://u@h"]
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as ws://127\.0\.0\.1:8765"):
        Address.parse(text)


def test_the_history_recalls_the_last_edits() -> None:
    history = History()
    for number in range(300):
        history.add(Edit("adjust", f"Raise arm {number}", "It is up"))
    assert len(history.edits) == 200
    assert history.edits[0].instruction == "Raise arm 299"
    assert history.edits[-1].instruction == "Raise arm 100"


def test_whatever_goes_wrong_on_the_sessions_thread_ends_its_requests_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def open_client(address: Address) -> client.Client:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(client.Client, "open", open_client)
    with Connection(Address.parse(f"ws://127.0.0.1:{free_port()}")) as connection:
        connection.connect()
        wait_for_state(connection, State.FAILED)
        assert "nobody thought of this" in connection.status.sentence
        error = error_of(connection.submit(request()))
    assert error.code == "not_connected"
    assert "press Connect to try again" in error.sentence
