# SPDX-License-Identifier: Apache-2.0
"""Rewording by a chat model, against a server on the loopback that the tests start."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data.build import write_index
from training.data.cli import data
from training.data.rewriting import rewriter as rewriting
from training.data.rewriting.chat import ChatError, ChatModel
from training.data.rewriting.rewriter import faithful, question, rewrite
from training.data.samples import Sample
from training.data.shards import SampleSource, shard_name, write_shard


class FakeModel:
    """A model that answers by a function, after some failures.

    Attributes:
        failures: statuses to answer first; 0 closes the connection without a word.
        requests: what was asked: headers and body.
    """

    def __init__(self) -> None:
        self.failures: list[int] = []
        self.requests: list[tuple[dict[str, str], dict]] = []
        self.answer: Callable[[str], object] = lambda text: "Please: " + text.split("\n")[0].lower()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((dict(self.headers), {**body, "path": self.path}))
                if outer.failures:
                    status = outer.failures.pop(0)
                    if status:
                        self.send_response(status)
                        self.send_header("Content-Length", "5")
                        self.end_headers()
                        self.wfile.write(b"no, n")
                    return
                text = outer.answer(body["messages"][1]["content"])
                reply = text if isinstance(text, dict) else {"choices": [{"message": {"content": text}}]}
                sent = json.dumps(reply).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def fake() -> Iterator[FakeModel]:
    model = FakeModel()
    thread = threading.Thread(target=model.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield model
    model.server.shutdown()
    model.server.server_close()
    thread.join()


def model(fake: FakeModel, **changes) -> ChatModel:
    return ChatModel(fake.address, "teacher", **{"first_wait_s": 0.01, **changes})


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    folder.mkdir()
    for shard in range(2):
        samples = []
        for row in range(3):
            target = np.zeros((24, 3), dtype=np.float32)
            target[18, 1] = -0.3 - row
            text = f"Bend your left elbow by {10 * (3 * shard + row + 1)} degrees"
            start = np.zeros((24, 3), dtype=np.float32)
            samples.append(Sample(f"s{shard}{row}", "adjust", "posepart", text, start, target))
        write_shard(folder / shard_name(shard), samples)
    write_index(folder, {"source": "posepart"}, [3, 3])
    return folder


def read_all(folder: Path) -> list[Sample]:
    source = SampleSource(folder)
    return [source.read(shard, row) for shard, size in enumerate(source.sizes) for row in range(size)]


def test_the_model_is_asked_with_the_prompt_the_key_and_the_part(fake, built, tmp_path):
    list(rewrite(built, tmp_path / "new", model(fake, key="secret")))
    headers, body = fake.requests[0]
    assert headers["Authorization"] == "Bearer secret"
    assert (body["path"], body["model"]) == ("/v1/chat/completions", "teacher")
    assert "instructor" in body["messages"][0]["content"]
    assert body["messages"][1]["content"].endswith("\nBody part: left arm")
    assert "secret" not in repr(model(fake, key="secret"))


def test_words_are_new_and_everything_else_is_the_same(fake, built, tmp_path):
    list(rewrite(built, tmp_path / "new", model(fake)))
    for before, after in zip(read_all(built), read_all(tmp_path / "new"), strict=True):
        assert after.instruction == "Please: " + before.instruction.lower()
        assert (after.id, after.task, after.kind) == (before.id, before.task, before.kind)
        assert np.array_equal(after.target_aa, before.target_aa)


def test_passing_failures_are_waited_out(fake, built, tmp_path):
    fake.failures = [503, 0, 429, 500]
    last = list(rewrite(built, tmp_path / "new", model(fake), parallel=1))[-1]
    assert (last.done, last.kept) == (6, 0)
    assert len(fake.requests) == 10


def test_lasting_failures_end_in_a_sentence_and_are_not_repeated(fake, built, tmp_path):
    fake.failures = [401] * 20
    with pytest.raises(ChatError, match="answered 401"):
        list(rewrite(built, tmp_path / "new", model(fake), parallel=1))
    assert len(fake.requests) <= 2


def test_a_server_that_stays_away_is_given_up_after_some_tries(built, tmp_path):
    gone = ChatModel("http://127.0.0.1:9", "teacher", tries=3, first_wait_s=0.01)
    with pytest.raises(ChatError, match="after 3 tries"):
        list(rewrite(built, tmp_path / "new", gone, parallel=1))


def test_an_answer_that_is_no_chat_completion_is_an_error(fake):
    fake.answer = lambda _: {"choices": []}
    with pytest.raises(ChatError, match="chat completion"):
        model(fake).ask("system", "text")


def test_a_run_goes_on_where_it_stopped_and_asks_nothing_twice(fake, built, tmp_path):
    good, first = fake.answer, model(fake, tries=1)
    fake.answer = lambda text: good(text) if "50" not in text else {"error": "overloaded"}
    with pytest.raises(ChatError):
        list(rewrite(built, tmp_path / "new", first, parallel=1))
    assert len(read_all(tmp_path / "new")) == 3
    fake.answer = good
    list(rewrite(built, tmp_path / "new", first, parallel=1))
    asked = [body["messages"][1]["content"] for _, body in fake.requests]
    assert sorted(set(asked)) == sorted(question(sample) for sample in read_all(built))
    assert len([text for text in asked if "50" not in text and "60" not in text]) == 4
    before = len(fake.requests)
    list(rewrite(built, tmp_path / "new", first))
    assert len(fake.requests) == before


def test_an_unfaithful_answer_leaves_the_words_alone(fake, built, tmp_path):
    fake.answer = lambda text: text.replace("left", "right").split("\n")[0]
    last = list(rewrite(built, tmp_path / "new", model(fake)))[-1]
    assert last.kept == 6
    texts = [[sample.instruction for sample in read_all(folder)] for folder in (built, tmp_path / "new")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        ("Gently bend your left elbow to a right angle.", True),
        ("Bend the elbow to 90 degrees", False),
        ("Bend your right elbow to a right angle.", False),
        ("Bend your left elbow,\nthen rest", False),
        ("", False),
        ("left " * 40, False),
    ],
)
def test_faithful_answers_keep_sides_and_numbers(answer, good):
    assert faithful("bend your left elbow to a right angle", answer) is good


def test_another_folder_is_not_overwritten(fake, built, tmp_path):
    list(rewrite(built, tmp_path / "new", model(fake)))
    with pytest.raises(ValueError, match="other samples"):
        list(rewrite(built, tmp_path / "new", ChatModel(fake.address, "another")))


def test_the_command_rewrites_with_the_key_of_the_environment(fake, built, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POSELLAVA_CHAT_KEY", "from-outside")
    status = data(["rewrite", str(built), "--output", str(tmp_path / "new"), "--url", fake.address,
                   "--model", "teacher"])  # fmt: skip
    assert status == 0
    assert fake.requests[0][0]["Authorization"] == "Bearer from-outside"
    assert "6 samples" in capsys.readouterr().out
    assert data(["rewrite", "nowhere", "--output", str(tmp_path / "x"), "--url", fake.address,
                 "--model", "teacher"]) == 1  # fmt: skip


def test_the_prompt_is_in_its_file():
    assert "left" in rewriting.MANNERS["instructions"].prompt.read_text(encoding="utf-8")


def test_descriptions_become_situations_that_name_no_limb(
    fake: FakeModel, built: Path, tmp_path: Path
) -> None:
    said = iter(["She waits for a bus.", "He bends his elbow.", "Two\nlines.", *["Somebody sleeps."] * 9])
    fake.answer = lambda text: next(said)
    out = tmp_path / "out"
    arguments = ["rewrite", str(built), "--output", str(out), "--url", fake.address, "--model", "teacher"]
    assert data([*arguments, "--as", "situations", "--parallel", "1"]) == 0
    assert "Name no body part" in fake.requests[0][1]["messages"][0]["content"]
    reworded, own = (SampleSource(folder) for folder in (out, built))
    texts = [reworded.read(0, row).instruction for row in range(3)]
    assert texts[0] == "She waits for a bus."
    assert texts[1:] == [own.read(0, row).instruction for row in (1, 2)], "what tells the pose is not used"
    assert data([*arguments, "--parallel", "1"]) == 1, "the same folder holds another manner's"
