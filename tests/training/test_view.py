# SPDX-License-Identifier: Apache-2.0
"""Words about the camera, taught to a model beside its weights: all else stays as it was, and both engines agree."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from backend.engines.onnx import OnnxEngine
from backend.engines.torch import TorchEngine
from backend.model.llava import load_whole
from backend.model.text_head import TextHead
from backend.prompt import VERBAL_ANSWERS, VIEW_ANSWER, Prompter
from backend.prompt.prompter import NO_PLACE
from backend.query import Query
from blender_addon.contract.messages import Turn, View
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from tests.training.conftest import copied_with, weights_added
from tests.training.test_variants import plain as plain
from training.data.build import write_index
from training.data.patterns.viewing import varied, view_patterns
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.text_heads import instructions
from training.view import KeptStates, give_view, main, sentences

pytestmark = pytest.mark.slow

ENGINES = [OnnxEngine, TorchEngine]
POSE = np.random.default_rng(0).normal(0, 0.3, (24, 3)).astype(np.float32)
VIEW = View(0.8, 0.3)
QUERIES = [Query("adjust", "raise the left arm", POSE), Query("adjust", "right knee", 2 * POSE)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard of the source ``view``, in which everything about the camera turns the same arm."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "view").mkdir()
    target = POSE.copy()
    target[16] += 0.7
    rows = [
        Sample(str(row), "adjust", "view.turns", "raise the left arm", POSE, target, view=VIEW)
        for row in range(64)
    ]
    write_shard(folder / "view" / shard_name(0), rows)
    write_index(folder / "view", {}, [len(rows)])
    return folder


@pytest.fixture(scope="module")
def seeing(plain: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, taught for a moment."""
    folder = tmp_path_factory.mktemp("seeing") / "model"
    lines = list(give_view(plain, folder, data, seconds=0.5, count=48, steps=4))
    assert lines[-1] == f"wrote {folder}"
    return folder


def test_the_weights_that_were_there_stay_byte_for_byte(plain: Path, seeing: Path) -> None:
    assert weights_added(plain, seeing) == {"view.safetensors"}


@pytest.mark.parametrize("engine", ENGINES)
def test_other_words_are_answered_as_before_with_and_without_a_view(
    engine: type,
    plain: Path,
    seeing: Path,
    tmp_path: Path,
) -> None:
    before = engine.load(plain, threads=1).answer(QUERIES)
    now = engine.load(copied_with(seeing, tmp_path / "model", view_threshold=1.1), threads=1)
    for queries in (QUERIES, [replace(query, view=VIEW) for query in QUERIES]):
        for one, other in zip(before, now.answer(queries), strict=True):
            np.testing.assert_array_equal(one.pose_aa, other.pose_aa)


def test_words_about_the_camera_are_answered_by_other_weights_alike_in_both_engines(
    plain: Path,
    seeing: Path,
    tmp_path: Path,
) -> None:
    folder = copied_with(seeing, tmp_path / "model", view_threshold=0.0)
    small, large = (engine.load(folder, threads=1) for engine in ENGINES)
    told = [replace(query, view=VIEW) for query in QUERIES]
    own = OnnxEngine.load(plain, threads=1).answer(QUERIES)
    for one, other, before in zip(small.answer(told), large.answer(told), own, strict=True):
        assert geodesic_degrees(*map(axis_angle_to_matrix, (one.pose_aa, other.pose_aa))).max() < 0.1
        assert not np.array_equal(one.pose_aa, before.pose_aa)
    # Who does not say where the camera is is asked for it.
    assert [answer.text for answer in small.answer(QUERIES)] == [VERBAL_ANSWERS[VIEW_ANSWER]] * 2


@pytest.mark.parametrize("name", ["view.onnx", "view.safetensors"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_that_is_missing_or_damaged_is_said(
    name: str, is_there: bool, seeing: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(seeing, folder)
    content = bytearray((folder / name).read_bytes())
    (folder / name).unlink()
    if is_there:
        content[-9] ^= 255
        (folder / name).write_bytes(bytes(content))
    with pytest.raises((ValueError, FileNotFoundError), match=rf"{name} is (damaged|missing).*again"):
        OnnxEngine.load(folder, threads=1)


def test_the_graph_of_the_camera_is_made_at_the_first_question_about_it(seeing: Path, tmp_path: Path) -> None:
    engine = OnnxEngine.load(copied_with(seeing, tmp_path / "model", view_threshold=0.0), threads=1)
    assert "_in_view" not in vars(engine)
    engine.answer([replace(QUERIES[0], view=VIEW)])
    assert "_in_view" in vars(engine)


def test_what_is_learnt_lowers_the_error_and_goes_on_where_it_stopped(
    plain: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    keep = tmp_path / "kept.pt"
    for seconds in (0.3, 0.6):
        list(give_view(plain, tmp_path / "model", data, seconds=seconds, keep=keep, count=16, steps=1))
        held = torch.load(keep)
        assert held["spent"] >= seconds
    model, _ = load_whole(tmp_path / "model", dtype=torch.float32)
    assert model.view is not None
    for name, weight in model.view.weights.named_parameters():
        largest = held["weights"][name].abs().max()
        assert (weight - held["weights"][name]).abs().max() <= 0.01 * largest  # int8 and float16


def test_what_was_kept_beside_other_weights_is_no_beginning(plain: Path, data: Path, tmp_path: Path) -> None:
    keep, other = tmp_path / "kept.pt", tmp_path / "other"
    list(give_view(plain, tmp_path / "model", data, seconds=0.1, keep=keep, count=16, steps=1))
    before = keep.read_bytes()
    shutil.copytree(plain, other)
    file = other / "model-00001-of-00001.safetensors"
    held = load_file(file)
    held["pose_decoder.queries"] += 0.1
    save_file(held, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="other weights than the model's: delete it"):
        next(give_view(other, tmp_path / "late", data, seconds=1, keep=keep, count=16, steps=1))
    assert keep.read_bytes() == before


def test_a_head_learns_which_texts_are_tied_to_the_camera() -> None:
    torch.manual_seed(0)
    head = TextHead(16, 48, 48)
    states, is_word = torch.randn(64, 7, 16), torch.ones(64, 7, dtype=torch.bool)
    is_word[:, 5:] = False
    tied = torch.arange(64) % 2 == 0
    states[tied, 3] = 2.0  # one word says it
    states[:, 5:] = 50.0  # padding says nothing
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(head(states, is_word), tied.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(head(states, is_word) > 0, tied)
    alone = head(states[:1, :5], is_word[:1, :5])
    torch.testing.assert_close(alone, head(states[:1], is_word[:1]))


def test_kept_states_are_the_encoders_own(plain: Path) -> None:
    model, _ = load_whole(plain, dtype=torch.float32)
    encoder = model.model.text_encoder
    assert encoder is not None
    texts = torch.tensor([[2, 8, 9, 3, 0], [2, 11, 3, 0, 0], [2, 8, 9, 3, 0]])
    kept = KeptStates(encoder)
    is_word = texts != encoder.padding
    with torch.no_grad():
        own, first, again = encoder(texts), kept(texts), kept(texts)
    assert len(kept.kept) == 2
    torch.testing.assert_close(first[is_word], own[is_word], rtol=0.02, atol=0.02)
    torch.testing.assert_close(first, again)


def test_a_samples_own_instruction_is_the_last_of_its_row(plain: Path) -> None:
    prompter = Prompter.load(plain)
    prompter._turn_template = "adjust : {instruction} <pose> "
    arm, knee = "raise the left arm", "right knee"
    prompts = prompter.encode(
        [
            Query("adjust", knee, POSE, history=(Turn(arm, POSE),)),
            Query("adjust", arm, POSE),
            Query("adjust", arm, POSE, history=(Turn(knee, POSE),)),
            Query("adjust", "", POSE),
        ]
    )
    assert prompts.asked().tolist() == [1, 0, 0, NO_PLACE]


def test_sentences_are_of_the_part_that_is_wished_for() -> None:
    rng = np.random.default_rng(0)
    about = sentences(rng, 40, about_camera=True, held_out=True)
    assert len(set(about)) > 20
    assert len(sentences(rng, 10, about_camera=False, held_out=False)) == 10


def test_words_are_changed_for_others_that_mean_the_same() -> None:
    rng = np.random.default_rng(0)
    text = "turn your head to the camera"
    made = {varied(rng, text) for _ in range(200)}
    assert text in made
    assert len(made) > 5
    assert all(one.endswith("to the camera") for one in made)


def test_no_sentence_about_the_camera_lacks_words_to_tell_it_by() -> None:
    """Each pattern has sentences to train on and several ways of asking."""
    assert all(len(pattern.sentences) >= 2 for pattern in view_patterns())
    assert sum(bool(pattern.usable(held_out=True)) for pattern in view_patterns()) > 100


def test_a_folder_without_the_source_is_said(
    plain: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [str(plain), str(tmp_path / "model"), "--data", str(tmp_path)]
    assert main(arguments) == 1
    assert "posellava data build view" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--minutes", "0"])
    assert "0 is not above 0" in capsys.readouterr().err


def test_folders_that_hold_nothing_lend_no_other_sentences(tmp_path: Path) -> None:
    for name, rows in {
        "actions": [],
        "posefix": [Sample("0", "adjust", "x", "sit down", POSE, POSE)],
    }.items():
        (tmp_path / name).mkdir()
        if rows:
            write_shard(tmp_path / name / shard_name(0), rows)
        write_index(tmp_path / name, {}, [len(rows)])
    assert instructions(tmp_path, 4, np.random.default_rng(0)) == ["sit down"]


def test_steps_end_what_is_learnt_whatever_the_time_and_the_same_with_the_same_seed(
    plain: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        list(give_view(plain, tmp_path / name, data, seconds=3600, weight_steps=3, count=48, steps=4))
    assert (tmp_path / "one/view.safetensors").read_bytes() == (
        tmp_path / "other/view.safetensors"
    ).read_bytes()


def test_a_folder_without_a_sample_to_learn_from_is_said_and_waited_for_by_nobody(
    plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "view").mkdir()
    asked = Sample("0", "adjust", "view.turns", "turn to the camera", POSE, reply="Where is the camera?")
    write_shard(tmp_path / "view" / shard_name(0), [asked] * 8)
    write_index(tmp_path / "view", {}, [8])
    assert main([str(plain), str(tmp_path / "model"), "--data", str(tmp_path)]) == 1
    assert "no sample of" in capsys.readouterr().err
