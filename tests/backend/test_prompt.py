# SPDX-License-Identifier: Apache-2.0
"""What a model reads: one prompt for every engine, without torch, and without special tokens from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, split_heading
from backend.engines import SHIPPED_MODEL
from backend.model import PoseLlavaProcessor
from backend.prompt import COMPACT_VIEW, NUM_POSE_TOKENS, VERBAL_ANSWERS, VIEW_ANSWER, Prompter
from backend.query import Query
from blender_addon.contract.messages import Turn, View

ROOT = Path(__file__).parents[2]
POSES = np.random.default_rng(0).normal(0, 0.9, (6, 24, 3)).astype(np.float32)
IMAGE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 60, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def prompter() -> Prompter:
    return Prompter.load(SHIPPED_MODEL)


@pytest.mark.parametrize(
    "typed",
    [
        "raise <pose> the arm",
        "raise <<<pose>>> the arm",
        "raise <<<POSE>>> the arm",
        "raise <<seen_pose>> the arm",
        "raise <seen_<pose>pose> the arm",
        "raise <<image>image> </<s>s> <<pad>> the arm",
        "raise <psoe> the arm",
        "<" * 500 + "pose" + ">" * 500,
        "<POSE><POSE>" * 40,
    ],
)
def test_no_special_token_survives_in_what_a_user_types(prompter: Prompter, typed: str) -> None:
    batch = prompter.encode([Query("adjust", typed, POSES[0])])
    ids = batch.input_ids[0].tolist()
    of = prompter.tokenizer.id_of
    counts = {
        token: ids.count(of(token)) for token in ("<s>", "</s>", "<pad>", "<pose>", "<image>", "<POSE>")
    }
    assert counts == {
        "<s>": 1, "</s>": 0, "<pad>": 0, "<pose>": NUM_POSE_TOKENS, "<image>": 0, "<POSE>": 1
    }  # fmt: skip
    assert len(batch.poses) == 1


def test_angle_brackets_of_plain_text_stay(prompter: Prompter) -> None:
    assert prompter.plain("a knee angle > 90 and < 100") == "a knee angle > 90 and < 100"


def test_a_long_instruction_is_cut_between_tokens(prompter: Prompter) -> None:
    cut = prompter.plain("raise the left arm " * 200)
    assert cut.startswith("raise the left arm raise")
    assert len(prompter.tokenizer.ids(cut)) == 160


def test_the_processor_reads_what_the_prompter_reads(prompter: Prompter) -> None:
    processor = PoseLlavaProcessor.from_pretrained(SHIPPED_MODEL)
    queries = [
        Query("adjust", "raies the lfet arm", POSES[0]),
        Query("generate", "a person who squats"),
        Query("estimate", "", image=IMAGE),
        Query("adjust", "", POSES[1]),
    ]
    theirs, own = processor.encode(queries, with_labels=True), prompter.encode(queries, closed=True)
    for name in ("input_ids", "attention_mask", "poses", "headings", "pose_images"):
        np.testing.assert_array_equal(theirs[name].numpy(), getattr(own, name))
    labels = theirs["labels"].numpy()
    for row, at in enumerate(own.answer_at):
        assert (labels[row, :at] == -100).all()
        # The first token chooses between a pose and words; the rest is fixed.
        assert labels[row, at] == prompter.tokenizer.id_of("<POSE>")
        assert (labels[row, at + 1 :] == -100).all()


def test_poses_enter_without_their_heading(prompter: Prompter) -> None:
    batch = prompter.encode([Query("adjust", "raise the arm", pose) for pose in POSES])
    yaw, upright = split_heading(axis_angle_to_matrix(torch.from_numpy(POSES)))
    np.testing.assert_allclose(batch.headings, yaw.numpy(), atol=1e-5)
    np.testing.assert_allclose(batch.poses, matrix_to_rot6d(upright).numpy(), atol=1e-5)


def test_with_a_view_poses_enter_as_the_camera_sees_them(prompter: Prompter) -> None:
    seeing = Prompter(prompter.tokenizer, prompter.templates, turn_template="earlier: {instruction} <pose> ",
                      view_template=COMPACT_VIEW)  # fmt: skip
    yaw = 0.7
    query = Query("adjust", "face us", POSES[0], history=(Turn("raise the arm", POSES[1]),))
    plain = seeing.encode([query, query])
    seen = seeing.encode([query, query], views=[View(yaw, np.radians(22)), None])
    # The one without a view is as it was, the other has the camera along +z: what lay at the body's yaw.
    np.testing.assert_array_equal(seen.poses[2:], plain.poses[2:])
    np.testing.assert_allclose(seen.headings - plain.headings, [yaw, 0.0], atol=1e-6)
    sin, cos = np.sin(-yaw), np.cos(-yaw)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    for number in (0, 1):  # the turn before, and the pose itself
        columns = plain.poses[number, 0].reshape(2, 3)
        np.testing.assert_allclose(seen.poses[number, 0].reshape(2, 3), columns @ turn.T, atol=1e-6)
        np.testing.assert_array_equal(seen.poses[number, 1:], plain.poses[number, 1:])
    words = prompter.tokenizer.ids("camera 20 up:")
    assert seen.input_ids[0, 1 : 1 + len(words)].tolist() == words


def test_a_model_without_a_view_template_says_so(prompter: Prompter) -> None:
    blind = Prompter(prompter.tokenizer, prompter.templates)
    with pytest.raises(ValueError, match="no view_template"):
        blind.encode([Query("adjust", "face us", POSES[0])], views=[View(0.0, 0.0)])
    assert blind.in_words("adjust", [9.0, 0.0]) is None


def test_the_view_is_asked_for_when_that_is_likelier_than_all_else(prompter: Prompter) -> None:
    seeing = Prompter(
        prompter.tokenizer, prompter.templates, verbal_answers=VERBAL_ANSWERS, view_template=COMPACT_VIEW
    )
    at = 1 + list(VERBAL_ANSWERS).index(VIEW_ANSWER)
    logits = np.zeros(1 + len(VERBAL_ANSWERS))
    logits[0] = 2.0
    assert seeing.in_words("adjust", logits) is None
    logits[at] = 4.5
    words = seeing.in_words("adjust", logits)
    assert words == VERBAL_ANSWERS[VIEW_ANSWER]
    assert seeing.asks_for_view(words)
    # Told where the camera is, it does not ask for that again.
    assert seeing.in_words("adjust", logits, in_view=True) is None
    assert seeing.in_words("generate", logits) is None


def test_no_two_answers_begin_with_the_same_token(prompter: Prompter) -> None:
    every = Prompter(prompter.tokenizer, prompter.templates, verbal_answers=VERBAL_ANSWERS)
    first = every.first_ids("adjust")
    assert len(set(first)) == len(first) == 1 + len(VERBAL_ANSWERS)


def test_a_task_without_a_pose_starts_from_the_standing_one_and_a_seen_one_names_its_image(
    prompter: Prompter,
) -> None:
    batch = prompter.encode(
        [
            Query("generate", "a person who sits"),
            Query("estimate", "", image=IMAGE),
            Query("estimate", "", image=IMAGE),
        ]
    )
    assert batch.pose_images.tolist() == [-1, 0, 1]
    assert len(batch.images) == 2
    np.testing.assert_array_equal(batch.poses[0], batch.poses[1])


def test_frames_of_one_request_share_the_text_of_their_instruction(prompter: Prompter) -> None:
    same, other = "raise the left arm", "bend the knees"
    batch = prompter.encode([Query("adjust", words, POSES[0]) for words in (same, other, same, same)])
    assert len(batch.texts) == 2
    np.testing.assert_array_equal(batch.text_places[0], batch.text_places[2])
    named = batch.texts.reshape(-1)[batch.text_places]
    inside = batch.text_places >= 0
    np.testing.assert_array_equal(named[inside], batch.input_ids[inside])


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (Query("dance", "now"), "unknown task 'dance'; this model knows adjust"),
        (Query("estimate", ""), "'estimate' needs an image"),
    ],
)
def test_what_cannot_be_asked_is_said(prompter: Prompter, query: Query, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        prompter.encode([query])


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_folder_with_a_damaged_or_missing_file_says_what_to_do(name: str, tmp_path: Path) -> None:
    for file in ("processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED_MODEL / file, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"damaged .*: copy or download the model again"):
        Prompter.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match="copy or download the model again"):
        Prompter.load(tmp_path)


def test_prompts_are_made_without_torch_and_transformers() -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from backend.prompt import Prompter\n"
        "from backend.query import Query\n"
        f"from pathlib import Path; prompter = Prompter.load(Path({str(SHIPPED_MODEL)!r}))\n"
        "print(prompter.encode([Query('generate', 'a person who sits')]).input_ids.shape)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(1, ")
