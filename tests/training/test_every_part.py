# SPDX-License-Identifier: Apache-2.0
"""Every part runs in every pass, whatever its rows hold: processes whose rows differ then have the same collectives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.prompt import PAPER_TEMPLATES
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.stages.batches import Batch, Collator
from training.stages.initialise import FreshModel, fresh_model
from training.stages.objectives import instruct, instruction_terms, weighted_sum
from training.stages.parts import prepare_parts
from training.stages.settings import TrainableSettings
from training.stages.training_log import read_metrics

from .conftest import TINY_MODEL, eight_edits
from .test_processes import launch, learnt_alike

LOSSES = {"text": 1.0, "rot6d": 10.0}
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
EDIT = eight_edits()[0]
ROWS = {
    "words alone": [Sample("c", "chat", "chat", "what is this", reply="a person")],
    "a description": [Sample("g", "generate", "k", "someone sits", None, EDIT.target_aa)],
    "an edit": [EDIT],
    "a picture": [Sample("e", "estimate", "k", "", None, EDIT.target_aa, PICTURE)],
    "a picture and words": [Sample("v", "chat", "chat", "who is it", image=PICTURE, reply="a man")],
}
Model = tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]


@pytest.fixture(scope="module")
def paper_model() -> Model:
    torch.manual_seed(0)
    model, processor = fresh_model(FreshModel(**TINY_MODEL))
    processor.templates = processor.prompter.templates = PAPER_TEMPLATES
    prepare_parts(model, TrainableSettings(embeddings="all", vision_projector=True))
    return model, processor


def gradients(
    model: PoseLlavaForConditionalGeneration, batch: Batch, *, every: bool
) -> tuple[float, dict[str, Any]]:
    model.zero_grad(set_to_none=True)
    output = instruct(model, batch) if every else model(**batch.inputs, use_cache=False)
    loss = weighted_sum(instruction_terms(output, batch, LOSSES), LOSSES)
    loss.backward()
    return float(loss.detach()), {
        name: value.grad for name, value in model.named_parameters() if value.requires_grad
    }


@pytest.mark.parametrize("rows", list(ROWS))
def test_a_pass_reaches_every_part_and_learns_nothing_from_what_is_not_there(
    paper_model: Model, rows: str
) -> None:
    model, processor = paper_model
    batch = Collator(processor).instructions(ROWS[rows])
    plain, before = gradients(model, batch, every=False)
    loss, after = gradients(model, batch, every=True)
    assert loss == pytest.approx(plain, rel=1e-6)
    for name, gradient in after.items():
        assert gradient is not None, name
        expected = torch.zeros_like(gradient) if before[name] is None else before[name]
        assert torch.allclose(gradient, expected, atol=1e-6), name


def test_a_process_whose_rows_show_nothing_reads_a_blank_image_where_another_has_one() -> None:
    model, processor = fresh_model(FreshModel(**TINY_MODEL))
    collator = Collator(processor)
    picture, words = ROWS["a picture"], ROWS["words alone"]
    assert collator.instructions(words, [*words, *picture]).blank_canvas
    assert not collator.instructions(picture, [*words, *picture]).blank_canvas
    assert not collator.instructions(words, words).blank_canvas
    looked: list[int] = []
    model.alignment.register_forward_hook(lambda *_: looked.append(1))
    model.alignment.resampler.register_forward_hook(lambda *_: looked.append(1))
    for number, everyone in ((1, [*words, *picture]), (0, words)):
        looked.clear()
        instruct(model, collator.instructions(words, everyone))
        assert len(looked) == number


def one_sided(folder: Path) -> Path:
    """Samples of which the two processes of a run get different kinds: one sees what the other does not."""
    folder.mkdir()
    samples = [
        Sample(
            f"{number}-{row}",
            one.task,
            one.kind,
            one.instruction,
            one.pose_aa,
            one.target_aa,
            one.image,
            one.reply,
        )
        for number in range(4)
        for row, (one,) in enumerate(ROWS.values())
    ]
    write_shard(folder / shard_name(0), samples)
    write_index(folder, {}, [len(samples)])
    return folder


def mixed(tmp_path: Path, stage3: dict[str, Any]) -> dict[str, Any]:
    data = {"sources": {"mixed": {"path": str(one_sided(tmp_path / "mixed"))}}, "bucket_batches": 1}
    return {
        **stage3, "data": {**data, "validation": str(tmp_path / "mixed")}, "losses": LOSSES,
        "trainable": {"embeddings": "special", "vision_projector": True}, "optimiser": {"learning_rate": 3e-4},
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_two_processes_with_different_kinds_of_rows_learn_as_one(
    tmp_path: Path, stage3: dict[str, Any], zero: int
) -> None:
    values = mixed(tmp_path, stage3)
    one = launch(tmp_path, values, "one", 1, "run.micro_batch=2", "run.steps=8")
    two = launch(tmp_path, values, "two", 2, "run.micro_batch=1", "run.steps=8", f"run.zero={zero}")
    learnt_alike(one, two, steps=8, rel=2e-4)


@pytest.mark.slow
def test_two_processes_with_adapters_and_checkpointing_learn_as_one_and_grow_no_memory(
    tmp_path: Path, stage3: dict[str, Any]
) -> None:
    values = mixed(tmp_path, stage3)
    values["trainable"] = {
        "language_model": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.0}, "embeddings": "all",
        "vision_projector": True, "pose_encoder": False,
    }  # fmt: skip
    changes = ("run.gradient_checkpointing=true", "run.steps=60", "run.checkpoint_steps=60")
    one = launch(tmp_path, values, "one", 1, *changes, "run.micro_batch=2")
    two = launch(tmp_path, values, "two", 2, *changes, "run.micro_batch=1", "run.zero=3")
    learnt_alike(one, two, steps=8, rel=5e-4)
    memory = {
        line["step"]: line["memory_gb"]
        for line in read_metrics(tmp_path / "two" / "metrics.jsonl")
        if line["split"] == "train"
    }
    assert memory[59] < 1.02 * memory[20] + 0.01
