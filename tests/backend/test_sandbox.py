# SPDX-License-Identifier: Apache-2.0
"""The process that reads what is large: its turns, its deadline, what it says and what it is believed."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend import pipes
from backend.pipes import environment, receive, send
from backend.server import sandbox
from backend.server.sandbox import Sandbox
from blender_addon.contract.codec import decode, encode
from blender_addon.contract.messages import (
    ErrorMessage,
    Limits,
    ProtocolError,
    Request,
    new_request_id,
    no_poses,
)
from blender_addon.session import Address, Connection

from .talking import POSES, png

PLAIN_PYTHON: str = getattr(sys, "_base_executable", sys.executable)
"""Not this environment's, where the add-on's name leads to it whatever the path."""

TEXT = encode(Request("r", "adjust", "raise it", POSES))


def run(work: Any, **options: Any) -> Any:
    async def inside() -> Any:
        box = Sandbox(**options)
        try:
            async with asyncio.timeout(60):
                return await work(box)
        finally:
            await box.close()

    return asyncio.run(inside())


def test_texts_and_pictures_are_read_and_errors_come_back() -> None:
    async def work(box: Sandbox) -> None:
        message = await box.message("a", TEXT, Limits())
        assert isinstance(message, Request)
        assert (await box.picture("a", png(30, 20), Limits())).size == (30, 20)
        with pytest.raises(ProtocolError) as caught:
            await box.message("a", TEXT.replace("adjust", "x" * 99), Limits())
        assert (caught.value.code, caught.value.request_id) == ("bad_text", "r")
        with pytest.raises(ProtocolError) as caught:
            await box.picture("a", png(30, 20)[:-40], Limits(), "mine")
        assert (caught.value.code, caught.value.request_id) == ("bad_image", "mine")
        with pytest.raises(ProtocolError, match="JSON"):
            await box.message("a", "\ud800", Limits())

    run(work)


ENDLESS = """
import struct, sys
sys.stdout.buffer.write(b"P" + struct.pack("<II", 1, 2**31))
while True:
    sys.stdout.buffer.write(bytes(2**16))
    sum(range(5000))
"""


def test_a_process_that_is_ended_in_the_middle_of_its_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipes, "_BEGIN", ENDLESS)

    async def work(box: Sandbox) -> None:
        for _ in range(3):
            with pytest.raises(ProtocolError, match="longer than"):
                await asyncio.wait_for(box.picture("a", png(), Limits()), 15)

    run(work, seconds=0.3)


MANY_PARTS = """
import struct, sys
sys.stdin.buffer.read(1)
sys.stdout.buffer.write(b"P" + struct.pack("<I", 9) + bytes(4 * 9))
sys.stdout.buffer.flush()
sys.stdin.buffer.read()
"""


def test_a_process_that_answers_without_end_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_BEGIN", MANY_PARTS)

    async def work(box: Sandbox) -> None:
        with pytest.raises(ProtocolError, match="or failed"):
            await box.picture("a", png(), Limits())
        assert box._process is None, "what it has yet to say would be taken for the next answer"

    run(work)


@pytest.mark.slow
def test_what_takes_too_long_is_given_up_and_the_next_is_read() -> None:
    async def work(box: Sandbox) -> None:
        with pytest.raises(ProtocolError, match="longer than"):
            await box.picture("a", png(4000, 4000), Limits())
        box._seconds = 60.0
        assert (await box.picture("b", png(), Limits())).size == (8, 8)

    run(work, seconds=0.001)


@pytest.mark.slow
def test_who_has_had_the_least_comes_first_and_who_leaves_is_skipped() -> None:
    order: list[str] = []

    async def work(box: Sandbox) -> None:
        async def read(owner: str) -> None:
            await box.picture(owner, png(400, 400), Limits())
            order.append(owner)

        greedy = [asyncio.create_task(read("greedy")) for _ in range(6)]
        await asyncio.sleep(0)
        leaver, modest = asyncio.create_task(read("leaver")), asyncio.create_task(read("modest"))
        await asyncio.sleep(0)
        leaver.cancel()
        await asyncio.gather(modest, *greedy)
        greedy_again = asyncio.create_task(read("greedy"))
        await asyncio.sleep(0.001)
        greedy_again.cancel()  # in the middle of its work
        await asyncio.wait([greedy_again])
        await read("last")

    run(work)
    assert order.index("modest") <= 2
    assert order.count("greedy") == 6
    assert order[-1] == "last"


@pytest.mark.parametrize(
    "reply",
    [
        [struct.pack("<II", 9, 9), b"short"],
        [struct.pack("<II", 5000, 1), bytes(15000)],
        [b"no size", bytes(3)],
        [struct.pack("<II", 1, 1)],
        [],
    ],
)
def test_a_picture_that_is_not_what_it_says_is_not_believed(reply: list[bytes]) -> None:
    async def work(box: Sandbox) -> None:
        async def forged(*_: Any) -> list[bytes]:
            return reply

        box._work = forged  # type: ignore[method-assign]
        with pytest.raises(ProtocolError, match="could not be decoded"):
            await box.picture("a", png(), Limits())

    run(work)


def test_a_message_that_does_not_come_whole_is_not_believed() -> None:
    async def work(box: Sandbox) -> None:
        async def forged(*_: Any) -> list[bytes]:
            return []

        box._work = forged  # type: ignore[method-assign]
        with pytest.raises(ProtocolError, match="could not be read"):
            await box.message("a", TEXT, Limits())

    run(work)


def inside(
    *work: tuple[bytes, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[bytes, list[bytes]]]:
    """What the process itself says to these pieces of work."""
    source, target = io.BytesIO(), io.BytesIO()
    for kind, head, body in work:
        send(source, kind, (head, body))
    source.seek(0)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=source))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=target))
    monkeypatch.setattr(sandbox, "_restrict", lambda: None)
    sandbox.main()
    target.seek(0)
    said = []
    while (answer := receive(target)) is not None:
        said.append(answer)
    return said


def test_inside_every_piece_of_work_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    text, picture, bad = inside(
        (b"T", b"{}", TEXT.encode()), (b"P", b"", png(5, 4)), (b"P", b"", b"nothing"), monkeypatch=monkeypatch
    )
    assert text[0] == b"T"
    assert text[1][1] == POSES.astype("<f4").tobytes()
    assert picture == (b"P", [struct.pack("<II", 5, 4), picture[1][1]])
    assert len(picture[1][1]) == 60
    assert bad[0] == b"E"
    assert isinstance(decode(bad[1][0].decode()), ErrorMessage)


def test_inside_a_lack_of_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(sandbox, "decode_image", full)
    ((outcome, (error,)),) = inside((b"P", b"", png()), monkeypatch=monkeypatch)
    assert outcome == b"E"
    assert "too much memory" in error.decode()


def test_the_process_has_little_memory_and_low_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    asked: list[Any] = []
    monkeypatch.setattr(pipes.signal, "signal", lambda *given: asked.append(given))
    monkeypatch.setattr(pipes.os, "nice", lambda by: asked.append(by))
    monkeypatch.setattr(resource, "setrlimit", lambda *given: asked.append(given))
    sandbox._restrict()
    assert 5 in asked
    assert (resource.RLIMIT_AS, (sandbox.MEMORY_BYTES, sandbox.MEMORY_BYTES)) in asked


def test_the_process_does_not_know_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSELLAVA_TOKEN", "secret")
    own = environment(OMP_NUM_THREADS="1")
    assert "secret" not in own.values()
    assert own["OMP_NUM_THREADS"] == "1"


@pytest.mark.slow
def test_pictures_are_read_where_the_add_on_has_another_name_as_in_an_extension(tmp_path: Path) -> None:
    """The local backend's process: the contract lies in a folder that is not called blender_addon, and the user's
    settings of Python, which may be those of another program, reach neither it nor the process that reads pictures."""
    root = Path(__file__).parents[2]
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "backend").symlink_to(root / "backend")
    (tmp_path / "extension").symlink_to(root / "blender_addon")
    launch = tmp_path / "extension" / "local" / "launch.py"
    paths = [str(path) for path in sys.path if "site-packages" in path]
    process = subprocess.Popen(
        [PLAIN_PYTHON, "-I", "-S", launch, tmp_path / "extension", tmp_path / "server", *paths],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHOME": str(tmp_path)},
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("a-secret-of-sixteen\n")
        process.stdin.flush()
        address = Address.parse(process.stdout.readline().split()[1], token="a-secret-of-sixteen")
        with Connection(address) as connection:
            request = Request(new_request_id(), "estimate", "", no_poses(), image_png=png(64, 64))
            result = connection.ask(request)
        assert result.texts[0]
        process.stdin.close()
