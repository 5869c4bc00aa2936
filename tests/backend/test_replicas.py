# SPDX-License-Identifier: Apache-2.0
"""Two replicas of Ray Serve behind the server, one of which is killed while clients are answered: in this process, and
as ``posellava serve --ray`` of the command line."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.query import Query
from backend.replicas import APPLICATION, ReplicaOptions, Replicas, _Batch, _Replica
from blender_addon.contract.messages import Request, Result, new_request_id
from blender_addon.contract.skeleton import STANDING_POSE
from blender_addon.session import Address, Connection
from tests.waiting import wait_for

from .talking import Start

REPOSITORY = Path(__file__).parents[2]
WITHOUT_RAY = (
    "import sys; sys.modules['ray'] = None; from backend.cli import main; sys.exit(main(sys.argv[1:]))"
)
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


def load() -> Any:
    """An engine of its own in each replica; nothing of the tests has to be importable there."""
    import os

    from backend.query import Answer

    class Adding:
        name = "adding"
        tasks = ("adjust", "chat")

        def answer(self, queries: Any, on_words: Any = None) -> list[Answer]:
            time.sleep(0.02)
            if queries[0].task == "chat":
                return self.talk(queries, on_words)
            if any(query.instruction == "fail" for query in queries):
                raise RuntimeError("as asked")
            if any(query.instruction == "exit" for query in queries):
                raise SystemExit("as asked")
            return [Answer(query.pose_aa + 1, f"{query.instruction} {os.getpid()}") for query in queries]

        def talk(self, queries: Any, on_words: Any) -> list[Answer]:
            """As many words as the instruction says, or for as long as somebody listens."""
            words = ""
            for count in range(1, int(queries[0].instruction) + 1):
                time.sleep(0.02)
                words = f"{os.getpid()} has said {count}"
                if not all(on_words(place, words) for place in range(len(queries))):
                    break
            return [Answer(None, words)] * len(queries)

    return Adding()


@pytest.fixture(scope="module")
def replicas() -> Any:
    import cloudpickle  # as Ray has it

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["load"]))
    with Replicas(load, ReplicaOptions(least=2, most=2, cpus=0.1)) as running:
        yield running


def _replica_actors() -> list[Any]:
    import ray

    return [
        ray.get_actor(actor["name"], namespace=actor["namespace"])
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if "posellava" in actor["name"] and "_Replica" in actor["name"]
    ]


@needs_ray
@pytest.mark.full
@pytest.mark.slow
def test_a_replica_killed_in_mid_load_costs_no_request(replicas: Any, start_backend: Start) -> None:
    backend = start_backend(engine=replicas, lanes=2, batch_size=4)
    over = threading.Event()
    results: list[Result] = []
    errors: list[Exception] = []

    def edit(number: int) -> None:
        poses = np.full((1, 24, 3), number, np.float32)
        with Connection(Address.parse(backend.url)) as connection:
            while not over.is_set():
                try:
                    result = connection.ask(
                        Request(new_request_id(), "adjust", "raise it", poses), timeout=60
                    )
                except ValueError as error:
                    errors.append(error)
                    return
                np.testing.assert_array_equal(result.poses[0], poses[0] + 1)
                results.append(result)

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len({result.texts[0] for result in results}) == 2, 240)  # both replicas answer
    import ray

    victim, *others = _replica_actors()
    assert len(others) == 1
    ray.kill(victim)
    count = len(results)
    wait_for(lambda: len(results) > count + 200, 240)
    wait_for(lambda: len({result.texts[0] for result in results}) == 3, 240)  # and another took its place
    over.set()
    for thread in threads:
        thread.join(60)
    assert errors == []


@needs_ray
@pytest.mark.full
@pytest.mark.slow
def test_an_engine_that_fails_in_a_replica_fails_its_request_alone(
    replicas: Any, start_backend: Start
) -> None:
    backend = start_backend(engine=replicas, lanes=2)
    poses = np.zeros((1, 24, 3), np.float32)
    with Connection(Address.parse(backend.url)) as connection:
        with pytest.raises(ValueError, match="as asked"):
            connection.ask(Request(new_request_id(), "adjust", "fail", poses), timeout=60)
        assert connection.ask(Request(new_request_id(), "adjust", "raise it", poses), timeout=60)


@needs_ray
@pytest.mark.full
@pytest.mark.slow
def test_words_are_told_as_a_replica_says_them(replicas: Any, start_backend: Start) -> None:
    backend = start_backend(engine=replicas, lanes=2)
    with Connection(Address.parse(backend.url)) as connection:
        handle = connection.submit(Request(new_request_id(), "chat", "30"))
        told = []
        while not handle.done:
            if (progress := handle.progress) is not None and progress.words not in told:
                told.append(progress.words)
            time.sleep(0.005)
        result = handle.result
    assert result is not None, handle.error
    assert result.texts[0].endswith("has said 30")
    counts = [int(words.split()[-1]) for words in told if words]
    assert len(counts) > 5
    assert counts == sorted(counts)


@needs_ray
@pytest.mark.full
@pytest.mark.slow
def test_an_edit_comes_between_the_words_when_every_replica_talks_and_who_leaves_is_not_talked_to(
    replicas: Any, start_backend: Start
) -> None:
    backend = start_backend(engine=replicas, lanes=2)
    poses = np.zeros((1, 24, 3), np.float32)
    with Connection(Address.parse(backend.url)) as talker, Connection(Address.parse(backend.url)) as editor:
        talks = [talker.submit(Request(new_request_id(), "chat", "100000")) for _ in range(2)]
        wait_for(lambda: all(talk.progress is not None and talk.progress.words for talk in talks))
        speakers = {talk.progress.words.split()[0] for talk in talks if talk.progress is not None}
        assert len(speakers) == 2
        for _ in range(5):
            edit = editor.ask(Request(new_request_id(), "adjust", "raise it", poses), timeout=60)
            assert edit.texts[0].split()[-1] in speakers
        assert not any(talk.done for talk in talks)
        for talk in talks:
            talker.cancel(talk)
        for _ in range(2):  # both replicas are there for another talk
            said = editor.ask(Request(new_request_id(), "chat", "3"), timeout=60)
            assert said.texts[0].endswith("has said 3")


def _descendants(pid: int) -> dict[int, str]:
    """The processes below one, and what each calls itself."""
    parent, name = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            status = (folder / "status").read_text()
            parent[int(folder.name)] = int(status.split("\nPPid:\t")[1].split()[0])
            name[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    below = {pid}
    while more := {child for child, of in parent.items() if of in below} - below:
        below |= more
    return {one: name[one] for one in below - {pid}}


@needs_ray
@pytest.mark.full
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the replica's process is found in /proc")
def test_from_the_command_line_a_replica_that_is_killed_costs_no_request() -> None:
    command = [str(Path(sys.executable).with_name("posellava")), "serve", "--ray", "--replicas", "2:2"]
    command += ["--replica-cpus", "0.5", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            address = Address.parse(serving.stdout.readline())

            def replicas_there() -> set[int]:
                return {
                    pid
                    for pid, name in _descendants(serving.pid).items()
                    if name.startswith(f"ray::ServeReplica:{APPLICATION}:")
                }

            assert len(replicas_there()) == 2
            over = threading.Event()
            answered: list[int] = []

            def edit(number: int) -> int:
                with Connection(address) as connection:
                    while not over.is_set():
                        request = Request(
                            new_request_id(), "adjust", "raise the left arm", STANDING_POSE[None]
                        )
                        connection.ask(request, timeout=120)
                        answered.append(number)
                return number

            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                people = [pool.submit(edit, number) for number in range(8)]
                wait_for(lambda: len(set(answered)) == 8, 120)
                first = replicas_there()
                os.kill(min(first), signal.SIGKILL)
                count = len(answered)
                wait_for(lambda: len(replicas_there() - first) == 1, 240)
                wait_for(lambda: len(answered) > count + 100, 240)
                over.set()
                assert [person.result(120) for person in people] == list(range(8))
            below = _descendants(serving.pid)
            serving.send_signal(signal.SIGTERM)
            assert serving.wait(60) == 0
            wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))
        finally:
            serving.kill()


def test_without_ray_the_command_says_how_to_install_it() -> None:
    command = [sys.executable, "-c", WITHOUT_RAY, "serve", "--ray", "--port", "0"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert "posellava[ray]" in done.stderr


# A replica by itself, which needs no Ray.

EDIT = Query("adjust", "raise it", np.zeros((24, 3), np.float32))


def test_a_replica_answers_between_two_words() -> None:
    async def run() -> tuple[list[Any], list[str]]:
        replica = _Replica(load)
        said, edits = [], []
        async for one in replica.speak([Query("chat", "40")]):
            said.append(one)
            if len(said) == 3:
                edits = [answer.text for answer in await replica.answer([EDIT])]
        return said, edits

    said, edits = asyncio.run(run())
    assert edits == [f"raise it {os.getpid()}"]
    assert [words.split()[-1] for _, words in said[:-1]] == [str(count) for count in range(1, 41)]
    assert [answer.text for answer in said[-1]] == [said[-2][1]]


def test_a_replica_that_nobody_listens_to_any_more_stops_talking() -> None:
    async def run() -> list[str]:
        replica = _Replica(load)
        talk = replica.speak([Query("chat", "100000")])
        assert (await anext(talk))[0] == 0
        await talk.aclose()
        return [answer.text for answer in await asyncio.wait_for(replica.answer([EDIT]), 60)] + [
            str(len(replica._waiting))
        ]

    assert asyncio.run(run()) == [f"raise it {os.getpid()}", "0"]


def test_what_fails_in_a_replica_fails_alone() -> None:
    async def run() -> None:
        replica = _Replica(load)
        failing = Query("adjust", "fail", EDIT.pose_aa)
        outcomes = await asyncio.gather(
            replica.answer([failing]), replica.answer([EDIT]), return_exceptions=True
        )
        assert isinstance(outcomes[0], RuntimeError)
        assert isinstance(outcomes[1], list)
        with pytest.raises(ValueError, match="no number"):
            async for _ in replica.speak([Query("chat", "no number")]):
                pass
        replica.check_health()
        assert replica.describe() == ("adding", ("adjust", "chat"))

    asyncio.run(run())


def test_an_engine_that_wants_to_end_its_replica_fails_its_batch_alone() -> None:
    async def run() -> None:
        replica = _Replica(load)
        ending = replica.answer([Query("adjust", "exit", EDIT.pose_aa)])
        with pytest.raises(RuntimeError, match="SystemExit: as asked"):
            await asyncio.wait_for(ending, 20)
        assert len(await replica.answer([EDIT])) == 1

    asyncio.run(run())


def test_what_waits_in_a_replica_is_told_apart_by_what_it_is_not_by_what_it_asks() -> None:
    """Poses cannot be compared, and the event loop's thread must not come between a comparison."""

    def batch() -> _Batch:
        return _Batch([Query("adjust", "raise it", np.zeros((24, 3), np.float32))])

    waiting = [batch(), batch()]
    waiting.remove(waiting[1])
    assert len(waiting) == 1
