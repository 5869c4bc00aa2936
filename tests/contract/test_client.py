# SPDX-License-Identifier: Apache-2.0
"""The client that session, batch and scripts share, against a backend that does as it is told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blender_addon.contract.address import Address
from blender_addon.contract.client import Client, OpeningError
from blender_addon.contract.messages import (
    Cancel,
    ErrorMessage,
    Hello,
    Limits,
    Progress,
    ProtocolError,
    Request,
    Result,
    new_request_id,
)
from blender_addon.contract.wire import SUBPROTOCOLS
from tests.fake_backend import (
    Close,
    Cut,
    FakeBackend,
    Hear,
    Pause,
    Say,
    SayRaw,
    answer,
    error,
    progress,
    result,
    welcome,
)

POSES = np.linspace(-1, 1, 3 * 72, dtype=np.float32).reshape(3, 24, 3)


def request(instruction: str = "raise it", **changes: Any) -> Request:
    return Request(new_request_id(), "adjust", instruction, POSES, **changes)


def talk(backend: FakeBackend, work: Callable[[Client], Any], token: str = "") -> Any:
    """Run a coroutine function with a client of the backend."""

    async def inside() -> Any:
        async with asyncio.timeout(20), await Client.open(Address(backend.url, token)) as client:
            return await work(client)

    return asyncio.run(inside())


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
def test_a_request_is_answered_with_progress_on_the_way(subprotocol: str) -> None:
    told: list[Progress] = []
    with FakeBackend(welcome(), answer(progress(1), progress(2)), subprotocols=[subprotocol]) as backend:
        given = talk(backend, lambda client: client.ask(request(), on_progress=told.append), "sesame")
    np.testing.assert_array_equal(np.stack(given.poses), POSES)
    assert [item.done for item in told] == [1, 2]
    assert isinstance(backend.heard[0], Hello)
    assert backend.heard[0].token == "sesame"


def test_progress_that_nobody_asked_for_is_no_trouble() -> None:
    with FakeBackend(welcome(), answer(progress(1))) as backend:
        assert talk(backend, lambda client: client.ask(request())).texts[0] == "done"


def test_many_are_asked_at_a_time_and_answered_in_any_order() -> None:
    first, second = request(), request()
    script = [Hear(), Hear(), Say(lambda last: result(second)), Say(lambda last: result(first))]
    with FakeBackend(welcome(), script) as backend:

        async def both(client: Client) -> list[Result]:
            return await asyncio.gather(client.ask(first), client.ask(second))

        assert [given.id for given in talk(backend, both)] == [first.id, second.id]


def test_an_error_is_raised_with_its_code_and_the_client_goes_on() -> None:
    with FakeBackend(welcome(), [Hear(), Say(error("busy", "Later."))], answer()) as backend:

        async def twice(client: Client) -> Result:
            with pytest.raises(ProtocolError, match="Later") as caught:
                await client.ask(request())
            assert caught.value.code == "busy"
            return await client.ask(request())

        assert talk(backend, twice).texts[0] == "done"


def test_what_cannot_be_asked_is_not_sent() -> None:
    limits = Limits(max_poses=2)
    with FakeBackend(welcome(limits), answer()) as backend:

        async def badly(client: Client) -> None:
            for bad, code in (
                (request(), "too_large"),
                (Request("x", "dance", "x"), "unknown_task"),
                (request("  "), "bad_text"),
            ):
                with pytest.raises(ProtocolError) as caught:
                    await client.ask(bad)
                assert caught.value.code == code
            await client.ask(Request("good", "adjust", "raise it", POSES[:1]))

        talk(backend, badly)
    assert [type(message) for message in backend.heard] == [Hello, Request]


def test_v1_counts_the_whole_message() -> None:
    limits = Limits(max_message_bytes=1000)
    with FakeBackend(welcome(limits), answer(), subprotocols=[SUBPROTOCOLS[-1]]) as backend:

        async def large(client: Client) -> None:
            with pytest.raises(ProtocolError, match="smaller image") as caught:
                await client.ask(request())
            assert caught.value.code == "too_large"

        talk(backend, large)


def test_an_id_is_used_once_at_a_time() -> None:
    with FakeBackend(welcome(), [Hear(), Pause(0.2), Say(result)]) as backend:

        async def twice(client: Client) -> None:
            same = request()
            first = asyncio.create_task(client.ask(same))
            await asyncio.sleep(0)
            with pytest.raises(ProtocolError, match="its own id"):
                await client.ask(same)
            await first

        talk(backend, twice)


def test_a_cancelled_question_is_cancelled_there_too() -> None:
    with FakeBackend(welcome(), [Hear(), Hear(), Say(result)], answer()) as backend:

        async def cancelled(client: Client) -> Result:
            first = asyncio.create_task(client.ask(request()))
            while len(backend.heard) < 2:
                await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
            return await client.ask(request("next"))  # and the late answer to the first is not taken for its

        assert talk(backend, cancelled).texts[0] == "done"
    assert [type(message) for message in backend.heard] == [Hello, Request, Cancel, Request]


@pytest.mark.parametrize(
    ("end", "words"), [(Cut(), "broke"), (Close(1001, "going away"), "going away"), (Close(), "closed")]
)
def test_a_conversation_that_ends_fails_what_waits_and_what_comes(end: Any, words: str) -> None:
    with FakeBackend(welcome(), [Hear(), end]) as backend:

        async def ended(client: Client) -> None:
            with pytest.raises(ProtocolError, match=words) as caught:
                await client.ask(request())
            assert caught.value.code == "connection_lost"
            assert words in await client.wait_closed()
            with pytest.raises(ProtocolError) as again:
                await client.ask(request())
            assert again.value.code == "connection_lost"

        talk(backend, ended)


def test_closing_fails_what_waits() -> None:
    with FakeBackend(welcome(), [Hear(), Pause()]) as backend:

        async def closed(client: Client) -> None:
            waiting = asyncio.create_task(client.ask(request()))
            while len(backend.heard) < 2:
                await asyncio.sleep(0.01)
            await client.close()
            with pytest.raises(ProtocolError) as caught:
                await waiting
            assert caught.value.code == "connection_lost"

        talk(backend, closed)


def test_what_is_unreadable_fails_its_request_or_nothing() -> None:
    nonsense = SayRaw('{"type": "result", "id": "mine", "count": -1}')
    with FakeBackend(welcome(), [SayRaw("garbage"), SayRaw(b"stray"), Hear(), nonsense], answer()) as backend:

        async def unreadable(client: Client) -> Result:
            with pytest.raises(ProtocolError) as caught:
                await client.ask(Request("mine", "adjust", "raise it", POSES))
            assert caught.value.code == "bad_message"
            return await client.ask(request())

        assert talk(backend, unreadable).texts[0] == "done"


@pytest.mark.parametrize(
    ("script", "words", "final"),
    [
        ([Hear(), Say(ErrorMessage("unauthorized", "The token is wrong."))], "token is wrong", True),
        ([Hear(), Say(ErrorMessage("busy", "Full."))], "Full", False),
        ([Hear(), Say(ErrorMessage("shutting_down", "Bye."))], "Bye", False),
        ([Hear(), Say(Cancel("x"))], "did not greet as expected", True),
        ([Hear(), SayRaw("garbage")], "greeting cannot be read", True),
        (welcome(version=7), "version 7", True),
        ([Hear(), Cut()], "broke", False),
        ([Cut()], "broke|No backend answers", False),
        ([Hear(), Close(1008, "not you")], "not you", False),
    ],
)  # fmt: skip
def test_a_greeting_that_fails_says_why_and_whether_to_try_again(
    script: Any, words: str, final: bool
) -> None:
    with FakeBackend(script) as backend:
        with pytest.raises(OpeningError, match=words) as caught:
            talk(backend, lambda client: client.wait_closed())
        assert caught.value.final is final


def test_a_backend_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blender_addon.contract.client.HANDSHAKE_SECONDS", 0.3)
    with FakeBackend(Hear(), Pause()) as backend, pytest.raises(OpeningError, match="in time"):
        talk(backend, lambda client: client.wait_closed())


def test_a_handshake_that_breaks_off_says_nothing_of_who_is_there_and_is_tried_again() -> None:
    async def opened(url: str) -> None:
        await Client.open(Address(url))

    def hang_up() -> None:
        caller, _ = listener.accept()
        with caller:
            caller.recv(1 << 16)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(OpeningError, match="broke before anything was said") as caught:
            asyncio.run(opened(f"ws://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()
    assert not caught.value.final


def test_another_websocket_server_is_named() -> None:
    with FakeBackend(Pause(), subprotocols=None) as backend:
        with pytest.raises(OpeningError, match="speaks neither") as caught:
            talk(backend, lambda client: client.wait_closed())
        assert caught.value.final


def test_nobody_at_the_address_is_named() -> None:
    async def nobody(url: str) -> None:
        await Client.open(Address(url))

    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"ws://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OpeningError, match="posellava serve") as caught:
        asyncio.run(nobody(url))
    assert not caught.value.final
    with pytest.raises(OpeningError, match="cannot be found"):
        asyncio.run(nobody("ws://nowhere.invalid:1"))
