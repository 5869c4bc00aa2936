# SPDX-License-Identifier: Apache-2.0
"""The suite of conversations: losses and answers are those of the library's own LLaVA, and what changed is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoTokenizer, LlavaNextForConditionalGeneration

from backend.model.llava import from_llava
from tests.training.test_adapters import POSE_SIZES, llava  # noqa: F401 - a fixture
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.evaluate.cli import evaluate
from training.evaluate.conversations import Responses, compared, held_out, load_speaker, respond_to

SAID = [
    ("raise the left arm", "it is the right arm"),
    ("what is the left knee", "a knee"),
    ("and the head", "turn it to the side"),
]


@pytest.fixture
def conversations(tmp_path: Path) -> Path:
    """One with three questions, one with one, one about a picture, and one that asks for a pose."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")

    def record(name: str, *turns: tuple[str, str], **more: object) -> dict[str, object]:
        words = [
            {"from": who, "value": said}
            for turn in turns
            for who, said in zip(("human", "gpt"), turn, strict=True)
        ]
        return {"id": name, "conversations": words, **more}

    records = [
        record("three", *SAID),
        record("one", ("bend the elbow", "which elbow")),
        record("seen", ("<image>\nwho is it", "the left"), ("where", "up"), image="a.jpg"),
        record("pose", ("stand", "It is <POSE>."), target_pose=[0.0] * 72),
    ]  # fmt: skip
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


@pytest.fixture
def with_poses(llava: Path, tmp_path: Path) -> Path:  # noqa: F811
    """The same model with the pose modules beside it."""
    model, processor = from_llava(llava, POSE_SIZES, dtype=torch.float32, attention="sdpa")
    model.save_pretrained(tmp_path / "with-poses")
    processor.save_pretrained(tmp_path / "with-poses")
    return tmp_path / "with-poses"


@pytest.fixture
def changed(with_poses: Path, tmp_path: Path) -> Path:
    """The same with other weights in its language model."""
    engine = load_speaker(with_poses, device="cpu", threads=1)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in engine.model.model.language_model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    engine.model.save_pretrained(tmp_path / "changed")
    engine.processor.save_pretrained(tmp_path / "changed")
    return tmp_path / "changed"


@pytest.mark.slow
def test_loss_and_answers_are_those_of_the_librarys_llava(llava: Path, conversations: Path) -> None:  # noqa: F811
    """Of a conversation in words, laid out by hand: the questions in Mistral's marks, each answer with its end."""
    told = respond_to(load_speaker(llava, device="cpu", threads=1), held_out(conversations, 1000)[:1])
    tokenizer = AutoTokenizer.from_pretrained(llava)
    reference = LlavaNextForConditionalGeneration.from_pretrained(llava).eval()
    ids, labels, answers = [tokenizer.bos_token_id], [-100], []
    for question, answer in SAID:
        asked = tokenizer(f"[INST] {question} [/INST] ", add_special_tokens=False)["input_ids"]
        learnt = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids, labels = ids + asked, labels + [-100] * len(asked)
        with torch.inference_mode():
            said = reference.generate(
                input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                do_sample=False, max_new_tokens=160, pad_token_id=0,
                # What the project's models never say: what begins, fills and marks places.
                suppress_tokens=tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "<image>"]),
            )  # fmt: skip
        answers.append(tokenizer.decode(said[0, len(ids) :], skip_special_tokens=True))
        ids, labels = ids + learnt, labels + learnt
    with torch.inference_mode():
        logits = reference(input_ids=torch.tensor([ids])).logits[0, :-1]
    # <pose> and <POSE>, which the library's model lacks, start as the mean of all words.
    logits = torch.cat([logits, *2 * [logits.mean(-1, keepdim=True)]], dim=-1)
    loss = functional.cross_entropy(logits, torch.tensor(labels[1:]), reduction="sum")
    assert told.tokens.tolist() == [sum(label != -100 for label in labels)]
    assert told.losses[0] == pytest.approx(float(loss), rel=1e-4)
    letters = [
        ["".join(answer.split()).replace("##", "") for answer in each] for each in (told.answers[0], answers)
    ]
    assert letters[0] == letters[1]
    assert any(letters[0])


@pytest.mark.slow
def test_a_model_that_learnt_nothing_is_unchanged_and_another_is_not(
    llava: Path, with_poses: Path, changed: Path, conversations: Path, tmp_path: Path, capsys  # noqa: F811
) -> None:  # fmt: skip
    report = tmp_path / "report.json"
    arguments = ["--suite", "conversations", "--samples", str(conversations), "--threads", "1"]
    arguments += ["--before", str(llava), "--json", str(report)]
    assert evaluate([*arguments, "--model", str(with_poses)]) == 0
    same = json.loads(report.read_text())
    assert (same["cases"], same["questions"], same["unchanged"], same["alike"]) == (3, 6, 100, 100)
    assert same["loss_change"] == pytest.approx(0, abs=1e-5)
    assert "answers unchanged, %" in capsys.readouterr().out
    assert evaluate([*arguments, "--model", str(changed)]) == 0
    other = json.loads(report.read_text())
    assert other["unchanged"] < 50
    assert other["loss_before"] == same["loss"]
    assert other["loss_change"] == pytest.approx(other["loss"] - other["loss_before"], abs=1e-6)
    assert [row["before"] == row["answer"] for row in same["answers"]] == [True] * 6
    assert {row["id"] for row in other["answers"]} == {"three", "one", "seen"}


def test_what_changed_is_counted() -> None:
    before = Responses(np.array([4.0, 6.0]), np.array([4.0, 2.0]), [["a b c d", "yes"], ["no"]])
    after = Responses(np.array([4.0, 9.0]), np.array([4.0, 2.0]), [["a b x d", "yes"], ["It is <POSE> ."]])
    figures = {name: one.value for name, one in compared(before, after, seed=0).items()}
    assert figures["loss_before"] == pytest.approx(10 / 6)
    assert figures["loss_change"] == pytest.approx(3 / 6)
    assert figures["unchanged"] == pytest.approx(100 / 3)
    assert figures["alike"] == pytest.approx(100 * (0.75 + 1 + 0) / 3)
    assert (figures["poses_before"], figures["poses"]) == (0, pytest.approx(100 / 3))
    assert set(compared(None, after, seed=0)) == {"loss", "poses"}
    with pytest.raises(ValueError, match="different tokenizers"):
        compared(Responses(before.losses, np.array([4.0, 3.0]), before.answers), after, seed=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "conversations"], "needs a model that converses, --model, and held-out"),
        (["--suite", "conversations", "--model", "M", "--samples", "C", "--poses", "P"], "neither poses nor sheets"),
        (["--suite", "posefix", "--before", "M"], "--before is of the suite conversations"),
        (["--suite", "conversations", "--model", "nowhere", "--samples", "C"], "no model in"),
        (["--suite", "conversations", "--model", "M", "--samples", "E"], "fewer than two conversations"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_sentence(
    conversations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:  # fmt: skip
    (tmp_path / "one.json").write_text(
        json.dumps(json.loads(conversations.read_text())[2:]), encoding="utf-8"
    )
    places = {"C": str(conversations), "E": str(tmp_path / "one.json"), "P": "poses.npz", "M": "model"}
    assert evaluate([places.get(argument, argument) for argument in arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_poses_of_others_in_the_file_may_lie_where_their_world_is_named(
    conversations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = json.loads(conversations.read_text())
    records[-1]["target_pose"] = [0.0, 0.0, np.pi / 2] + [0.0] * 69  # on the side: up in no world
    conversations.write_text(json.dumps(records), encoding="utf-8")
    asked = ["--suite", "conversations", "--samples", str(conversations), "--model", "nowhere"]
    assert evaluate(asked) == 1
    assert "not plain which way is up" in capsys.readouterr().err
    assert evaluate([*asked, "--frame", "camera"]) == 1
    assert "no model in nowhere" in capsys.readouterr().err


def test_no_more_conversations_are_read_than_are_asked_for(tmp_path: Path) -> None:
    for number in range(2):
        rows = [Sample(f"{number}-{row}", "chat", "x", "who is it", reply="a man") for row in range(3)]
        write_shard(tmp_path / shard_name(number), rows)
    write_index(tmp_path, {}, [3, 3])
    (tmp_path / shard_name(1)).unlink()
    assert [sample.id for sample in held_out(tmp_path, 3)] == ["0-0", "0-1", "0-2"]
    with pytest.raises(FileNotFoundError, match="is gone"):
        held_out(tmp_path, 4)


def test_a_model_without_conversation_is_told() -> None:
    from backend.engines import SHIPPED_MODEL

    with pytest.raises(ValueError, match="does not converse"):
        load_speaker(SHIPPED_MODEL, device="cpu", threads=1)
