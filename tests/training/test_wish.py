# SPDX-License-Identifier: Apache-2.0
"""A head that hears when nothing is asked, taught to a model beside its weights: poses stay as they were, both engines
agree, and only an edit without turns before it is answered by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from backend.engines.onnx import OnnxEngine
from backend.engines.torch import TorchEngine
from backend.model.llava import load_whole
from backend.prompt import VERBAL_ANSWERS, VIEW_ANSWER, Prompter
from backend.query import Query
from blender_addon.contract.messages import Turn
from tests.training.conftest import copied_with, weights_added
from tests.training.test_variants import plain as plain
from training.data.build import write_index
from training.data.patterns.loading import Pattern, default_patterns
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.text_heads import ReadTexts, chances, fit, instructions, said
from training.wish import NOTHING, give_wish, main, sentences

pytestmark = pytest.mark.slow

ENGINES = [OnnxEngine, TorchEngine]
POSE = np.random.default_rng(0).normal(0, 0.3, (24, 3)).astype(np.float32)
EDIT = Query("adjust", "raise the left arm", POSE)
IN_WORDS = [text for name, text in VERBAL_ANSWERS.items() if name != VIEW_ANSWER]


@pytest.fixture(scope="module")
def telling(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, which may answer in words, and as good as never does so."""
    folder = tmp_path_factory.mktemp("telling") / "model"
    return copied_with(plain, folder, verbal_answers=VERBAL_ANSWERS, pose_threshold=1e-12)


@pytest.fixture(scope="module")
def hearing(telling: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, taught for a moment, without further data."""
    folder = tmp_path_factory.mktemp("hearing")
    lines = list(give_wish(telling, folder / "model", folder, count=48, steps=4, held_out=48))
    assert lines[-1] == f"wrote {folder / 'model'}"
    return folder / "model"


def test_a_model_has_none_unless_it_is_taught_one(plain: Path) -> None:
    model, processor = load_whole(plain, dtype=torch.float32)
    assert model.config.wish_width == 0
    assert model.wish is None
    assert processor.wish_threshold == Prompter.load(plain).wish_threshold == 0.5


def test_the_weights_that_were_there_stay_byte_for_byte(telling: Path, hearing: Path) -> None:
    assert weights_added(telling, hearing) == {"wish.safetensors"}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_it_does_not_hear_is_answered_as_before_to_the_bit(
    engine: type, telling: Path, hearing: Path, tmp_path: Path
) -> None:
    [before] = engine.load(telling, threads=1).answer([EDIT])
    deaf = copied_with(hearing, tmp_path / "model", wish_threshold=1.1)
    [now] = engine.load(deaf, threads=1).answer([EDIT])
    assert before.pose_aa is not None
    np.testing.assert_array_equal(before.pose_aa, now.pose_aa)
    assert before.text == now.text


@pytest.mark.parametrize("engine", ENGINES)
def test_what_it_hears_moves_nothing_and_is_answered_in_words_that_ask_for_no_view(
    engine: type, hearing: Path, tmp_path: Path
) -> None:
    folder = copied_with(hearing, tmp_path / "model", wish_threshold=0.0)
    [answer] = engine.load(folder, threads=1).answer([EDIT])
    assert answer.pose_aa is None
    assert answer.text in IN_WORDS


@pytest.mark.parametrize("engine", ENGINES)
def test_turns_other_tasks_and_no_words_do_not_ask_it(engine: type, hearing: Path, tmp_path: Path) -> None:
    folder = copied_with(hearing, tmp_path / "model", wish_threshold=0.0)
    others = [
        replace(EDIT, history=(Turn("right knee", POSE),)),
        Query("generate", "raise the left arm"),
        replace(EDIT, instruction=""),
    ]
    for answer in engine.load(folder, threads=1).answer(others):
        assert answer.pose_aa is not None


def test_it_is_not_asked_as_the_camera_sees_it(hearing: Path) -> None:
    prompter = Prompter.load(hearing)
    logits = [9.0] + [0.0] * len(VERBAL_ANSWERS)
    assert prompter.in_words("adjust", logits, wish_logit=9.0) in IN_WORDS
    assert prompter.in_words("adjust", logits, wish_logit=9.0, in_view=True) is None
    assert prompter.in_words("adjust", logits, wish_logit=-9.0) is None


def test_both_engines_are_as_sure(hearing: Path) -> None:
    large = TorchEngine.load(hearing, threads=1)
    queries = [
        EDIT,
        replace(EDIT, instruction="knee"),
        replace(EDIT, instruction="what is the time in paris?"),
    ]
    prompts = large.processor.prompter.encode(queries)
    inputs = large.processor.inputs_of(prompts)
    inputs.pop("headings")
    with torch.inference_mode():
        wanted = large.model(**inputs, logits_to_keep=None, use_cache=False).wish_logits
    small = OnnxEngine.load(hearing, threads=1)
    graph = small._answer
    assert isinstance(graph, onnxruntime.InferenceSession)
    told = {
        **small._places(prompts),
        "poses": prompts.poses,
        "choices": np.array([small.prompter.first_ids("adjust")] * 3),
    }
    [got] = graph.run(["wish_logits"], {given.name: told[given.name] for given in graph.get_inputs()})
    assert np.ptp(got) > 0
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4)


def test_a_head_learns_from_the_frozen_encoders_states_what_is_so(plain: Path) -> None:
    torch.manual_seed(0)
    model, processor = load_whole(plain, {"wish_width": 8}, dtype=torch.float32)
    model.eval().requires_grad_(False)
    assert model.wish is not None
    so = ReadTexts(model, processor, ["estimate", "estimate the knee", "estimate 30 degrees"])
    not_so = ReadTexts(model, processor, ["raise the left arm", "raise the knee", "right arm by 30 degrees"])
    fit(model.wish, so, not_so, shares=(6, 6), steps=150, rng=np.random.default_rng(0))
    assert chances(model.wish, so).min() > 0.5 > chances(model.wish, not_so).max()
    assert not any(weight.requires_grad for weight in model.parameters())


def test_the_same_seed_ends_with_the_same_weights(telling: Path, hearing: Path, tmp_path: Path) -> None:
    list(give_wish(telling, tmp_path / "again", tmp_path, count=48, steps=4, held_out=48))
    for name in ("wish.safetensors", "processor_config.json", "answer.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (hearing / name).read_bytes()


@pytest.mark.parametrize("wishes", [False, True])
@pytest.mark.parametrize("held_out", [False, True])
def test_sentences_are_wishes_or_not_and_of_the_part_that_is_wished_for(
    monkeypatch: pytest.MonkeyPatch, wishes: bool, held_out: bool
) -> None:
    asked: list[Pattern] = []

    def noted(rng: np.random.Generator, pattern: Pattern, of_held_out: bool) -> tuple[str, bool]:
        assert of_held_out is held_out
        asked.append(pattern)
        return said(rng, pattern, of_held_out)

    monkeypatch.setattr("training.wish.said", noted)
    made = sentences(np.random.default_rng(0), 60, wishes=wishes, held_out=held_out)
    assert len(set(made)) > 40
    assert len(asked) == 60
    assert all(one.reply is None if wishes else one.reply in NOTHING for one in asked)
    if held_out:  # what the head is asked about
        assert all(one.first is None and one.task != "generate" for one in asked)
    kinds = {one.reply for one in default_patterns() if one.usable(held_out=True)}
    assert kinds >= set(NOTHING)


def test_a_sentence_is_of_the_part_that_is_wished_for() -> None:
    pattern = next(one for one in default_patterns() if len({text.held_out for text in one.sentences}) == 2)
    for held_out in (False, True):
        own = tuple(text for text in pattern.sentences if text.held_out is held_out)
        alone = replace(pattern, sentences=own)
        made, expected = (
            {said(np.random.default_rng(seed), one, held_out) for seed in range(20)}
            for one in (pattern, alone)
        )
        assert made == expected


def test_of_other_sources_only_what_is_answered_with_a_pose_is_a_wish(tmp_path: Path) -> None:
    (tmp_path / "posefix").mkdir()
    rows = [
        Sample("0", "adjust", "x", "sit down", POSE, POSE),
        Sample("1", "adjust", "x", "sing", POSE, reply=VERBAL_ANSWERS["impossible"]),
    ]
    write_shard(tmp_path / "posefix" / shard_name(0), rows)
    write_index(tmp_path / "posefix", {}, [len(rows)])
    rng = np.random.default_rng(0)
    assert instructions(tmp_path, 8, rng, with_a_pose=True) == ["sit down"]
    assert sorted(instructions(tmp_path, 8, rng)) == ["sing", "sit down"]


def test_what_it_cannot_be_taught_with_is_said(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(plain), str(tmp_path / "model"), "--data", str(tmp_path)]) == 1
    assert "verbal_answers" in capsys.readouterr().err
    assert main([str(plain), str(tmp_path / "model"), "--data", str(tmp_path / "dta")]) == 1
    assert "no folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(plain), str(tmp_path / "model"), "--data", str(tmp_path), "--sentences", "0"])
    assert "0 is not" in capsys.readouterr().err
