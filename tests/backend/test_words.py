# SPDX-License-Identifier: Apache-2.0
"""Answers that are said word by word: told as they grow, and no one else's edit waits for their end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import pytest
from websockets.sync.client import ClientConnection

from backend.query import Answer, OnWords, Query
from backend.server import scheduler
from blender_addon.contract.codec import encode
from blender_addon.contract.messages import (
    SPOKEN_TASKS,
    Cancel,
    ErrorMessage,
    Progress,
    Request,
    Result,
    Welcome,
)
from tests.waiting import wait_for

from .talking import POSES, Start, assert_still_answers, client, outcome, receive

SENTENCE = ("The", "left", "arm", "is", "up.")


class SpeakingEngine:
    """Says SENTENCE, each word when ``say`` is released; an edit it answers at once, adding 0.1."""

    name = "speaking"
    tasks: tuple[str, ...] = ("adjust", *SPOKEN_TASKS)
    sentence: Sequence[str] = SENTENCE

    def __init__(self) -> None:
        self.say = threading.Semaphore(0)
        self.said: list[str] = []

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        if queries[0].task == "adjust":
            return [Answer(query.pose_aa + 0.1, "done") for query in queries if query.pose_aa is not None]
        assert on_words is not None
        words: list[str] = []
        for word in self.sentence:
            self.say.acquire(timeout=20)
            words.append(word)
            self.said.append(word)
            wanted = [on_words(place, " ".join(words)) for place in range(len(queries))]
            if not any(wanted):
                break
        return [Answer(None, " ".join(words)) for _ in queries]


@pytest.fixture
def speaking() -> Iterator[SpeakingEngine]:
    engine = SpeakingEngine()
    yield engine
    engine.say.release(1000)


def words(websocket: ClientConnection) -> str:
    message = receive(websocket)
    assert isinstance(message, Progress), message
    return message.words


def ask(websocket: ClientConnection, request: Request) -> None:
    assert isinstance(receive(websocket), Welcome)
    websocket.send(encode(request))


@pytest.mark.parametrize("task", SPOKEN_TASKS)
def test_words_are_told_as_they_are_said(task: str, start_backend: Start, speaking: SpeakingEngine) -> None:
    with client(start_backend(engine=speaking).url) as websocket:
        ask(websocket, Request("r", task, "what is this?", POSES[:1]))
        for count in range(1, len(SENTENCE)):
            speaking.say.release()
            assert words(websocket) == " ".join(SENTENCE[:count])
        speaking.say.release()
        result = outcome(websocket)
    assert isinstance(result, Result)
    assert result.texts == (" ".join(SENTENCE),)


def test_an_edit_is_answered_between_two_words_of_somebody_elses_answer(
    start_backend: Start, speaking: SpeakingEngine
) -> None:
    backend = start_backend(engine=speaking)
    with client(backend.url) as talker, client(backend.url) as editor:
        ask(talker, Request("long", "chat", "tell me a story"))
        assert isinstance(receive(editor), Welcome)
        speaking.say.release()
        assert words(talker) == SENTENCE[0]
        editor.send(encode(Request("edit", "adjust", "raise it", POSES)))
        assert isinstance(receive(editor), Progress)  # it is in line
        speaking.say.release()  # one more word, and no further
        assert isinstance(outcome(editor), Result)
        assert speaking.said == list(SENTENCE[:2])
        speaking.say.release(len(SENTENCE))
        result = outcome(talker)
    assert isinstance(result, Result)
    assert result.texts == (" ".join(SENTENCE),)


def test_who_no_longer_waits_is_not_talked_to(start_backend: Start, speaking: SpeakingEngine) -> None:
    with client(start_backend(engine=speaking).url) as websocket:
        ask(websocket, Request("r", "chat", "tell me a story"))
        speaking.say.release()
        assert words(websocket) == SENTENCE[0]
        websocket.send(encode(Cancel("r")))
        error = outcome(websocket)
        assert isinstance(error, ErrorMessage)
        assert error.code == "cancelled"
        speaking.say.release(len(SENTENCE))
        assert_still_answers(websocket)
    assert speaking.said == list(SENTENCE[:2])


def test_of_several_poses_only_the_whole_answers_are_told(
    start_backend: Start, speaking: SpeakingEngine
) -> None:
    speaking.say.release(1000)
    with client(start_backend(engine=speaking).url) as websocket:
        ask(websocket, Request("r", "describe", "", POSES))
        while isinstance(message := receive(websocket), Progress):
            assert not message.words
    assert isinstance(message, Result)
    assert message.texts == (" ".join(SENTENCE),) * len(POSES)


@pytest.mark.parametrize("unfit", ["\ud83d", "x" * 5000])
def test_words_that_cannot_be_told_yet_are_kept_back(
    unfit: str, start_backend: Start, speaking: SpeakingEngine
) -> None:
    speaking.sentence = ("a", "b")

    def answer(queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        assert on_words is not None
        assert on_words(0, unfit)
        return [Answer(None, "whole")]

    speaking.answer = answer  # type: ignore[method-assign]
    with client(start_backend(engine=speaking).url) as websocket:
        ask(websocket, Request("r", "chat", "smile"))
        message = receive(websocket)
    assert isinstance(message, Result)
    assert message.texts == ("whole",)


def test_an_engine_counts_as_lost_when_it_falls_silent_not_when_it_talks_for_long(
    start_backend: Start, speaking: SpeakingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=time.monotonic(), looks=0)
    look_after = scheduler.Scheduler.look_after

    def count(there: scheduler.Scheduler) -> None:
        look_after(there)
        clock.looks += 1

    monkeypatch.setattr("backend.server.server.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(scheduler.Scheduler, "look_after", count)
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: clock.now))
    backend = start_backend(engine=speaking, engine_seconds=1.0)
    with client(backend.url) as websocket:
        ask(websocket, Request("r", "chat", "tell me a story"))
        for count_of_words in range(1, 4):
            speaking.say.release()
            assert words(websocket) == " ".join(SENTENCE[:count_of_words])
            clock.now += 0.9
            seen = clock.looks
            wait_for(lambda seen=seen: clock.looks > seen + 1)
        clock.now += 0.2
        error = outcome(websocket)
        assert isinstance(error, ErrorMessage)
        assert error.code == "engine_failed"
        assert_still_answers(websocket)
