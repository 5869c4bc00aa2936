# SPDX-License-Identifier: Apache-2.0
"""What one client, or the engine, can do to the others: nothing. Each test is an attack that once worked."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from backend.query import Answer, OnWords, Query
from backend.server import client_session, door, scheduler, server
from blender_addon.contract.codec import SUBPROTOCOL, encode
from blender_addon.contract.messages import Cancel, ErrorMessage, Hello, Painting, Request, Result, Welcome
from tests.waiting import wait_for

from .talking import POSES, Start, assert_still_answers, client, held_up, outcome, png, receive

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: posellava.v1\r\n\r\n"
)
"""A client's, of v1."""


def narrow_socket(port: int) -> socket.socket:
    """A connection into which little fits that is not read."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", port))
    return narrow


def connected(port: int, token: str = "") -> socket.socket:
    """A websocket of v1 spoken by hand, greeted and never read."""
    narrow = narrow_socket(port)
    narrow.sendall(HANDSHAKE + frame(0x1, encode(Hello(token, 1)).encode()))
    return narrow


def frame(opcode: int, body: bytes) -> bytes:
    """A masked frame with a mask of zeros."""
    length = len(body)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
    elif length < 2**16:
        head = struct.pack(">BBH", 0x80 | opcode, 0xFE, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0xFF, length)
    return head + bytes(4) + body


# Clients that do not read.


@pytest.mark.slow
def test_a_client_that_stops_reading_does_not_hold_up_the_stop(start_backend: Start) -> None:
    backend = start_backend()
    frames = np.zeros((4096, 24, 3), np.float32)
    with connected(backend.port) as silent:
        for number in range(3):
            silent.sendall(frame(0x1, encode(Request(f"r{number}", "adjust", "x", frames)).encode()))
        with client(backend.url) as other:
            receive(other)
            assert_still_answers(other)
        began = time.monotonic()
        backend.stop()
        assert time.monotonic() - began < 5
        assert not backend.is_alive


@pytest.mark.slow
def test_answers_that_nobody_takes_are_not_waited_for_at_the_stop(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_session, "UNREAD_SECONDS", 0.3)
    backend = start_backend()
    frames = np.zeros((4096, 24, 3), np.float32)
    with connected(backend.port) as silent:
        for number in range(3):
            silent.sendall(frame(0x1, encode(Request(f"r{number}", "adjust", "x", frames)).encode()))
        wait_for(lambda: any(len(one._jobs) == 3 for one in backend.server._sessions))
        wait_for(lambda: all(job.finished for one in backend.server._sessions for job in one._jobs.values()))
        drained = asyncio.run_coroutine_threadsafe(backend.server.drain(), backend._loop)
        drained.result(server.DRAIN_SECONDS / 2)


@pytest.mark.slow
def test_a_stop_waits_for_a_client_that_takes_small_answers_slowly(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_session, "UNREAD_SECONDS", 0.5)
    backend = start_backend(max_waiting_per_client=16)
    send = door.GuardedConnection.send

    async def send_slowly(self: door.GuardedConnection, data: Any) -> None:
        await asyncio.sleep(0.1)
        await send(self, data)

    engine.gate.clear()
    with client(backend.url) as slow:
        receive(slow)
        for number in range(16):
            slow.send(encode(Request(f"r{number}", "adjust", "raise it", POSES)))
        wait_for(lambda: any(len(one._jobs) == 16 for one in backend.server._sessions))
        monkeypatch.setattr(door.GuardedConnection, "send", send_slowly)
        engine.gate.set()
        wait_for(lambda: all(job.finished for one in backend.server._sessions for job in one._jobs.values()))
        drained = asyncio.run_coroutine_threadsafe(backend.server.drain(), backend._loop)
        drained.result(server.DRAIN_SECONDS / 2)
        assert not any(one._jobs for one in backend.server._sessions)


def test_a_client_that_pings_and_does_not_read_is_cut_off(start_backend: Start) -> None:
    backend = start_backend()
    pings = b"".join(frame(0x9, bytes(125)) for _ in range(500))
    with connected(backend.port) as silent:
        silent.settimeout(20)
        cut = False
        with contextlib.suppress(TimeoutError):
            for _ in range(2000):  # 130 MB
                try:
                    silent.sendall(pings)
                except (ConnectionResetError, BrokenPipeError):
                    cut = True
                    break
    assert cut


# Before the token.


@pytest.mark.slow
def test_before_its_token_a_client_can_park_sixteen_kilobytes(start_backend: Start) -> None:
    backend = start_backend(token="sesame")
    with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as stranger:
        stranger.sendall(HANDSHAKE)
        body = frame(0x1, b"x" * 20_000_000)
        stranger.settimeout(5)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < len(body):
                sent += stranger.send(body[sent : sent + 65536])
        assert sent < 16 * 2**20  # what the system's own buffers took
    with client(backend.url, "sesame") as other:
        receive(other)
        assert_still_answers(other)


def test_a_request_sent_with_the_hello_is_answered_though_it_is_larger_than_a_greeting(
    start_backend: Start,
) -> None:
    frames = np.zeros((300, 24, 3), np.float32)
    with client(start_backend().url) as websocket:
        websocket.send(encode(Request("r", "adjust", "raise it", frames)))  # before the welcome is read
        assert isinstance(receive(websocket), Welcome)
        result = outcome(websocket)
    assert isinstance(result, Result)
    assert len(result.poses) == 300


def test_a_request_sent_with_handshake_and_hello_in_one_go_is_answered(
    start_backend: Start, engine: Any
) -> None:
    backend = start_backend()
    with narrow_socket(backend.port) as hurried:
        large = encode(Request("r", "adjust", "raise it", np.zeros((300, 24, 3), np.float32)))
        hurried.sendall(HANDSHAKE + frame(0x1, encode(Hello("", 1)).encode()) + frame(0x1, large.encode()))
        wait_for(lambda: sum(map(len, engine.batches)) == 300)


@pytest.mark.slow
def test_headers_without_end_get_no_further(start_backend: Start) -> None:
    backend = start_backend()
    with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n")
        stranger.settimeout(5)
        sent = 0
        with contextlib.suppress(OSError):
            for number in range(100_000):
                sent += stranger.send(b"X-%d: %s\r\n" % (number, b"y" * 7000))
        assert sent < 16 * 2**20
    with client(backend.url) as other:
        receive(other)


@contextlib.contextmanager
def strangers(port: int, count: int) -> Any:
    """Connections that say nothing."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            for _ in range(count)
        ]


def test_connections_are_counted_in_all_and_from_one_address(start_backend: Start) -> None:
    for options, words in (
        ({"max_connections": 3}, "3 connections, which is all"),
        ({"max_connections_per_address": 3}, "3 connections from 127.0.0.1 already"),
    ):
        backend = start_backend(**options)
        with client(backend.url) as one, client(backend.url) as two, client(backend.url) as three:
            for websocket in (one, two, three):
                receive(websocket)
            with pytest.raises(InvalidStatus) as caught, client(backend.url):
                pass
            assert caught.value.response.status_code == 503
            assert words in caught.value.response.body.decode()
        wait_for(lambda backend=backend: not backend.server._door.connections)
        with client(backend.url) as again:
            assert isinstance(receive(again), Welcome)


def test_far_too_many_connections_are_not_even_spoken_to(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MAX_STRANGERS", 4)
    backend = start_backend(max_connections=2)
    with strangers(backend.port, 6):
        wait_for(lambda: len(backend.server._door.connections) == 6)
        with (
            pytest.raises((InvalidMessage, ConnectionError, EOFError, ConnectionClosed)),
            client(backend.url),
        ):
            pass
    wait_for(lambda: not backend.server._door.connections)
    with client(backend.url) as again:
        assert isinstance(receive(again), Welcome)


def test_wrong_tokens_are_slowed_down_and_logged_once(
    start_backend: Start, caplog: pytest.LogCaptureFixture
) -> None:
    backend = start_backend(token="sesame")

    def guess(number: int) -> bool:
        """Whether this guess was heard at all."""
        try:
            with client(backend.url, f"guess-{number}"):
                return True  # gone before the answer
        except (InvalidStatus, ConnectionError, EOFError):
            return False

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        heard = sum(pool.map(guess, range(200)))
    seconds = time.monotonic() - began
    assert heard <= door.STRANGERS_PER_ADDRESS * (seconds / door.GUESS_SECONDS + 1)
    assert heard < 200
    assert sum("wrong token" in record.message for record in caplog.records) == 1
    assert "guess-" not in caplog.text
    wait_for(lambda: not backend.server._door._strangers)
    with client(backend.url, "sesame") as friend:
        assert isinstance(receive(friend), Welcome)


# Large things.


@pytest.mark.slow
def test_a_large_text_of_v1_holds_nobody_up(start_backend: Start) -> None:
    backend = start_backend()
    empty_lists = '{"type": "request", "id": "large", "task": "adjust", "x": [' + "[]," * 6_000_000 + "0]}"
    numbers = (
        '{"type": "request", "id": "large", "task": "adjust", "x": [' + ("9" * 4000 + ",") * 5000 + "0]}"
    )
    with client(backend.url) as attacker, client(backend.url) as other:
        receive(attacker), receive(other)
        for text in (empty_lists, numbers):
            attacker.send(text)
            slowest = 0.0
            for _ in range(20):
                began = time.monotonic()
                assert_still_answers(other)
                slowest = max(slowest, time.monotonic() - began)
            error = outcome(attacker)
            assert isinstance(error, ErrorMessage)
            assert slowest < 2
        assert_still_answers(attacker)


def test_a_large_request_of_v1_is_answered_all_the_same(start_backend: Start, engine: Any) -> None:
    frames = np.random.default_rng(0).normal(size=(1000, 24, 3)).astype(np.float32)
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("large", "adjust", "raise it", frames, image_png=png(300, 200))))
        result = outcome(websocket)
        websocket.send(encode(Request("bad", "adjust", "raise it", frames * np.float32("nan"))))
        error = outcome(websocket)
    assert isinstance(result, Result)
    np.testing.assert_allclose(np.stack(result.poses), frames + 0.1, atol=1e-6)
    assert engine.batches[0][0].image.size == (300, 200)
    assert isinstance(error, ErrorMessage)
    assert (error.id, error.code) == ("bad", "bad_pose")


@pytest.mark.slow
def test_pictures_are_decoded_elsewhere_and_made_small_at_once(start_backend: Start, engine: Any) -> None:
    backend = start_backend()
    with client(backend.url) as artist, client(backend.url) as other:
        receive(artist), receive(other)
        for number in range(4):
            artist.send(encode(Request(f"r{number}", "estimate", image_png=png(4096, 3072))))
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            assert_still_answers(other)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
        results = [outcome(artist) for _ in range(4)]
    assert all(isinstance(result, Result) for result in results)
    assert slowest < 1
    sizes = {query.image.size for batch in engine.batches for query in batch if query.image is not None}
    assert sizes == {(1024, 768)}


def test_a_picture_that_waits_is_kept_decoded_and_not_as_it_came(start_backend: Start, engine: Any) -> None:
    backend = start_backend()
    with held_up(backend, engine, Request("first", "adjust", "raise it", POSES)) as websocket:
        maps = Painting("of another task", {"depth": png()})
        websocket.send(encode(Request("second", "estimate", image_png=png(40, 30), painting=maps)))
        wait_for(lambda: len(backend.server._scheduler._jobs) == 2)
        waiting = list(backend.server._scheduler._jobs)[1]
        assert waiting.image.size == (40, 30)
        assert (waiting.request.image_png, waiting.request.painting) == (None, None)
        engine.gate.set()
        assert all(isinstance(outcome(websocket), Result) for _ in range(2))


@pytest.mark.slow
def test_pictures_that_wait_do_not_hold_up_the_stop(start_backend: Start) -> None:
    backend = start_backend()
    large = encode(Request("r", "estimate", image_png=png(4096, 4096)))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(backend.url)) for _ in range(20)]
        for websocket in clients:
            receive(websocket)
            websocket.send(large)
        wait_for(lambda: backend.server._context.sandbox._waiting)
        began = time.monotonic()
        backend.stop()
        assert time.monotonic() - began < 5
    assert not backend.is_alive


def test_a_process_that_dies_of_a_picture_is_replaced(start_backend: Start) -> None:
    backend = start_backend()
    with client(backend.url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("a", "estimate", image_png=png())))
        assert isinstance(outcome(websocket), Result)
        process = backend.server._context.sandbox._process
        process.kill()
        websocket.send(encode(Request("b", "estimate", image_png=png())))
        first = outcome(websocket)
        websocket.send(encode(Request("c", "estimate", image_png=png())))
        assert isinstance(outcome(websocket), Result)
    assert first.id == "b"


def halves(number: int) -> tuple[bytes, bytes]:
    """A request of a megabyte and a half in two pieces, the first of them large by itself."""
    frames = np.full((4000, 24, 3), number, np.float32)
    whole = frame(0x1, encode(Request(f"r{number}", "adjust", "raise it", frames)).encode())
    return whole[: len(whole) * 3 // 4], whole[len(whole) * 3 // 4 :]


def greeted(backend: Any) -> door.GuardedConnection:
    """The only connection there is, once it has been let in."""
    wait_for(lambda: any(each._let_in for each in backend.server._door.connections))
    (connection,) = backend.server._door.connections
    return connection


def test_what_comes_with_the_end_of_a_message_is_counted_to_the_next(start_backend: Start) -> None:
    backend = start_backend()
    with connected(backend.port):
        connection = greeted(backend)
        end, large = frame(0x1, encode(Cancel("none")).encode()), halves(1)[0]
        backend._loop.call_soon_threadsafe(connection.data_received, end + large)
        wait_for(lambda: backend.server._door._large == {connection})


def test_what_is_no_message_never_makes_a_large_one(start_backend: Start) -> None:
    backend = start_backend()
    ping = frame(0x9, bytes(125))
    with connected(backend.port) as pinging:
        connection = greeted(backend)
        pinging.settimeout(20)
        for _ in range(20):
            pinging.sendall(ping * 500)
            taken = 0
            while taken < 500 * 127:  # the pongs, and before them the welcome
                taken += len(pinging.recv(2**16))
        wait_for(lambda: connection.received > 20 * 500 * len(ping))
        assert not backend.server._door._large


@pytest.mark.slow
def test_large_messages_are_taken_one_after_the_other(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LARGE_AT_A_TIME", 1)
    backend = start_backend()
    with connected(backend.port) as one, connected(backend.port) as two, connected(backend.port) as gone:
        (first, rest), (second, more) = halves(1), halves(2)
        one.sendall(first)
        wait_for(lambda: len(backend.server._door._large) == 1)
        sender = threading.Thread(target=lambda: two.sendall(second + more))
        sender.start()
        gone.sendall(second)
        wait_for(lambda: len(backend.server._door._queue) == 2)
        gone.close()
        assert engine.batches == []
        one.sendall(rest)
        sender.join(20)
        wait_for(lambda: sum(map(len, engine.batches)) == 8000, 60)
    wait_for(lambda: not backend.server._door._large and not backend.server._door._queue)


def test_a_large_message_that_takes_too_long_is_cut_off(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LARGE_SECONDS", 0.3)
    backend = start_backend()
    with connected(backend.port) as slow:
        with contextlib.suppress(ConnectionError):  # it may be cut off while it still sends
            slow.sendall(halves(1)[0])
        wait_for(lambda: not backend.server._door.connections)
    with client(backend.url) as other:
        receive(other)
        assert_still_answers(other)


def test_a_large_message_right_after_another_has_no_longer_than_that_one(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "LARGE_SECONDS", 0.5)
    backend = start_backend()
    with connected(backend.port):
        connection = greeted(backend)
        (first, rest), (second, _) = halves(1), halves(2)

        def arrive() -> None:
            for data in (first, rest, second):
                connection.data_received(data)

        backend._loop.call_soon_threadsafe(arrive)
        wait_for(lambda: not backend.server._door.connections, 20)


# Filling the queue.


def test_a_client_that_fills_the_queue_fills_it_for_itself(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    backend = start_backend(max_waiting=8)
    with client(backend.url) as greedy, client(backend.url) as other:
        receive(greedy), receive(other)
        for number in range(20):
            greedy.send(encode(Request(f"r{number}", "adjust", "raise it", POSES)))
        refused = [outcome(greedy) for _ in range(12)]
        other.send(encode(Request("mine", "adjust", "lower it", POSES[:1])))
        assert receive(other).id == "mine"  # its progress: it is in line
        engine.gate.set()
        result = outcome(other)
    assert all(isinstance(error, ErrorMessage) and error.code == "busy" for error in refused)
    assert isinstance(result, Result)


@pytest.mark.slow
def test_answers_that_are_not_taken_away_count_against_their_client(start_backend: Start) -> None:
    backend = start_backend()
    frames = np.zeros((4096, 24, 3), np.float32)
    with connected(backend.port) as silent:

        def send() -> None:  # in a thread of its own: a server that is not read from stops reading too
            with contextlib.suppress(OSError):
                for number in range(12):
                    request = Request(f"r{number}", "adjust", "x", frames, variants=8)
                    silent.sendall(frame(0x1, encode(request).encode()))

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        wait_for(lambda: backend.server._scheduler._cost >= 4096 * 8, 60)
        time.sleep(1)
        assert backend.server._scheduler._cost <= 2 * 4096 * 8
        silent.shutdown(socket.SHUT_RDWR)
        sending.join(20)


def test_poses_of_all_requests_together_are_bounded(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "MAX_COST", 150)
    monkeypatch.setattr(scheduler, "CLIENT_COST", 140)
    engine.gate.clear()
    backend = start_backend()
    frames = np.zeros((100, 24, 3), np.float32)
    with client(backend.url) as one, client(backend.url) as two:
        receive(one), receive(two)
        one.send(encode(Request("first", "adjust", "raise it", frames)))
        assert engine.entered.wait(20)
        one.send(encode(Request("second", "adjust", "raise it", frames)))
        mine = outcome(one)
        two.send(encode(Request("third", "adjust", "raise it", frames)))
        theirs = outcome(two)
        two.send(encode(Request("small", "adjust", "raise it", frames[:1])))
        engine.gate.set()
        assert isinstance(outcome(two), Result)
    for error, words in ((mine, "poses of yours"), (theirs, "with 100 poses")):
        assert isinstance(error, ErrorMessage)
        assert error.code == "busy"
        assert words in error.message


# The engine.


class Troubled:
    """An engine that does as the instruction says."""

    name = "troubled"
    tasks: tuple[str, ...] = ("adjust",)

    def __init__(self) -> None:
        self.free = threading.Event()

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        return [self._one(query) for query in queries]

    def _one(self, query: Query) -> Answer:
        pose = np.zeros((24, 3), np.float32)
        match query.instruction:
            case "exit":
                raise SystemExit(3)
            case "hang":
                self.free.wait(30)
            case "shape":
                return Answer(pose[:5], "short")
            case "surrogate":
                return Answer(pose, "\ud800")
            case "number":
                return Answer(pose, 5)  # type: ignore[arg-type]
            case "epic":
                return Answer(pose, "x" * 100_000)
            case "variants":
                return Answer(pose, "many", np.full((2, 24, 3), np.inf, np.float32))
        return Answer(pose, f"did {query.instruction}")


@pytest.fixture
def troubled(start_backend: Start, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start a backend on an engine in trouble."""
    engines: list[Troubled] = []

    def new_engine() -> Troubled:
        engines.append(Troubled())
        return engines[-1]

    def start(**options: Any) -> Any:
        return start_backend(engine=new_engine(), reload=new_engine, **options)

    yield start, engines
    for engine in engines:
        engine.free.set()


def ask(websocket: ClientConnection, instruction: str) -> Result | ErrorMessage:
    websocket.send(encode(Request(instruction, "adjust", instruction, POSES[:1])))
    return outcome(websocket)


def test_an_engine_that_ends_its_thread_is_replaced_and_its_requests_told(troubled: Any) -> None:
    start, engines = troubled
    with client(start().url) as websocket:
        receive(websocket)
        for _ in range(3):
            error = ask(websocket, "exit")
            assert isinstance(error, ErrorMessage)
            assert (error.id, error.code) == ("exit", "engine_failed")
            assert isinstance(ask(websocket, "raise it"), Result)
    assert len(engines) == 4


def test_an_engine_that_does_not_come_back_is_replaced(troubled: Any) -> None:
    start, engines = troubled
    with client(start(engine_seconds=0.5).url) as websocket:
        receive(websocket)
        error = ask(websocket, "hang")
        assert isinstance(error, ErrorMessage)
        assert error.code == "engine_failed"
        assert "did not come back" in error.message
        assert isinstance(ask(websocket, "raise it"), Result)
        engines[0].free.set()  # what it answers after all goes to nobody
        assert isinstance(ask(websocket, "lower it"), Result)


def test_a_request_that_takes_too_long_is_told_so(troubled: Any) -> None:
    start, engines = troubled
    with client(start(deadline_seconds=0.3).url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("hang", "adjust", "hang", POSES[:1])))
        websocket.send(encode(Request("behind", "adjust", "raise it", POSES[:1])))
        late = [outcome(websocket), outcome(websocket)]
        engines[0].free.set()
        assert isinstance(ask(websocket, "raise it"), Result)
    assert {error.id: error.code for error in late if isinstance(error, ErrorMessage)} == {
        "hang": "timeout",
        "behind": "timeout",
    }


def test_an_engine_that_cannot_be_loaded_again_is_tried_again(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RELOAD_SECONDS", 0.1)
    tries: list[int] = []

    def load() -> Troubled:
        tries.append(len(tries))
        if len(tries) < 3:
            raise MemoryError("no room for the model")
        return Troubled()

    with client(start_backend(engine=Troubled(), reload=load).url) as websocket:
        receive(websocket)
        assert isinstance(ask(websocket, "exit"), ErrorMessage)
        assert isinstance(ask(websocket, "raise it"), Result)
    assert len(tries) == 3


def test_an_engine_that_fails_on_its_first_answer_is_not_ready(
    start_backend: Start, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        name, tasks = "failing", ("generate",)

        def answer(self, queries: Any, on_words: Any = None) -> list[Answer]:
            return []

    backend = start_backend(engine=Failing(), warm_up=True)
    wait_for(lambda: "the engine failed on its first answer" in caplog.text)
    assert get(backend, "/healthz")[0] == 503
    engine.tasks = ("describe",)  # nothing to be warmed up with
    with client(start_backend(warm_up=True).url) as websocket:
        assert isinstance(receive(websocket), Welcome)


@pytest.mark.slow
def test_a_client_that_says_no_hello_or_reads_nothing_is_given_up(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_session, "HELLO_SECONDS", 0.2)
    monkeypatch.setattr(client_session, "SEND_SECONDS", 0.5)
    backend = start_backend()
    with connect(backend.url, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None) as silent:
        error = receive(silent)
    assert isinstance(error, ErrorMessage)
    assert "No hello came" in error.message
    frames = np.zeros((4096, 24, 3), np.float32)
    with connected(backend.port) as unread:
        for number in range(8):
            unread.sendall(frame(0x1, encode(Request(f"r{number}", "adjust", "x", frames)).encode()))
        wait_for(lambda: not backend.server._door.connections, 120)


@pytest.mark.slow
def test_a_send_that_was_cut_off_is_not_followed_by_another(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_session, "SEND_SECONDS", 0.5)
    backend = start_backend()
    frames = np.zeros((4096, 24, 3), np.float32)
    with caplog.at_level(logging.WARNING), connected(backend.port) as unread:
        for number in range(4):  # the first is cut in the middle of its message, the others wait behind it
            unread.sendall(frame(0x1, encode(Request(f"r{number}", "adjust", "x", frames)).encode()))
        wait_for(lambda: not backend.server._sessions, 120)
    said = [record.getMessage() for record in caplog.records]
    assert any("read nothing for 0.5 s; cut off" in line for line in said)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR], said


def test_an_answer_of_two_frames_leaves_without_waiting_for_the_client_to_acknowledge_the_first(
    start_backend: Start,
) -> None:
    backend = start_backend()
    with client(backend.url) as websocket:
        receive(websocket)
        (connection,) = backend.server._door.connections
        socket_there = connection.transport.get_extra_info("socket")
        assert socket_there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_request_that_runs_on_is_given_up_when_the_backend_stops(
    start_backend: Start, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.3)
    backend = start_backend()
    with held_up(backend, engine, Request("r", "adjust", "raise it", POSES)) as websocket:
        backend.drain()
        backend.stop()
        error = outcome(websocket)
    assert isinstance(error, ErrorMessage)
    assert error.code == "shutting_down"


@pytest.mark.parametrize("instruction", ["shape", "surrogate", "number", "epic", "variants"])
def test_an_answer_that_cannot_be_sent_is_an_error(instruction: str, troubled: Any) -> None:
    start, _ = troubled
    with client(start().url) as websocket:
        receive(websocket)
        error = ask(websocket, instruction)
        assert isinstance(error, ErrorMessage)
        assert (error.id, error.code) == (instruction, "engine_failed")
        assert isinstance(ask(websocket, "raise it"), Result)


def test_an_answer_that_fails_on_its_way_out_is_an_error(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.server.jobs import Job

    def broken(job: Job) -> Result:
        raise MemoryError("no room for the answer")

    with client(start_backend().url) as websocket:
        receive(websocket)
        with monkeypatch.context() as patch:
            patch.setattr(Job, "result", broken)
            error = ask(websocket, "raise it")
        assert isinstance(error, ErrorMessage)
        assert "no room for the answer" in error.message
        assert_still_answers(websocket)


# Pictures, in the ways that 2026's advisories name.


@pytest.mark.parametrize("size", [(1, 1), (1, 4096), (4096, 1)])
def test_pictures_of_one_pixel_are_pictures(size: tuple[int, int], start_backend: Start, engine: Any) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("r", "estimate", image_png=png(*size))))
        assert isinstance(outcome(websocket), Result)
    assert min(engine.batches[0][0].image.size) == 1


@pytest.mark.parametrize(
    "text", ["<pose> <pose> <image>" * 50, "</s><s>[INST]", "<POSE>" * 300, "\x00\x1b[2J"]
)
def test_words_that_mean_something_to_a_model_are_words(text: str, start_backend: Start, engine: Any) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(encode(Request("r", "adjust", text, POSES[:1])))
        assert isinstance(outcome(websocket), Result)
    assert engine.batches[0][0].instruction == text


@pytest.mark.parametrize(
    "change", [{"variants": 10**9}, {"variants": -1}, {"variants": 1e9}, {"variants": True}]
)
def test_no_number_of_variants_is_without_bound(
    change: dict[str, Any], start_backend: Start, engine: Any
) -> None:
    record = {**json.loads(encode(Request("r", "adjust", "raise it", POSES[:1]))), **change}
    with client(start_backend().url) as websocket:
        receive(websocket)
        websocket.send(json.dumps(record))
        assert isinstance(outcome(websocket), ErrorMessage)
    assert engine.batches == []


def test_what_pillow_says_of_its_memory_is_not_passed_on(start_backend: Start) -> None:
    with client(start_backend().url) as websocket:
        receive(websocket)
        for cut in (40, 60, 100):
            websocket.send(encode(Request("r", "estimate", image_png=png(64, 64)[:-cut])))
            error = outcome(websocket)
            assert isinstance(error, ErrorMessage)
            assert "0x" not in error.message
            assert "BytesIO" not in error.message


# Pages and logs.


def get(backend: Any, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_it_is_healthy_once_an_answer_has_been_computed(start_backend: Start, engine: Any) -> None:
    engine.gate.clear()
    backend = start_backend(warm_up=True)
    assert get(backend, "/healthz") == (503, "The engine has not answered yet.\n")
    engine.gate.set()
    wait_for(lambda: get(backend, "/healthz")[0] == 200)
    assert get(backend, "/healthz") == (200, "ready\n")
    backend.drain()
    wait_for(lambda: get(backend, "/healthz") == (503, "The backend is shutting down.\n"))


def test_it_is_not_healthy_while_its_engine_is_loaded_anew(start_backend: Start) -> None:
    loaded = threading.Event()

    def load() -> Troubled:
        assert loaded.wait(20)
        return Troubled()

    backend = start_backend(engine=Troubled(), reload=load)
    with client(backend.url) as websocket:
        receive(websocket)
        assert isinstance(ask(websocket, "exit"), ErrorMessage)
        wait_for(lambda: "loaded anew" in get(backend, "/healthz")[1])
        loaded.set()
        assert isinstance(ask(websocket, "raise it"), Result)
        wait_for(lambda: get(backend, "/healthz")[0] == 200)


def test_metrics_are_counted_and_need_the_token(start_backend: Start) -> None:
    pytest.importorskip("prometheus_client")
    backend = start_backend(token="sesame")
    with client(backend.url, "sesame") as websocket:
        receive(websocket)
        assert_still_answers(websocket)
        websocket.send("garbage")
        assert isinstance(receive(websocket), ErrorMessage)
        assert get(backend, "/metrics")[0] == 401
        assert get(backend, "/metrics", Authorization="Bearer guess")[0] == 401
        status, page = get(backend, "/metrics", Authorization="Bearer sesame")
    assert status == 200
    for line in (
        "posellava_connections 1.0",
        "posellava_requests_waiting 0.0",
        "posellava_batch_queries_count 1.0",
        'posellava_request_seconds_count{task="adjust"} 1.0',
        'posellava_refusals_total{reason="bad_message"} 1.0',
        "posellava_engine_restarts_total 0.0",
    ):
        assert line in page
    assert "raise" not in page
    assert "sesame" not in page


def test_without_prometheuss_library_metrics_say_so(
    start_backend: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.server import metrics

    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    status, page = get(start_backend(), "/metrics")
    assert status == 501
    assert "posellava[metrics]" in page


def test_other_pages_are_not_there(start_backend: Start) -> None:
    assert get(start_backend(), "/healthz", Host="evil.example")[0] == 403
    assert get(start_backend(), "/")[0] == 426


@pytest.mark.parametrize("asked", [False, True])
def test_a_connection_is_a_line_without_words_or_token(
    asked: bool, start_backend: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    backend = start_backend(token="sesame", log_requests=asked)
    with client(backend.url, "sesame") as websocket:
        receive(websocket)
        assert_still_answers(websocket)
    wait_for(lambda: any(record.name == "posellava.access" for record in caplog.records))
    (line,) = [record for record in caplog.records if record.name == "posellava.access"]
    assert (line.peer, line.requests, line.answered, line.greeted) == ("127.0.0.1", 1, 1, True)
    everything = " ".join(str(vars(record)) for record in caplog.records)
    assert ("raise it" in everything) is asked
    assert "sesame" not in everything


# Addresses.


def test_both_loopback_addresses_are_listened_on(start_backend: Start) -> None:
    backend = start_backend()
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with client(f"ws://[::1]:{backend.port}") as websocket:
        assert isinstance(receive(websocket), Welcome)


def test_a_name_that_a_proxy_goes_by_is_let_in_and_its_clients_are_told_apart(start_backend: Start) -> None:
    backend = start_backend(outer_hosts=("poses.example",), max_connections_per_address=1)

    def behind_proxy(address: str, host: str = "poses.example") -> Any:
        headers = {"Host": host, "X-Forwarded-For": f"6.6.6.6, {address}"}
        return client(backend.url, additional_headers=headers)

    with behind_proxy("10.0.0.1") as one, behind_proxy("10.0.0.2") as two:
        assert isinstance(receive(one), Welcome)
        assert isinstance(receive(two), Welcome)
        with pytest.raises(InvalidStatus) as caught, behind_proxy("10.0.0.1"):
            pass
        assert caught.value.response.status_code == 503
        with pytest.raises(InvalidStatus) as caught, behind_proxy("10.0.0.3", "evil.example"):
            pass
        assert caught.value.response.status_code == 403
        assert "--outer-host" in caught.value.response.body.decode()
        # What names no address counts to the proxy's own.
        with behind_proxy("unknown") as first:
            assert isinstance(receive(first), Welcome)
            with pytest.raises(InvalidStatus) as caught, behind_proxy("hidden"):
                pass
            assert "127.0.0.1 already" in caught.value.response.body.decode()
