# SPDX-License-Identifier: Apache-2.0
"""The recipe of mini: its sizes and paths, and the whole of it on a few samples."""

from __future__ import annotations

import filecmp
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from backend.graph_files import VIEW_GRAPH
from backend.query import Query
from training import recipe, view
from training.recipe import STEPS, RecipeStopped, load_recipe, run, step_settings
from training.stages.settings import TrainSettings, load_settings
from training.writing import MODEL_CARD

from .conftest import not_launched, write_yaml


def test_the_stages_read_what_the_recipe_builds_and_start_where_the_one_before_ended(tmp_path: Path) -> None:
    sizes = load_recipe()
    steps = [step_settings(sizes, step, tmp_path) for step in STEPS]
    built = {tmp_path / "data" / name for name, size in sizes.data.items() if not size.optional}
    for settings in steps:
        read = {source.path for source in settings.data.sources.values()}
        assert read <= built
        assert settings.data.validation in built
        assert all(source.varied for name, source in settings.data.sources.items() if name == "pictures")
    starts = [settings.model.start.name for settings in steps]
    assert starts == ["initial", "stage1-model", "stage2-model"]
    assert [settings.output for settings in steps] == [tmp_path / step.replace("_", "-") for step in STEPS]
    held_out = {size.seed for size in sizes.data.values() if size.split == "val"}
    assert held_out.isdisjoint(size.seed for size in sizes.data.values() if size.split == "train")


def test_minutes_are_shared_out_as_the_recipe_does_and_replace_steps() -> None:
    usual, short = load_recipe(), load_recipe(minutes=10, share=0.25)
    assert sum(short.minutes.values()) == pytest.approx(10)
    assert short.minutes["stage3"] / 10 == pytest.approx(
        usual.minutes["stage3"] / sum(usual.minutes.values())
    )
    assert step_settings(short, "stage3", Path("o")).run.max_minutes == short.minutes["stage3"]
    assert short.data["directives"].count == round(usual.data["directives"].count / 4)
    assert short.data["directives-val"] == usual.data["directives-val"]
    stepwise = replace(usual, minutes=dict.fromkeys(STEPS, 0.0))
    assert step_settings(stepwise, "stage1", Path("o")).run.steps < 10_000


def test_processes_share_out_the_batch_and_the_threads() -> None:
    one, two = (
        step_settings(replace(load_recipe(), processes=count), "stage3", Path("o")).run for count in (1, 2)
    )
    assert (2 * two.micro_batch, 2 * two.threads) == (one.micro_batch, one.threads)


@pytest.mark.slow
def test_two_processes_train_a_stage_to_its_end(tmp_path: Path, stage3: dict[str, Any]) -> None:
    config = write_yaml(tmp_path / "config.yaml", stage3)
    settings = load_settings(config)
    recipe._run_stage(settings, config, 2)
    assert recipe._is_finished(settings)


def test_a_stage_that_was_stopped_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = replace(load_recipe(quick=True), data={})

    def stopped_early(settings: TrainSettings, config: Path, processes: int) -> None:
        checkpoint = settings.output / "checkpoints" / "step-00000001"
        checkpoint.mkdir(parents=True)
        (checkpoint / "progress.json").write_text(json.dumps({"step": 1, "elapsed": 3.0}), encoding="utf-8")

    monkeypatch.setattr(recipe, "_run_stage", stopped_early)
    with pytest.raises(RecipeStopped, match="same command goes on"):
        run(sizes, tmp_path, poses=None, workers=1)
    assert not (tmp_path / "stage1-model").exists()


@pytest.mark.slow
def test_missing_poses_are_told_before_anything_is_made(tmp_path: Path) -> None:
    done = run_recipe(["--poses", str(tmp_path / "none.npz"), "--output", str(tmp_path / "out")])
    assert done.returncode == 1
    assert "none.npz" in done.stderr
    assert not (tmp_path / "out").exists()


def run_recipe(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The recipe in a process of its own: it leaves its process group, which DeepSpeed joins but once."""
    return subprocess.run(
        [sys.executable, "-m", "training.recipe", *arguments],
        capture_output=True, text=True, check=False, env=not_launched(),
    )  # fmt: skip


def recipe_says(arguments: list[str]) -> str:
    """What the recipe prints where it succeeds."""
    done = run_recipe(arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.slow
def test_two_runs_of_the_recipe_end_with_the_same_model(tmp_path: Path) -> None:
    for name in ("one", "other"):
        recipe_says(["--quick", "--output", str(tmp_path / name), "--workers", "1"])
    files = {file.name for file in (tmp_path / "one" / "model").iterdir()}
    assert {"view.safetensors", "variants.safetensors", "voice.safetensors", "wish.safetensors"} <= files
    same, different, missing = filecmp.cmpfiles(
        tmp_path / "one" / "model", tmp_path / "other" / "model", files, shallow=False
    )
    assert (set(same), different, missing) == (files, [], [])


@pytest.mark.slow
def test_the_recipe_goes_from_poses_to_a_measured_model_and_does_nothing_twice(tmp_path: Path) -> None:
    """From a recording in AMASS's form; without poses the same is trained on constructed ones."""
    rng = np.random.default_rng(0)
    turns = np.cumsum(rng.normal(0, 0.02, (240, 156)), axis=0)
    recording = tmp_path / "recording.npz"
    np.savez(recording, poses=turns, trans=np.zeros((240, 3)), betas=np.zeros(16), gender="neutral",
             mocap_framerate=60.0)  # fmt: skip
    arguments = ["--quick", "--poses", str(recording), "--output", str(tmp_path / "out"), "--workers", "1"]
    said = recipe_says(arguments)
    assert "no poses given" not in said
    assert "copy" in said
    model = tmp_path / "out" / "model"
    answer = TorchEngine.load(model).answer(
        [Query("adjust", "raise the left arm", np.zeros((24, 3), np.float32))]
    )[0]
    assert np.isfinite(answer.pose_aa).all()
    assert "describe" in TorchEngine.load(model).tasks
    assert {file.name for file in model.iterdir()} == {file.name for file in SHIPPED_MODEL.iterdir()} - {
        MODEL_CARD
    }
    assert not (tmp_path / "out" / "view.pt").exists()
    evaluation = tmp_path / "out" / "evaluation"
    for suite in ("posepart", "posefix", "generation", "estimation"):
        figures = json.loads((evaluation / f"{suite}.json").read_text(encoding="utf-8"))
        assert {"model", "copy"} <= set(figures)
    assert json.loads((evaluation / "instructions.json").read_text(encoding="utf-8"))["all"]["cases"] > 100
    before = (model / "model-00001-of-00002.safetensors").stat().st_mtime_ns
    said = recipe_says(arguments)
    assert (model / "model-00001-of-00002.safetensors").stat().st_mtime_ns == before
    assert "is there already" in said
    assert "has some already" in said
    assert "knows words about the camera already" in said
    assert "hears already when nothing is asked" in said
    assert "speaks already" in said


def test_words_about_the_camera_go_on_after_a_stop_and_are_learnt_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, keep, model = load_recipe(), tmp_path / "view.pt", tmp_path / "model"
    model.mkdir()
    told: list[Any] = []

    def give_view(*folders: Path, stops: bool, **size: Any) -> Iterator[str]:
        told.append((folders, size))
        keep.touch()
        yield "step 1"
        if stops:
            raise KeyboardInterrupt
        (model / VIEW_GRAPH).touch()

    monkeypatch.setattr(view, "give_view", partial(give_view, stops=True))
    with pytest.raises(KeyboardInterrupt):
        recipe._give_view(sizes, model, tmp_path / "data", keep=keep)
    assert keep.is_file()
    for _ in range(2):
        monkeypatch.setattr(view, "give_view", partial(give_view, stops=False))
        recipe._give_view(sizes, model, tmp_path / "data", keep=keep)
        assert not keep.exists()
    folders = (model, model, tmp_path / "data")
    assert told == 2 * [
        (
            folders,
            {
                "seconds": 60 * sizes.minutes["view"],
                "weight_steps": None,
                "keep": keep,
                "count": 16000,
                "steps": 3000,
            },
        )
    ]
