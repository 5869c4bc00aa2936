# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from training.stages.objectives import check_terms
from training.stages.schedule import Schedule
from training.stages.settings import OptimiserSettings, load_settings, save_settings

from .conftest import write_yaml

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*_stage*.yaml")))
def test_the_projects_own_configurations_are_valid(name: str) -> None:
    settings = load_settings(CONFIGS / name)
    check_terms(settings.stage, settings.losses)


@pytest.mark.parametrize("name", ["7b_stage1", "7b_stage2", "7b_stage3", "7b_chatpose_stage3"])
def test_the_papers_tests_are_in_no_mixture(name: str) -> None:
    data = load_settings(CONFIGS / f"{name}.yaml").data
    paths = [*(source.path for source in data.sources.values()), data.validation]
    assert not [path for path in paths if "3dpw" in str(path).lower() or "test" in str(path).lower()]


def test_chatposes_variant_freezes_what_sees_and_posellavas_stage_3_does_not() -> None:
    frozen, learns = (
        load_settings(CONFIGS / name).trainable for name in ("7b_chatpose_stage3.yaml", "7b_stage3.yaml")
    )
    assert (frozen.vision_tower, frozen.vision_projector, frozen.pose_projector) == (False, False, False)
    assert (learns.vision_tower, learns.vision_projector, learns.pose_projector) == (False, True, True)


def test_the_page_builds_as_many_pairs_of_single_parts_as_the_paper_has() -> None:
    page = (CONFIGS.parents[1] / "docs" / "training.md").read_text()
    (command,) = [line for line in page.splitlines() if "--output data/posepart" in line]
    assert "--count 135000" in command
    assert "--held-out POSESCRIPT POSEFIX" in command


def test_values_are_overlaid_and_a_saved_configuration_reads_back(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    path = write_yaml(tmp_path / "c.yaml", stage3)
    settings = load_settings(path, ["run.steps=77", "optimiser.learning_rate=2e-4", "trainable.lora.rank=8"])
    assert (settings.run.steps, settings.optimiser.learning_rate, settings.trainable.lora.rank) == (
        77,
        2e-4,
        8,
    )
    save_settings(settings, tmp_path / "saved.yaml")
    assert load_settings(tmp_path / "saved.yaml") == settings


def test_extending_replaces_losses_and_sources_as_wholes(tmp_path: Path, stage3: dict[str, Any]) -> None:
    write_yaml(tmp_path / "base.yaml", stage3)
    path = write_yaml(
        tmp_path / "c.yaml", {"extends": "base.yaml", "losses": {"text": 1}, "run": {"zero": 2}}
    )
    settings = load_settings(path)
    assert settings.losses == {"text": 1.0}
    assert (settings.run.zero, settings.run.steps) == (2, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("run.stepz=3", "unknown key 'stepz'"),
        ("run.steps=many", "must be of type int"),
        ("run.precision=fp8", "must be one of fp32, bf16"),
        ("run", "section.key=value"),
        ("seed.x=1", "not a section"),
        ("run.steps=[1", "--set run.steps=.1 is not YAML"),
        ("run.log_steps=0", "log_steps must be 1 or more, not 0"),
        ("run.max_minutes=-1", "max_minutes must be 0 or more"),
        ("run.zero=4", "must be one of 0, 1, 2, 3"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, stage3: dict[str, Any], change: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_settings(write_yaml(tmp_path / "c.yaml", stage3), [change])


def test_the_rate_warms_up_then_follows_a_cosine() -> None:
    schedule = Schedule(100, 0.0, OptimiserSettings(learning_rate=2.0, warmup=0.1, final_ratio=0.1))
    assert schedule.rate(5, 1e9) == pytest.approx(1.0)
    assert schedule.rate(10, 0) == pytest.approx(2.0)
    assert schedule.rate(55, 0) == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2))))
    assert schedule.rate(100, 0) == pytest.approx(0.2)


def test_with_a_time_budget_the_rate_follows_whichever_is_further() -> None:
    schedule = Schedule(100, 60.0, OptimiserSettings(learning_rate=1.0, warmup=0.0))
    assert schedule.progress(10, 30.0) == 0.5
    assert schedule.progress(80, 30.0) == 0.8
    assert schedule.rate(10, 30.0) == pytest.approx(0.5)
