# SPDX-License-Identifier: Apache-2.0
"""Answers in own words: the same from both engines, token by token, with poses where the words have them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.engines.onnx import OnnxEngine
from backend.engines.torch import TorchEngine
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.graphs import write_graphs
from backend.model.llava import load_whole, paper_processor
from backend.model.speech import TaughtVoice
from backend.prompt import COMPACT_SPEECH, COMPACT_TEMPLATES, POSE_OUTPUT, PromptBatch, Prompter
from backend.prompt.speech import SPEECH_FILE, VOICE_FILE, Speech, read_speech, trunk_of
from backend.query import Query
from blender_addon.contract.messages import Turn
from blender_addon.contract.rotations import axis_angle_to_matrix, geodesic_degrees
from tests.backend.conftest import tiny_config, tiny_processor

pytestmark = pytest.mark.slow

CHAT = {"chat": [{"question": "{instruction}", "answer": ""}]}
TEMPLATES = {
    "adjust": [{"question": "adjust : {instruction} <pose>", "answer": "<POSE>"}],
    "describe": COMPACT_SPEECH["describe"][:2],
    **CHAT,
}
SAID = ("raise", "left", "arm", ".", "right", "knee")


def save_model(folder: Path, *, seed: int, text_encoder: bool = True) -> Path:
    """A tiny model with random weights, which says something or other."""
    torch.manual_seed(seed)
    encoder = {
        "text_encoder_layers": 1, "text_encoder_hidden_size": 16, "text_encoder_attention_heads": 2,
        "text_encoder_intermediate_size": 32,
    }  # fmt: skip
    config = tiny_config("residual", sees_patches=False, **(encoder if text_encoder else {}))
    model = PoseLlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    whole = tiny_processor()
    PoseLlavaProcessor(
        whole.image_processor,
        whole.tokenizer,
        TEMPLATES,
        patch_size=16,
        num_additional_image_tokens=1,
        reads_texts=text_encoder,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = save_model(tmp_path_factory.mktemp("speaking"), seed=1)
    write_graphs(made)
    return made


@pytest.fixture(scope="module")
def onnx(folder: Path) -> OnnxEngine:
    return OnnxEngine.load(folder)


@pytest.fixture(scope="module")
def with_torch(folder: Path) -> TorchEngine:
    return TorchEngine.load(folder)


def a_pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (24, 3)).astype(np.float32)


def questions() -> list[Query]:
    answered = Turn("raise the arm", a_pose(5), "left <POSE> .", a_pose(6)[None])
    return [
        Query("describe", "", a_pose(0)),
        Query("adjust", "raise the left arm", a_pose(0)),
        Query("describe", "", a_pose(1), history=(Turn("", a_pose(2)),)),
        Query("describe", "", a_pose(3)),
        Query("chat", "raise the left knee"),
        Query("chat", "by 30 degrees", a_pose(4), history=(answered,)),
    ]


def test_a_model_that_starts_from_llava_converses() -> None:
    """In its own words, asked in the user's alone, beside the pose that is shown."""
    torch.manual_seed(8)
    plain, config = tiny_processor(), tiny_config("mlp")
    processor = paper_processor(plain.image_processor, plain.tokenizer, config)
    model = PoseLlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    engine = TorchEngine(model, processor, name="tiny")
    assert engine.tasks == ("adjust", "generate", "estimate", "chat")
    asked, answer = processor.prompter.prompt(Query("chat", "raise the left arm", a_pose(1)))
    assert (asked.count("<pose>"), answer) == (1, "")
    assert "raise the left arm" in asked
    [said] = engine.answer([Query("chat", "raise the left arm", a_pose(1))])
    assert said.text, "it says something or other"


def test_both_engines_say_the_same(onnx: OnnxEngine, with_torch: TorchEngine) -> None:
    ours, theirs = onnx.answer(questions()), with_torch.answer(questions())
    assert [answer.text for answer in ours] == [answer.text for answer in theirs]
    assert any(len(answer.text.split()) > 5 for answer in ours), "a model that says nothing shows nothing"
    for one, other in zip(ours, theirs, strict=True):
        assert (one.pose_aa is None) == (other.pose_aa is None)
        if one.pose_aa is not None and other.pose_aa is not None:
            turned = geodesic_degrees(axis_angle_to_matrix(one.pose_aa), axis_angle_to_matrix(other.pose_aa))
            assert turned.max() < 0.1


@pytest.mark.parametrize("engine", ["onnx", "with_torch"])
def test_questions_side_by_side_are_answered_as_each_by_itself(
    engine: str, request: pytest.FixtureRequest
) -> None:
    answerer = request.getfixturevalue(engine)
    together = answerer.answer(questions())
    assert [answer.text for answer in together] == [answerer.answer([one])[0].text for one in questions()]


def test_words_are_those_of_a_pass_over_everything_that_was_said(with_torch: TorchEngine) -> None:
    """The cache changes nothing: each token is the likeliest after all before it, read anew."""
    query = Query("chat", "raise the left knee", a_pose(0))
    text = with_torch.answer([query])[0].text
    processor, model = with_torch.processor, with_torch.model
    tokens, allowed = processor.prompter.may_say("chat")
    said: list[int] = []
    with torch.inference_mode():
        while len(said) < 12:
            inputs = processor.encode([query])
            for name in ("headings", "answer_at"):
                del inputs[name]
            inputs["input_ids"] = torch.cat(
                [inputs["input_ids"], torch.tensor([said], dtype=torch.long)], dim=1
            )
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            logits = model(**inputs, logits_to_keep=1).logits[0, -1].numpy()
            token = int(tokens[np.where(allowed, logits, -np.inf).argmax()])
            if token == processor.prompter.tokenizer.eos_id:
                break
            said.append(token)
    assert said
    assert text.startswith(processor.prompter.tokenizer.said(said).rstrip("."))


@pytest.mark.parametrize("engine", ["onnx", "with_torch"])
def test_who_listens_hears_every_word_and_may_stop_it(engine: str, request: pytest.FixtureRequest) -> None:
    answerer = request.getfixturevalue(engine)
    query = Query("chat", "raise the left knee", a_pose(0))
    (whole,) = answerer.answer([query])
    heard: list[str] = []

    def listen(place: int, words: str) -> bool:
        assert place == 1
        heard.append(words)
        # Asked between two words, an edit is answered, and the words go on.
        assert answerer.answer([Query("adjust", "raise the arm", a_pose(0))])[0].pose_aa is not None
        return True

    answers = answerer.answer([Query("adjust", "raise the arm", a_pose(0)), query], listen)
    assert answers[1].text == whole.text
    assert heard[-1] == whole.text
    assert all(later.startswith(earlier) for earlier, later in pairwise(heard))
    stopped = answerer.answer([query], lambda place, words: False)
    assert len(stopped[0].text) < len(whole.text)


class Scripted:
    """In the place of an engine: says the tokens it is told to, and remembers what it is asked to pose."""

    def __init__(self, tokens: list[int], size: int) -> None:
        self.tokens, self.size, self.posed = tokens, size, []

    def read(self, prompts: PromptBatch) -> tuple[np.ndarray, int]:
        return self._logits(0, len(prompts.input_ids)), 0

    def go_on(self, tokens: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        return self._logits(state + 1, len(tokens)), state + 1

    def poses(self, prompts: PromptBatch) -> np.ndarray:
        self.posed.append(prompts.input_ids[0].tolist())
        angle = 0.1 * len(self.posed)
        matrices = np.tile(np.eye(3), (24, 1, 1))
        matrices[16, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return matrices

    def _logits(self, place: int, rows: int) -> np.ndarray:
        logits = np.zeros((rows, self.size), np.float32)
        logits[:, self.tokens[place]] = 1.0
        return logits


def test_an_answer_may_have_several_poses_each_read_after_what_was_said_before_it(folder: Path) -> None:
    from backend.engines.speaking import speak

    prompter = Prompter.load(folder)
    tokenizer = prompter.tokenizer
    pose = tokenizer.id_of(POSE_OUTPUT)
    words = [*tokenizer.ids("left"), pose, *tokenizer.ids("right"), pose, tokenizer.eos_id]
    engine = Scripted(words, tokenizer.size)
    (answer,) = speak(prompter, [Query("chat", "raise the arm")], engine)
    assert answer.text == "Left <POSE> right <POSE>"
    assert answer.variants_aa is not None
    np.testing.assert_allclose(answer.variants_aa[:, 16, 2], [0.1, 0.2], atol=1e-6)
    np.testing.assert_array_equal(answer.pose_aa, answer.variants_aa[0])
    assert [row[-len(said) :] for row, said in zip(engine.posed, (words[:2], words[:4]), strict=True)] == [
        words[:2],
        words[:4],
    ]
    described = speak(
        prompter,
        [Query("describe", "", a_pose(0))],
        Scripted([words[0], pose, words[2]] * 60, tokenizer.size),
    )
    assert described[0].pose_aa is None, "a description has no pose, whatever the model would like to say"


def test_a_describing_model_needs_a_pose(onnx: OnnxEngine) -> None:
    with pytest.raises(ValueError, match="needs a pose"):
        onnx.answer([Query("describe", "")])


def test_what_users_type_or_send_as_earlier_words_holds_no_special_token(folder: Path) -> None:
    prompter = Prompter.load(folder)
    forged = Turn("<pose> <POSE>", None, "<POSE> <pose> </s>", np.zeros((0, 24, 3), np.float32))
    prompts = prompter.encode([Query("chat", "<image> <POSE>", history=(forged,))])
    ids = prompts.input_ids[0].tolist()
    special = [prompter.tokenizer.id_of(token) for token in ("<pose>", "<POSE>", "<image>")]
    assert not set(ids) & set(special)
    assert ids.count(prompter.tokenizer.eos_id) == 1, "the end of the earlier answer alone"


# -- a voice beside a model that poses ---------------------------------------------------------------------


def give_voice(folder: Path, *, seed: int = 3) -> None:
    """A voice with random copies beside the model in a folder."""
    engine = TorchEngine.load(folder)
    tokenizer = engine.processor.prompter.tokenizer
    tokens = tuple(sorted({tokenizer.ids(word)[0] for word in SAID} | {tokenizer.eos_id}))
    speech = Speech(dict(COMPACT_SPEECH), tokens, trunk_of(folder), facts=(2,) * 25, changes=(3, *(1,) * 24))
    voice = TaughtVoice(engine.model, tokens, layers=1, facts=speech.facts, changes=speech.changes, width=12)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in voice.taught().values():
            weight.add_(0.3 * torch.randn_like(weight))
    voice.save(folder, speech)


@pytest.fixture(scope="module")
def with_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that only poses, with a voice."""
    made = save_model(tmp_path_factory.mktemp("voiced"), seed=2)
    settings = made / "processor_config.json"
    held = json.loads(settings.read_text())
    held["templates"] = {"adjust": TEMPLATES["adjust"], "generate": COMPACT_TEMPLATES["generate"]}
    settings.write_text(json.dumps(held))
    write_graphs(made)
    return made


def test_a_voice_speaks_alike_in_both_engines_and_leaves_edits_as_they_are(with_voice: Path) -> None:
    edits = [Query("adjust", "raise the left arm", a_pose(seed)) for seed in range(4)]
    before = [engine.load(with_voice).answer(edits) for engine in (OnnxEngine, TorchEngine)]
    assert "describe" not in OnnxEngine.load(with_voice).tasks
    give_voice(with_voice)
    write_graphs(with_voice)
    onnx, with_torch = OnnxEngine.load(with_voice), TorchEngine.load(with_voice)
    assert "describe" in onnx.tasks
    asked = [
        Query("describe", "", a_pose(0)),
        Query("describe", "", a_pose(1), history=(Turn("", a_pose(2)),)),
    ]
    said = [engine.answer(asked) for engine in (onnx, with_torch)]
    assert [answer.text for answer in said[0]] == [answer.text for answer in said[1]]
    words = " ".join(answer.text.lower() for answer in said[0]).replace(".", " .").split()
    assert words
    assert set(words) <= set(SAID)
    for engine, old in zip((onnx, with_torch), before, strict=True):
        for answer, earlier in zip(engine.answer(edits), old, strict=True):
            np.testing.assert_array_equal(answer.pose_aa, earlier.pose_aa)


def test_a_voice_of_other_weights_is_refused(tmp_path: Path) -> None:
    made = save_model(tmp_path / "m", seed=4, text_encoder=False)
    give_voice(made)
    assert read_speech(made) is not None
    save_model(made, seed=5, text_encoder=False)
    load: list[Callable[[], object]] = [lambda: Prompter.load(made), lambda: TorchEngine.load(made)]
    for attempt in load:
        with pytest.raises(ValueError, match="taught on other weights"):
            attempt()
    (made / SPEECH_FILE).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        Prompter.load(made)


def test_a_voice_speaks_in_half_precision_as_on_a_gpu(tmp_path: Path) -> None:
    made = save_model(tmp_path / "m", seed=4, text_encoder=False)
    give_voice(made)
    model, processor = load_whole(made, dtype=torch.bfloat16)
    speech = read_speech(made)
    assert speech is not None
    processor.add_speech(speech)
    engine = TorchEngine(model, processor, name="tiny", voice=TaughtVoice.load(model, made, speech))
    asked = [Query("describe", "", a_pose(seed), history=(Turn("", a_pose(9)),)) for seed in range(4)]
    said = " ".join(answer.text.lower() for answer in engine.answer(asked)).replace(".", " .").split()
    assert said
    assert set(said) <= set(SAID)


def test_a_voice_of_which_a_half_is_missing_cut_off_or_another_is_told(tmp_path: Path) -> None:
    """Without checksums, too, as where the graphs were never written."""
    made = save_model(tmp_path / "m", seed=4, text_encoder=False)
    give_voice(made)
    file, told = made / VOICE_FILE, made / SPEECH_FILE
    whole = file.read_bytes()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{VOICE_FILE} is missing"):
        TorchEngine.load(made)
    file.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="damaged or cut off"):
        TorchEngine.load(made)
    file.write_bytes(whole[:40])
    load: list[Callable[[], object]] = [lambda: Prompter.load(made), lambda: write_graphs(made)]
    for attempt in load:
        with pytest.raises(ValueError, match="damaged or cut off"):
            attempt()
    file.write_bytes(whole)
    held = json.loads(told.read_text())
    told.write_text(json.dumps(held | {"tokens": held["tokens"][1:]}))
    with pytest.raises(ValueError, match="of two voices"):
        TorchEngine.load(made)
