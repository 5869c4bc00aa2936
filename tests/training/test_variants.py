# SPDX-License-Identifier: Apache-2.0
"""Other answers beside a model's own: what they are worth, and that the model's own stays as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.engines.onnx import OnnxEngine
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaForConditionalGeneration
from backend.model.graphs import write_graphs
from backend.model.storage import pack
from backend.query import Query
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from tests.backend.conftest import TINY_TEXT_ENCODER, save_tiny, tiny_config
from tests.training.conftest import weights_added
from training.data.build import run as build_shards
from training.data.build import write_index
from training.data.registry import Build
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.variants import OTHERS, Thoughts, draw, fit, give_variants

pytestmark = pytest.mark.slow

POSE = np.random.default_rng(0).normal(0, 0.3, (24, 3)).astype(np.float32)
QUERIES = [
    Query("adjust", "raise the left arm", POSE, variants=4),
    Query("adjust", "turn around and look up", 2 * POSE, variants=4),
    Query("generate", "a person runs", variants=4),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as it ships, without others to offer."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("plain") / "model"
    model = PoseLlavaForConditionalGeneration(tiny_config(**TINY_TEXT_ENCODER))
    with torch.no_grad():
        for parameter in model.parameters():  # so that gates are open and shut
            parameter.add_(0.05 * torch.randn_like(parameter))
    templates = {
        "adjust": [{"question": "adjust : {instruction} <pose>", "answer": "<POSE>"}],
        "generate": [{"question": "generate : {instruction} <pose>", "answer": "<POSE>"}],
    }
    save_tiny(model.half(), templates, folder, reads_texts=True)
    pack(folder)
    write_graphs(folder)
    return folder


@pytest.fixture(scope="module")
def offering(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, given others in a moment of training."""
    folder = tmp_path_factory.mktemp("offering")
    build = Build("descriptions", folder / "data" / "descriptions", 32, shard_size=32)
    for _ in build_shards(build, workers=1):
        pass
    for _ in give_variants(plain, folder / "model", folder / "data", steps=4, count=32, seed=0):
        pass
    return folder / "model"


def test_samples_are_drawn_from_all_shards_and_have_a_pose_to_answer_with(tmp_path: Path) -> None:
    folder = tmp_path / "captions"
    folder.mkdir()
    for number in range(4):
        rows = [
            Sample(f"{number}-{row}", "generate", "standing", "stand", target_aa=None if row == 7 else POSE)
            for row in range(8)
        ]
        write_shard(folder / shard_name(number), rows)
    write_index(folder, {}, [8] * 4)
    samples = draw(tmp_path, 16, seed=0)
    assert len({sample.id for sample in samples}) == 16
    assert {sample.id[0] for sample in samples} == set("0123")
    assert all(sample.target_aa is not None for sample in samples)


def test_the_weights_that_were_there_stay_byte_for_byte(plain: Path, offering: Path) -> None:
    assert weights_added(plain, offering) == {"variants.safetensors"}


@pytest.mark.parametrize("engine", [OnnxEngine, TorchEngine])
def test_a_models_own_answers_stay_to_the_bit(engine: type, plain: Path, offering: Path) -> None:
    before = engine.load(plain, threads=1).answer([replace(one, variants=1) for one in QUERIES])
    now = engine.load(offering, threads=1)
    for queries in (QUERIES, [replace(one, variants=1) for one in QUERIES]):
        for one, other in zip(before, now.answer(queries), strict=True):
            np.testing.assert_array_equal(one.pose_aa, other.pose_aa)


def test_both_engines_offer_alike_and_only_what_is_wished_for(offering: Path) -> None:
    small, large = (engine.load(offering, threads=1) for engine in (OnnxEngine, TorchEngine))
    for one, other in zip(small.answer(QUERIES), large.answer(QUERIES), strict=True):
        assert one.variants_aa is not None
        assert other.variants_aa is not None
        assert 1 < len(one.variants_aa) <= 1 + OTHERS
        np.testing.assert_array_equal(one.variants_aa[0], one.pose_aa)
        both = (axis_angle_to_matrix(answer.variants_aa) for answer in (one, other))
        assert geodesic_degrees(*both).max() < 0.1
    two = small.answer([replace(QUERIES[2], variants=2)])[0]
    assert two.variants_aa is not None
    assert len(two.variants_aa) == 2
    assert small.answer([replace(QUERIES[2], variants=1)])[0].variants_aa is None


def test_what_may_not_move_stays_in_every_answer(offering: Path) -> None:
    query = replace(QUERIES[0], parts=frozenset({"left_arm"}))
    [answer] = OnnxEngine.load(offering, threads=1).answer([query])
    assert answer.variants_aa is not None
    moved = (answer.variants_aa != POSE).any(axis=(0, 2))
    assert set(np.flatnonzero(moved)) <= {13, 16, 18, 20, 22}


def test_closed_gates_stay_closed_in_every_answer() -> None:
    torch.manual_seed(0)
    config = tiny_config(pose_variants=2)
    model = PoseLlavaForConditionalGeneration(config).eval()
    assert model.variants is not None
    matrices = torch.from_numpy(
        axis_angle_to_matrix(np.random.default_rng(1).normal(0, 1, (3, 24, 3)))
    ).float()
    moves = torch.rand(3, 24) > 0.5
    others, _ = model.variants(
        torch.randn(3, 24, config.pose_decoder_hidden_size),
        torch.randn(3, config.text_config.hidden_size),
        matrices,
        moves,
    )
    for number in range(2):
        assert torch.equal(others[:, number][~moves], matrices[~moves])
        assert not torch.equal(others[:, number][moves], matrices[moves])


def test_two_ways_to_do_it_are_both_learnt() -> None:
    """Half of the true poses have the one arm up and half the other: the mean has neither, the others have both."""
    torch.manual_seed(0)
    config = tiny_config(pose_variants=2)
    variants = PoseLlavaForConditionalGeneration(config).variants
    assert variants is not None
    count = 256
    targets_aa = np.zeros((count, 24, 3), dtype=np.float32)
    targets_aa[::2, 16, 2], targets_aa[1::2, 17, 2] = 1.2, -1.2
    still = torch.eye(3).expand(count, 24, 3, 3).contiguous()
    known = Thoughts(
        torch.zeros(count, 24, config.pose_decoder_hidden_size).half(),
        torch.zeros(count, config.text_config.hidden_size).half(),
        still,
        torch.ones(count, 24, dtype=torch.bool),
        torch.from_numpy(axis_angle_to_matrix(targets_aa)).float(),
    )
    *_, (step, error) = fit(variants, known, steps=120, seed=0)
    assert step == 120
    others, _ = variants(known.thoughts[:1].float(), known.state[:1].float(), still[:1], known.moves[:1])
    turned = geodesic_degrees(others[0].detach().numpy(), np.eye(3))
    assert {int(one[[16, 17]].argmax()) for one in turned} == {0, 1}
    assert error < 20.0  # the mean of both is off by 35
