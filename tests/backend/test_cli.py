# SPDX-License-Identifier: Apache-2.0
"""The command line: files of requests, installed commands, a server as users start it, and its refusals."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend import cli
from backend.batch import Here, answer_file
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.serve import TOKEN_VARIABLE
from blender_addon.contract.messages import ProtocolError, Request, View
from blender_addon.session import Address, Connection
from tests.backend.conftest import png_with_empty_profile, tiny_config

REPOSITORY = Path(__file__).parents[2]
POSE = np.linspace(-1, 1, 72, dtype=np.float32).reshape(24, 3)
GOOD = {"id": "good", "task": "adjust", "instruction": "raise it", "pose": POSE.tolist()}
Answers = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def answers(tmp_path: Path, engine: Any) -> Answers:
    """Write these lines (texts, or objects for JSON), answer the file, read the answers."""

    def run(*lines: Any, batch_size: int = 32) -> list[dict[str, Any]]:
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        with source.open("wb") as file:
            for line in lines:
                file.write(line if isinstance(line, bytes) else json.dumps(line).encode())
                file.write(b"\n")
        counts = answer_file(Here(engine), source, target, batch_size=batch_size)
        records = [json.loads(line) for line in target.read_text().splitlines()]
        assert counts == (
            sum("error" not in record for record in records),
            sum("error" in r for r in records),
        )
        return records

    return run


def test_a_file_is_answered_in_its_order_and_in_batches(answers: Answers, engine: Any) -> None:
    poses = np.random.default_rng(0).normal(size=(7, 24, 3)).astype(np.float32)
    records = answers(
        *({**GOOD, "id": f"r{number}", "pose": pose.tolist()} for number, pose in enumerate(poses)),
        batch_size=3,
    )
    assert [record["id"] for record in records] == [f"r{number}" for number in range(7)]
    np.testing.assert_allclose([record["pose"] for record in records], poses + 0.1, atol=1e-6)
    assert {record["text"] for record in records} == {"did raise it"}
    assert [len(batch) for batch in engine.batches] == [3, 3, 1]


def test_every_task_finds_what_it_needs(answers: Answers, engine: Any, tmp_path: Path) -> None:
    Image.new("RGBA", (6, 4), "teal").save(tmp_path / "view.png")
    generated, estimated, described = answers(
        {"id": 1, "task": "generate", "instruction": "a person sits"},
        {"id": 2, "task": "estimate", "image": "view.png"},
        {"id": 3, "task": "describe", "pose": POSE.tolist()},
    )
    assert np.shape(generated["pose"]) == np.shape(estimated["pose"]) == (24, 3)
    assert described == {"id": 3, "text": "a person"}
    assert engine.batches[0][1].image.size == (6, 4)


def test_history_view_and_variants_of_a_line_reach_the_engine(answers: Answers, engine: Any) -> None:
    history = [
        {"instruction": "sit", "pose": POSE.tolist()},
        {
            "instruction": "lower",
            "pose": (POSE + 1).tolist(),
            "words": "done",
            "poses": [(POSE + 2).tolist()],
        },
    ]
    (record,) = answers({**GOOD, "history": history, "view": {"yaw": 0.5, "pitch": -1}, "variants": 2})
    np.testing.assert_allclose(record["variants"], [POSE + 0.1, POSE + 0.2], atol=1e-6)
    assert record["variants"][0] == record["pose"]
    ((query,),) = engine.batches
    assert (query.view, query.variants) == (View(0.5, -1.0), 2)
    assert [(turn.instruction, turn.words, len(turn.poses)) for turn in query.history] == [
        ("sit", "", 0),
        ("lower", "done", 1),
    ]
    np.testing.assert_array_equal(query.history[0].pose, POSE)
    np.testing.assert_array_equal(query.history[1].poses[0], POSE + 2)


def test_answers_never_overwrite_the_requests(engine: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="name another file"):
        answer_file(Here(engine), source, tmp_path / "." / "in.jsonl", batch_size=1)
    assert source.read_text() == json.dumps(GOOD)


BAD: dict[str, tuple[Any, Any, str]] = {
    "no JSON": (b"{", None, "Line 2 is not valid JSON"),
    "binary": (bytes(range(200, 256)) * 9, None, "not valid JSON"),
    "brackets without end": (b"[" * 200_000, None, "not valid JSON"),
    "a list": ([1], None, "not a JSON object"),
    "no id": ({"task": "adjust"}, None, "no id"),
    "half a character for an id": ({**GOOD, "id": "\ud800"}, None, "Line 2: the id contains half"),
    "half a character": (
        {**GOOD, "id": "bad", "instruction": "raise \udc00"},
        "bad",
        "instruction contains half",
    ),
    "no task": ({"id": "bad", "instruction": "x"}, "bad", '"task": "adjust"'),
    "a number for a task": ({**GOOD, "id": "bad", "task": 5}, "bad", "must be texts"),
    "an unknown task": ({**GOOD, "id": "bad", "task": "dance"}, "bad", "Unknown task"),
    "a picture to paint": ({**GOOD, "id": "bad", "task": "paint"}, "bad", "posellava repaint paints"),
    "no pose": ({**GOOD, "id": "bad", "pose": None}, "bad", "start pose"),
    "22 joints": ({**GOOD, "id": "bad", "pose": POSE[:22].tolist()}, "bad", "24 joints"),
    "ragged": ({**GOOD, "id": "bad", "pose": [[0, 0, 0], [0]]}, "bad", "24 triples"),
    "texts for numbers": ({**GOOD, "id": "bad", "pose": [["0"] * 3] * 24}, "bad", "24 triples"),
    "a number": ({**GOOD, "id": "bad", "pose": 5}, "bad", "24 joints"),
    "NaN": ({**GOOD, "id": "bad", "pose": [[float("nan")] * 3] * 24}, "bad", "NaN"),
    "beyond float32": ({**GOOD, "id": "bad", "pose": [[1e300] * 3] * 24}, "bad", "infinity"),
    "a long text": ({**GOOD, "id": "bad", "instruction": "x" * 1_000_000}, "bad", "2000"),
    "an empty text": ({**GOOD, "id": "bad", "instruction": ""}, "bad", "empty"),
    "no image": ({"id": "bad", "task": "estimate"}, "bad", "needs an image"),
    "a missing image": ({"id": "bad", "task": "estimate", "image": "nowhere.png"}, "bad", "cannot be read"),
    "a folder for an image": ({"id": "bad", "task": "estimate", "image": "."}, "bad", "cannot be read"),
    "an image that is none": ({"id": "bad", "task": "estimate", "image": "in.jsonl"}, "bad", "no PNG"),
    "a damaged image": ({"id": "bad", "task": "estimate", "image": "damaged.png"}, "bad", "damaged"),
    "a history of roles": ({**GOOD, "id": "bad", "history": [{"role": "user"}]}, "bad", "must be texts"),
    "a history of texts": ({**GOOD, "id": "bad", "history": ["sit"]}, "bad", "history must be a list"),
    "a history with half a pose": (
        {**GOOD, "id": "bad", "history": [{"instruction": "sit", "pose": POSE[:12].tolist()}]},
        "bad",
        "24 joints",
    ),
    "a view of texts": ({**GOOD, "id": "bad", "view": {"yaw": "left", "pitch": 0}}, "bad", "two angles"),
    "a view beyond floats": (
        {**GOOD, "id": "bad", "view": {"yaw": 10**400, "pitch": 0}},
        "bad",
        "two angles",
    ),
    "a view that is none": ({**GOOD, "id": "bad", "view": 5}, "bad", "two angles"),
    "nine variants": ({**GOOD, "id": "bad", "variants": 9}, "bad", "between 1 and 8"),
    "variants of text": ({**GOOD, "id": "bad", "variants": "2"}, "bad", "whole number"),
    "a failing model": ({**GOOD, "id": "bad", "instruction": "fail"}, "bad", "no such luck"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_gets_an_error_and_the_rest_goes_on(name: str, answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(png_with_empty_profile())
    line, identity, words = BAD[name]
    first, bad, last = answers(GOOD, line, {**GOOD, "id": "last"})
    assert set(bad) == {"id", "error"}
    assert bad["id"] == identity
    assert words in bad["error"]
    assert len(bad["error"]) < 200
    assert (first["id"], last["id"]) == ("good", "last")
    assert first["text"] == last["text"] == "did raise it"


def test_help_comes_without_loading_torch() -> None:
    script = (
        "import sys, backend.cli\n"
        "try: backend.cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'transformers', 'websockets'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("serve", "batch", "info"))


def test_installed_commands_are_listed_and_called_with_their_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = metadata.EntryPoint("dance", f"{__name__}:_dance", cli.COMMAND_GROUP)
    monkeypatch.setattr(metadata.EntryPoint, "load", lambda self: _dance)

    def entry_points(**wanted: str) -> metadata.EntryPoints:
        return metadata.EntryPoints([entry]).select(**wanted)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert cli.main(["dance", "--fast", "7"]) == 7
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "dance" in capsys.readouterr().out


def _dance(arguments: list[str]) -> int:
    assert arguments == ["--fast", "7"]
    return 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--no-token", "--host", "0.0.0.0"], "--no-token"),
        (["batch", "nowhere.jsonl", "out.jsonl"], "nowhere.jsonl"),
        (["info", "--model", "/nonexistent"], "/nonexistent"),
        (["info", "--device", "abacus"], "'abacus'"),
        (["info", "--device", "cuda:99"], "leave --device out"),
    ],
)
def test_a_wrong_use_is_explained_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_ctrl_c_ends_a_command_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: Any) -> None:
        raise KeyboardInterrupt

    requests = tmp_path / "in.jsonl"
    requests.touch()
    monkeypatch.setattr(cli, "_load_engine", interrupted)
    assert cli.main(["batch", str(requests), str(tmp_path / "out.jsonl")]) == 130
    assert capsys.readouterr().err == "posellava batch: stopped\n"


@pytest.mark.parametrize("port", ["-1", "70000", "x"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "--port", port])
    assert caught.value.code == 2


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory, processor: PoseLlavaProcessor) -> Path:
    """A tiny model with random weights, in the folder that --model takes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    PoseLlavaForConditionalGeneration(tiny_config()).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_info_names_model_sizes_tasks_and_versions(
    saved_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", "--json", "--model", str(saved_model)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["name"] == "posellava-tiny"
    assert set(record["tasks"]) == {"adjust", "generate", "estimate"}
    assert record["parameters"] > 1000
    assert record["weights"] == str(saved_model)
    assert record["versions"]["torch"] == metadata.version("torch")
    assert cli.main(["info", "--model", str(saved_model)]) == 0
    printed = capsys.readouterr().out
    assert "posellava-tiny" in printed
    assert f"{record['parameters']:,}" in printed


@pytest.mark.slow
def test_a_model_that_was_cut_off_is_named(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(saved_model, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    capsys.readouterr()
    assert cli.main(["info", "--model", str(folder)]) == 1
    said = capsys.readouterr().err
    assert f"a file of weights in {folder} is damaged or cut off" in said
    assert "download the model again" in said
    assert "Traceback" not in said


def test_batch_answers_with_a_saved_model(saved_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "view.png")
    lines = [GOOD, {"id": "seen", "task": "estimate", "image": "view.png"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = [str(tmp_path / name) for name in ("in.jsonl", "out.jsonl")]
    assert cli.main(["batch", "--model", str(saved_model), *files]) == 0
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["good", "seen"]
    assert np.isfinite([record["pose"] for record in records]).all()
    assert np.shape([record["pose"] for record in records]) == (2, 24, 3)


def test_an_unknown_host_is_named(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--host", "host.invalid", "--port", "0", "--model", str(saved_model)]) == 1
    assert "'host.invalid'" in capsys.readouterr().err


def test_a_port_in_use_is_named(saved_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--port", port, "--model", str(saved_model)]) == 1
    assert f"port {port} is in use" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to stop gracefully on")
def test_a_served_model_is_reached_with_the_line_that_serve_prints(saved_model: Path) -> None:
    command = [sys.executable, "-m", "backend.cli", "serve", "--port", "0", "--model", str(saved_model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment.pop(TOKEN_VARIABLE, None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening ws://127.0.0.1:")
            image = io.BytesIO()
            Image.new("RGB", (64, 48), "teal").save(image, "PNG")
            with Connection(Address.parse(line)) as connection:
                edited = connection.ask(Request("e", "adjust", "raise the left arm", POSE[None]), timeout=60)
                seen = connection.ask(Request("s", "estimate", image_png=image.getvalue()), timeout=60)
            with (
                Connection(Address.parse(line.split()[1])) as stranger,
                pytest.raises(ProtocolError) as caught,
            ):
                stranger.ask(Request("e", "adjust", "raise the left arm", POSE[None]), timeout=60)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert caught.value.sentence.startswith("The token is wrong")
    for result in (edited, seen):
        assert result.poses[0] is not None
        assert np.isfinite(result.poses[0]).all()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGTERM nor process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_at_a_signal_without_a_traceback_or_a_process_left_behind(
    number: signal.Signals, saved_model: Path
) -> None:
    command = [sys.executable, "-m", "backend.cli", "serve", "--port", "0", "--model", str(saved_model)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            with Connection(Address.parse(line, os.environ.get(TOKEN_VARIABLE, ""))) as connection:
                connection.ask(Request("e", "adjust", "raise the left arm", POSE[None]), timeout=60)
                os.killpg(process.pid, number)  # as a terminal does, while a client is connected
                _, said = process.communicate(timeout=180)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
