# SPDX-License-Identifier: Apache-2.0
"""Whole short runs of the tiny model: that it learns, resumes exactly, stops clearly and exports what it learned."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backend.engines.torch import TorchEngine
from backend.query import Query
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import STANDING_POSE
from training import commands
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.stages.checkpoints import TrainingStopped
from training.stages.export import export
from training.stages.loop import train
from training.stages.plain import STATES_FILE
from training.stages.settings import load_settings
from training.stages.training_log import TrainingLog, read_metrics

from .conftest import eight_edits, write_json, write_yaml

pytestmark = pytest.mark.slow


def run(tmp_path: Path, values: dict[str, Any], *changes: str, resume: bool = False) -> None:
    train(load_settings(write_yaml(tmp_path / "config.yaml", values), changes), resume=resume)


def losses_of(folder: Path) -> dict[int, float]:
    return {
        line["step"]: line["loss"]
        for line in read_metrics(folder / "metrics.jsonl")
        if line["split"] == "train"
    }


def test_stage_3_learns_eight_edits_to_under_5_mm(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(
        tmp_path, stage3, "run.steps=260", "run.micro_batch=8", "run.checkpoint_steps=260", "run.log_steps=20"
    )
    export(tmp_path / "run", tmp_path / "model", dtype="float32")
    engine = TorchEngine.load(tmp_path / "model")
    edits = eight_edits()
    answers = engine.answer([Query(edit.task, edit.instruction, edit.pose_aa) for edit in edits])

    def joints(poses: list[np.ndarray]) -> np.ndarray:
        return forward_kinematics(axis_angle_to_matrix(np.stack(poses)))[1]

    found, wanted = joints([answer.pose_aa for answer in answers]), joints([edit.target_aa for edit in edits])
    assert 1000 * np.linalg.norm(found - wanted, axis=-1).mean() < 5.0


def test_without_deepspeed_the_steps_are_the_same_and_either_goes_on_from_the_other(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    plain = {**stage3, "output": str(tmp_path / "plain")}
    without = "run.deepspeed=false"
    run(tmp_path, plain, without, "run.accumulation=2")
    run(tmp_path, stage3, "run.accumulation=2")
    expected = losses_of(tmp_path / "run")
    assert losses_of(tmp_path / "plain") == pytest.approx(expected, rel=1e-5)
    run(tmp_path, stage3, without, "run.accumulation=2", "run.steps=8", resume=True)
    run(tmp_path, plain, without, "run.accumulation=2", "run.steps=8", resume=True)
    ends = [losses_of(tmp_path / name)[8] for name in ("run", "plain")]
    assert ends[0] == pytest.approx(ends[1], rel=1e-4)
    export(tmp_path / "plain", tmp_path / "model", checkpoint="latest")
    answer = TorchEngine.load(tmp_path / "model").answer([Query("generate", "raise the left arm")])[0]
    assert np.isfinite(answer.pose_aa).all()


def test_bfloat16_without_deepspeed_takes_its_steps_in_float32(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    plain = {**stage3, "output": str(tmp_path / "plain")}
    short = ("run.precision=bf16", "run.accumulation=2", "optimiser.learning_rate=1e-4")
    run(tmp_path, plain, *short, "run.deepspeed=false", "run.steps=3")
    run(tmp_path, plain, *short, "run.deepspeed=false", resume=True)
    run(tmp_path, stage3, *short)
    expected = losses_of(tmp_path / "run")
    assert losses_of(tmp_path / "plain") == pytest.approx(expected, rel=0.02)
    states = torch.load(tmp_path / "plain" / "checkpoints" / "step-00000006" / STATES_FILE)["module"]
    assert all(value.dtype == torch.float32 for value in states.values())
    # Steps of this size are lost where a weight near 1 is rounded to bfloat16.
    start = load_file(tmp_path / "initial" / "model.safetensors")
    name = "model.language_model.norm.weight"
    moved = states[name] - 1.0
    assert 0 < moved.abs().max() < 2**-9
    assert start[next(key for key in start if key.endswith("model.norm.weight"))].eq(1).all()


def test_what_only_deepspeed_does_is_refused_without_it(tmp_path: Path, stage3: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="zero 0"):
        run(tmp_path, stage3, "run.deepspeed=false", "run.zero=2")


def test_an_export_may_stop_between_the_weights_that_a_run_started_and_ended_with(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    run(tmp_path, stage3)
    for name, options in {
        "end": {}, "half": {"share": 0.5}, "head": {"share": 0.5, "as_trained": ["pose_decoder."]}
    }.items():  # fmt: skip
        export(tmp_path / "run", tmp_path / name, dtype="float32", **options)
    start, end, half, head = (
        load_file(tmp_path / name / "model.safetensors") for name in ("initial", "end", "half", "head")
    )
    assert any(not torch.equal(start[name], end[name]) for name in end if "pose_decoder" in name)
    for name in end:
        middle = (start[name].float() + end[name]) / 2
        assert torch.allclose(half[name], middle, atol=1e-6), name
        assert torch.allclose(
            head[name], end[name] if name.startswith("pose_decoder.") else middle, atol=1e-6
        ), name
    with pytest.raises(ValueError, match="no weight's name begins with pose_head"):
        export(tmp_path / "run", tmp_path / "bad", share=0.5, as_trained=["pose_head"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--adapter", "--share", "0.5"], "--share is for whole models"),
        (["--as-trained", "pose_decoder."], "with a --share below 1 only"),
        (["--share", "1.5"], "1.5 is not above 0 and at most 1"),
    ],
)
def test_an_option_of_export_that_would_do_nothing_is_refused(
    options: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        commands.export([str(tmp_path / "run"), str(tmp_path / "model"), *options])
    assert sentence in capsys.readouterr().err


def test_a_resumed_run_repeats_an_unbroken_one_exactly(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(tmp_path, stage3)
    broken = {**stage3, "output": str(tmp_path / "broken")}
    run(tmp_path, broken, "run.checkpoint_steps=2")
    # As if killed after step 5: the newest checkpoint is of step 4, and the log has a line too many.
    checkpoints = tmp_path / "broken" / "checkpoints"
    (checkpoints / "step-00000006" / "progress.json").unlink()
    run(tmp_path, broken, "run.checkpoint_steps=2", resume=True)
    assert losses_of(tmp_path / "broken") == losses_of(tmp_path / "run")
    assert len(losses_of(tmp_path / "run")) == 6


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_processes_that_lay_batches_out_change_nothing_in_a_run(
    stage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    values = request.getfixturevalue(stage)
    short = ("run.steps=4", "run.log_steps=1", "run.checkpoint_steps=2", "run.micro_batch=4")
    run(tmp_path, values, *short)
    laid_out = {**values, "output": str(tmp_path / "laid-out")}
    run(tmp_path, laid_out, *short, "data.workers=2")
    assert losses_of(tmp_path / "laid-out") == losses_of(tmp_path / "run")
    # As if killed after step 3: the newest checkpoint is of step 2.
    (tmp_path / "laid-out" / "checkpoints" / "step-00000004" / "progress.json").unlink()
    run(tmp_path, laid_out, *short, "data.workers=2", resume=True)
    assert losses_of(tmp_path / "laid-out") == losses_of(tmp_path / "run")


def test_folders_that_grow_need_workers(tmp_path: Path, stage3: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="growing needs workers"):
        run(tmp_path, stage3, "data.growing=true")


def test_words_that_the_model_does_not_read_are_told(
    tmp_path: Path, stage3: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    seen = [
        Sample(f"seen-{number}", "estimate", "k", words, target_aa=STANDING_POSE.copy(), image=picture)
        for number, words in enumerate(["the man on the left", ""])
    ]
    write_shard(tmp_path / shard_name(0), seen)
    write_index(tmp_path, {}, [2])
    stage3["data"]["sources"]["seen"] = {"path": str(tmp_path)}
    run(tmp_path, stage3, "run.steps=1")
    assert (
        "seen: 1 of its first 2 samples have words that this model does not read" in capsys.readouterr().out
    )


def test_a_line_of_the_log_tells_losses_by_task_speed_gradient_and_memory(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    edits = json.loads((tmp_path / "edits.json").read_text())
    made = [Sample("made", "generate", "k", "a person bows", target_aa=STANDING_POSE.copy())]
    more = json.loads(write_json(tmp_path / "made.json", made).read_text())
    (tmp_path / "edits.json").write_text(json.dumps([*edits, *more]))
    run(tmp_path, stage3, "run.micro_batch=3")
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["split"] == "train"]
    names = {"samples_per_s", "tokens_per_s", "gradient_norm", "memory_gb", "learning_rate"}
    for line in lines:
        assert names <= set(line)
        assert line["gradient_norm"] > 0
    assert {"pose_adjust", "pose_generate", "text_adjust", "text_generate"} <= set().union(*lines)
    # Where a step holds one task alone, its losses are those of the task.
    alone = [line for line in lines if "pose_generate" not in line]
    assert alone
    for line in alone:
        poses = sum(weight * line[name] for name, weight in stage3["losses"].items() if name != "text")
        assert line["pose_adjust"] == pytest.approx(poses, rel=1e-4)
        assert line["text_adjust"] == pytest.approx(line["text"], rel=1e-4)


def test_a_signal_to_stop_ends_the_step_and_the_run_can_go_on(
    tmp_path: Path, stage3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, stage3)
    real_train = TrainingLog.train

    def train_then_terminate(log: TrainingLog, step: int, *args: Any, **kwargs: Any) -> None:
        real_train(log, step, *args, **kwargs)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = {**stage3, "output": str(tmp_path / "stopped")}
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "train", train_then_terminate)
        run(tmp_path, stopped)
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").glob("step-*")] == ["step-00000003"]
    run(tmp_path, stopped, resume=True)
    assert losses_of(tmp_path / "stopped") == losses_of(tmp_path / "run")


def test_a_run_with_checkpoints_is_not_overwritten(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(tmp_path, stage3, "run.steps=1")
    with pytest.raises(ValueError, match="--resume"):
        run(tmp_path, stage3, "run.steps=1")


def test_a_time_budget_ends_the_run(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(tmp_path, stage3, "run.steps=100000", "run.max_minutes=0.02", "run.checkpoint_steps=100000")
    steps = list(losses_of(tmp_path / "run"))
    assert 0 < steps[-1] < 100000
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-2]
    assert last["learning_rate"] < 0.2 * stage3["optimiser"]["learning_rate"]


def test_a_loss_that_is_no_number_stops_the_run_with_advice(tmp_path: Path, stage3: dict[str, Any]) -> None:
    with pytest.raises(TrainingStopped, match="lower the learning rate"):
        run(tmp_path, stage3, "optimiser.learning_rate=1e30", "optimiser.clip=0")


def test_weights_that_give_no_number_are_not_written(tmp_path: Path, stage3: dict[str, Any]) -> None:
    """The first step's loss is a number, and its update destroys the weights: only the validation can tell."""
    with pytest.raises(TrainingStopped, match="not a finite number at step 1"):
        run(tmp_path, stage3, "optimiser.learning_rate=1e30", "optimiser.clip=0", "run.checkpoint_steps=1")
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))


def test_a_full_disk_stops_the_run_and_keeps_earlier_checkpoints(
    tmp_path: Path, stage3: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_save = torch.save

    def save(value: object, path: Any, *args: Any, **kwargs: Any) -> None:
        if "step-00000006" in str(path):
            raise OSError(28, "No space left on device")
        real_save(value, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(TrainingStopped, match="full"):
        run(tmp_path, stage3)
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["best.json", "step-00000003"]


def test_a_disk_that_is_full_for_the_log_stops_the_run_as_clearly(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainingStopped, match="is full: free some space"):
        run(tmp_path, stage3, "run.steps=1")


def test_missing_data_and_an_unknown_loss_are_told_before_training(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    with pytest.raises(FileNotFoundError, match="posellava data build"):
        run(tmp_path, stage3, "data.sources.edits.path=nowhere")
    with pytest.raises(ValueError, match="stage3 knows"):
        run(tmp_path, stage3, "losses.elbow=1")


def test_the_best_checkpoint_is_kept_when_older_ones_go(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(tmp_path, stage3, "run.checkpoint_steps=1", "run.keep=1", "optimiser.learning_rate=1e-2")
    folder = tmp_path / "run" / "checkpoints"
    best = json.loads((folder / "best.json").read_text())["checkpoint"]
    validations = {
        line["step"]: line["loss"]
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if line["split"] == "validation"
    }
    assert best == f"step-{min(validations, key=validations.__getitem__):08d}"
    assert {path.name for path in folder.glob("step-*")} == {best, "step-00000006"}


def test_a_run_writes_its_curves(tmp_path: Path, stage3: dict[str, Any]) -> None:
    run(tmp_path, stage3, "run.steps=2")
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_run_is_a_function_of_its_configuration_whether_its_start_was_there_or_not(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    """Making a start draws random numbers; adapters and dropout, which come after it, must not feel that."""
    values = {
        **stage3,
        "trainable": {"language_model": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.3}},
    }
    for name in ("first", "second"):  # the first makes the start, the second finds it
        run(tmp_path, values, f"output={tmp_path / name}", "run.steps=2")
    first, second = (losses_of(tmp_path / name) for name in ("first", "second"))
    assert first == second
