# SPDX-License-Identifier: Apache-2.0
"""Files of requests as they come: other encodings, devices, photographs; and a backend that answers them."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend import batch, cli
from backend.batch import Here, There, answer_file
from backend.query import Answer, OnWords, Query
from backend.serve import TOKEN_VARIABLE
from blender_addon.contract.address import Address

from .talking import Start

POSE = np.linspace(-1, 1, 72, dtype=np.float32).reshape(24, 3)
GOOD = {"id": "good", "task": "adjust", "instruction": "raise it", "pose": POSE.tolist()}
LINE = json.dumps(GOOD).encode() + b"\n"


@pytest.fixture
def answered(tmp_path: Path, engine: Any) -> Callable[[bytes], list[dict[str, Any]]]:
    """Answer a file of these bytes."""

    def run(content: bytes) -> list[dict[str, Any]]:
        (tmp_path / "in.jsonl").write_bytes(content)
        answer_file(Here(engine), tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=8)
        return [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]

    return run


def test_a_byte_order_mark_loses_no_request(answered: Any) -> None:
    first, second = answered(b"\xef\xbb\xbf" + LINE + LINE)
    assert first["text"] == second["text"] == "did raise it"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_at_once(encoding: str, answered: Any) -> None:
    with pytest.raises(ValueError, match="save it as UTF-8"):
        answered(LINE.decode().encode(encoding))


@pytest.mark.parametrize("content", [b"[" + LINE + b"]", b"\xef\xbb\xbf \n[\n" + LINE + b"]"])
def test_one_array_is_named_at_once(content: bytes, answered: Any) -> None:
    with pytest.raises(ValueError, match="one object a line"):
        answered(content)


def test_a_line_without_end_costs_no_other(answered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MAX_LINE_BYTES", 100_000)
    records = answered(LINE + b'{"id": "' + b"x" * 3_000_000 + b'"}\n' + LINE + b"\n\n" + LINE.rstrip())
    assert [record.get("text") for record in records] == [
        "did raise it",
        None,
        "did raise it",
        "did raise it",
    ]
    assert records[1]["error"].startswith("Line 2 is longer than")


@pytest.mark.parametrize(
    "image", ["/dev/zero", "/dev/null", "pipe.png", "link.png", "huge.png", "..", "a\0b", "x" * 5000]
)
def test_an_image_that_is_no_file_costs_no_other(image: str, answered: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("/dev/zero")
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**33)  # takes no room on the disk
    bad = json.dumps({"id": "bad", "task": "estimate", "image": image}).encode()
    began = time.monotonic()
    first, error, last = answered(LINE + bad + b"\n" + LINE)
    assert time.monotonic() - began < 5
    assert first["text"] == last["text"] == "did raise it"
    assert error["id"] == "bad"
    assert len(error["error"]) < 300


@pytest.mark.slow
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG"])
def test_photographs_are_read_upright_and_made_small(
    form: str, answered: Any, engine: Any, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (6000, 4000), "black")
    picture.paste("white", (0, 0, 3000, 4000))  # left; turned upright it is at the top
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees clockwise
    picture.save(tmp_path / "photo", form, exif=exif, quality=60)
    (record,) = answered(json.dumps({"id": 1, "task": "estimate", "image": "photo"}).encode())
    assert "error" not in record
    ((query,),) = engine.batches
    assert (query.image.size, query.image.mode) == ((683, 1024), "RGB")
    assert query.image.getpixel((340, 100))[0] > 200
    assert query.image.getpixel((340, 900))[0] < 50


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(answered: Any, tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("1", (11_000, 11_000)).save(image, "PNG")
    (tmp_path / "bomb.png").write_bytes(image.getvalue())
    (record,) = answered(json.dumps({"id": 1, "task": "estimate", "image": "bomb.png"}).encode())
    assert "121000000 pixels" in record["error"]


def test_progress_is_told_after_each_batch(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINE * 20)
    told: list[tuple[int, float]] = []
    answer_file(
        Here(engine), tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=8,
        on_progress=lambda lines, share: told.append((lines, share)),
    )  # fmt: skip
    assert [lines for lines, _ in told] == [8, 16, 20]
    assert told[-1][1] == 1.0
    assert 0 < told[0][1] < told[1][1] < 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_with_its_path(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINE)
    with pytest.raises(OSError, match="the disk of /dev/full is full"):
        answer_file(Here(engine), tmp_path / "in.jsonl", Path("/dev/full"), batch_size=8)


@pytest.mark.parametrize("output", ["nowhere/out.jsonl", ".", "in.jsonl"])
def test_where_answers_cannot_go_is_found_before_the_model_is_loaded(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(options: Any) -> Any:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(cli, "_load_engine", load)
    (tmp_path / "in.jsonl").write_bytes(LINE)
    assert cli.main(["batch", str(tmp_path / "in.jsonl"), str(tmp_path / output)]) == 1
    assert "posellava batch: " in capsys.readouterr().err
    assert (tmp_path / "in.jsonl").read_bytes() == LINE


def run_batch(tmp_path: Path, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    status = cli.main(["batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), *arguments])
    return status, [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_backend_can_answer(
    start_backend: Start, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = start_backend(token="sesame", max_waiting=4)
    monkeypatch.setenv(TOKEN_VARIABLE, "sesame")
    Image.new("RGB", (60, 40), "teal").save(tmp_path / "view.jpg")
    lines = [
        *({**GOOD, "id": number} for number in range(30)),
        {**GOOD, "id": "bad", "task": "dance"},
        {**GOOD, "id": "fails", "instruction": "fail"},
        {**GOOD, "id": "question", "instruction": "what?"},
        {**GOOD, "id": "several", "variants": 2},
        {"id": "seen", "task": "estimate", "image": "view.jpg"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, records = run_batch(tmp_path, "--server", backend.url)
    assert status == 0
    assert [record["id"] for record in records] == [line["id"] for line in lines]
    np.testing.assert_allclose(records[0]["pose"], POSE + 0.1, atol=1e-6)
    by_id = {record["id"]: record for record in records}
    assert "Unknown task" in by_id["bad"]["error"]
    assert "no such luck" in by_id["fails"]["error"]
    assert by_id["question"] == {"id": "question", "text": "I did not understand that"}
    assert len(by_id["several"]["variants"]) == 2
    assert "pose" in by_id["seen"]
    assert {query.image.size for calls in engine.batches for query in calls if query.image} == {(60, 40)}


@pytest.mark.parametrize("where", ["here", "there"])
def test_what_is_answered_in_words_has_words_and_in_a_conversation_its_poses(
    where: str, start_backend: Start, tmp_path: Path
) -> None:
    """As ``describe`` and ``chat`` are asked: with an earlier pose, with turns, and answered with two poses."""
    spoken = SpokenEngine()
    earlier = {"instruction": "", "pose": (POSE - 0.2).tolist()}
    said = {"instruction": "sit", "words": "Here: <POSE>", "poses": [(POSE + 0.3).tolist()]}
    lines = [
        {"id": "told", "task": "describe", "pose": POSE.tolist()},
        {"id": "changed", "task": "describe", "pose": POSE.tolist(), "history": [earlier]},
        {"id": "talk", "task": "chat", "instruction": "and now?", "history": [said]},
        {"id": "poses", "task": "chat", "instruction": "show two"},
        {"id": "nothing", "task": "describe"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if where == "here":
        answer_file(Here(spoken), tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=8)
    else:
        with There(Address.parse(start_backend(engine=spoken).url)) as there:
            answer_file(there, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=8)
    records = {
        record["id"]: record for record in map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    }
    assert records["told"] == {"id": "told", "text": "A person who stands."}
    assert records["changed"] == {"id": "changed", "text": "It changed."}
    assert records["talk"] == {"id": "talk", "text": "You said sit, and I: Here: <POSE>"}
    assert records["poses"]["text"] == "<POSE> or <POSE>"
    np.testing.assert_allclose(records["poses"]["variants"], [POSE, 2 * POSE], atol=1e-6)
    assert records["poses"]["pose"] == records["poses"]["variants"][0]
    assert "pose" in records["nothing"]["error"]


class SpokenEngine:
    """Describes and converses."""

    name, tasks = "spoken", ("describe", "chat")

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        return [self._one(query) for query in queries]

    def _one(self, query: Query) -> Answer:
        if query.task == "describe":
            return Answer(None, "It changed." if query.history else "A person who stands.")
        if query.history:
            turn = query.history[-1]
            return Answer(None, f"You said {turn.instruction}, and I: {turn.words}")
        return Answer(POSE, "<POSE> or <POSE>", np.stack([POSE, 2 * POSE]))


def test_a_backend_that_is_not_there_or_says_no_is_named(
    start_backend: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINE)
    assert run_batch(tmp_path, "--server", "ws://127.0.0.1:9")[0] == 1
    assert "No backend answers at ws://127.0.0.1:9" in capsys.readouterr().err
    assert run_batch(tmp_path, "--server", start_backend(token="sesame").url)[0] == 1
    assert "token is wrong" in capsys.readouterr().err
    assert run_batch(tmp_path, "--server", "http://x")[0] == 1
    assert "is no address" in capsys.readouterr().err


def test_a_broken_connection_is_opened_again_once(start_backend: Start, engine: Any, tmp_path: Path) -> None:
    backend = start_backend()
    with There(Address.parse(backend.url)) as there:
        (tmp_path / "in.jsonl").write_bytes(LINE * 3)
        for connection in backend.server._door.connections:
            backend._loop.call_soon_threadsafe(connection.transport.abort)
        assert answer_file(there, tmp_path / "in.jsonl", tmp_path / "out.jsonl", batch_size=8) == (3, 0)


def test_a_file_of_failures_only_ends_with_a_status(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_load_engine", lambda options: engine)
    (tmp_path / "in.jsonl").write_bytes(b"{}\n{}\n")
    assert run_batch(tmp_path)[0] == 1
    (tmp_path / "in.jsonl").write_bytes(b"{}\n" + LINE)
    assert run_batch(tmp_path)[0] == 0
