# SPDX-License-Identifier: Apache-2.0
"""The script that measures 7b on a GPU, on small shapes on the CPU, and its arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.on_gpu_7b import (
    PARTS,
    QUICK,
    main,
    measure,
    model_flops,
    random_model,
    random_samples,
    stage_settings,
)
from training.stages.batches import Collator
from training.stages.memory import model_config
from training.stages.parts import prepare_parts
from training.stages.settings import load_settings

from .conftest import not_launched


@pytest.mark.slow
@pytest.mark.parametrize("part", ["edit", "batch"])
def test_edits_are_asked_in_one_prefill_and_token_by_token(part: str) -> None:
    (finding,) = measure(part, QUICK)
    assert finding["device"] == "cpu"
    assert finding["memory_gb"] is None
    if part == "edit":
        assert 0 < finding["p50_ms"] <= finding["p95_ms"]
    else:
        assert finding["batch"] == 3
        assert finding["edits_per_s"] > 0
        assert finding["speedup"] == pytest.approx(
            finding["edits_per_s"] / finding["edits_per_s_by_token"], rel=0.1
        )


@pytest.mark.slow
def test_each_part_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "findings.jsonl"
    done = subprocess.run(
        [sys.executable, "-m", "training.on_gpu_7b", "--quick", "--output", str(file)],
        capture_output=True, text=True, check=False, timeout=1200, env=not_launched(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    findings = [json.loads(line) for line in file.read_text().splitlines()]
    assert [finding["part"] for finding in findings] == [
        "stage1",
        "stage2",
        "stage3",
        "stage3",
        "edit",
        "batch",
    ]
    assert [finding["rows"] for finding in findings[:4]] == ["2 pictures", "2 texts", "2 edits", "2 pictures"]
    assert all(finding["tokens_per_s"] > 0 for finding in findings[:4])
    assert done.stdout == file.read_text()


def test_operations_are_counted_as_on_paper() -> None:
    """Two rows of a model without LoRA in which the language model alone learns: 6 for each weight and token."""
    settings = stage_settings("stage3", QUICK)
    model, processor = random_model(settings, torch.device("cpu"), quick=True)
    learning = load_settings(Path("training/configs/mini_stage3.yaml")).trainable
    prepare_parts(model, learning)
    samples = random_samples("edits", 2)
    batch = Collator(processor).instructions(samples)
    assert len({int(length) for length in batch.inputs["attention_mask"].sum(1)}) == 1  # rows of one length
    layers = sum(one.numel() for one in model.model.language_model.layers.parameters())
    length = batch.tokens // 2
    expected = 6 * layers * batch.tokens + 2 * 3 * 2 * 2 * 32 * length**2 + 6 * batch.text_labels * 32 * 2000
    assert model_flops(model, batch) == pytest.approx(expected)


def test_the_shapes_are_those_of_the_paper() -> None:
    config = model_config(load_settings(Path("training/configs/7b_stage1.yaml")))
    text, vision = config.text_config, config.vision_config
    assert (text.hidden_size, text.num_hidden_layers, text.num_key_value_heads) == (4096, 32, 8)
    assert (vision.hidden_size, vision.num_hidden_layers, vision.image_size) == (1024, 24, 336)
    assert config.pose_hidden_size == 512


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["edit"]) == 1
    assert "there is no GPU here" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["stage4"])
    assert f"there are {', '.join(PARTS)}" in capsys.readouterr().err
