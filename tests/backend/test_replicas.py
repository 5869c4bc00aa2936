# SPDX-License-Identifier: Apache-2.0
"""Two replicas of Ray Serve behind the server, one of which is killed while clients are answered."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from blender_addon.contract.messages import Result, new_request_id
from blender_addon.session import Address, Connection
from tests.waiting import wait_for

from .talking import Start

ray = pytest.importorskip("ray")
pytest.importorskip("ray.serve")

from backend.replicas import ReplicaOptions, Replicas  # noqa: E402
from blender_addon.contract.messages import Request  # noqa: E402


def load() -> Any:
    """An engine of its own in each replica; nothing of the tests has to be importable there."""
    import os

    from backend.query import Answer

    class Adding:
        name = "adding"
        tasks = ("adjust",)

        def answer(self, queries: Any, on_words: Any = None) -> list[Answer]:
            time.sleep(0.02)
            if any(query.instruction == "fail" for query in queries):
                raise RuntimeError("as asked")
            return [Answer(query.pose_aa + 1, f"{query.instruction} {os.getpid()}") for query in queries]

    return Adding()


@pytest.fixture(scope="module")
def replicas() -> Any:
    import cloudpickle  # as Ray has it

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["load"]))
    with Replicas(load, ReplicaOptions(least=2, most=2, cpus=0.1)) as running:
        yield running


def _replica_actors() -> list[Any]:
    return [
        ray.get_actor(actor["name"], namespace=actor["namespace"])
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if "posellava" in actor["name"] and "_Replica" in actor["name"]
    ]


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
