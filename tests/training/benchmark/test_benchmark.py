# SPDX-License-Identifier: Apache-2.0
"""The public benchmark: what an entry is, how it is judged, and how others are compared with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from tests.training.test_rewriting import FakeModel, fake  # noqa: F401
from training.benchmark import contamination, results
from training.benchmark.cases import edits, fingerprint, shown
from training.benchmark.chatting import pose_of, question
from training.benchmark.cli import benchmark
from training.benchmark.collision import collides, depth
from training.benchmark.scoring import copy_answers, figures, judge_all


def turned(joint: str, axis: int, degrees: float) -> np.ndarray:
    pose = STANDING_POSE.astype(np.float64).copy()
    pose[JOINT_INDEX[joint], axis] += np.radians(degrees)
    return pose


CASES: list[dict[str, Any]] = [
    {
        "id": "bend", "task": "adjust", "kind": "elbow", "instruction": "Bend the left elbow.",
        "pose": STANDING_POSE.tolist(), "checks": [["dflex", "L_elbow", 20, None]], "keep": ["right_arm", "head"],
    },
    {
        "id": "look", "task": "adjust", "kind": "head", "instruction": "Look to the left!",
        "pose": STANDING_POSE.tolist(), "checks": [["dangle", "head_yaw", 15, None]], "keep": ["left_arm"],
    },
]  # fmt: skip
GOOD = {"bend": turned("left_elbow", 1, -60).tolist(), "look": turned("neck", 1, 40).tolist()}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))
    return tmp_path


def answers_in(folder: Path, answers: dict[str, Any], name: str = "answers.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({"id": key, "pose": pose}) + "\n" for key, pose in answers.items()))
    return path


def enter(files: Path, answers: dict[str, Any], name: str = "good", *more: str) -> Path:
    output = files / f"{name}.json"
    given = answers_in(files, answers, f"{name}.jsonl")
    arguments = ["score", str(given), "--cases", str(files / "cases.jsonl"), "--name", name]
    assert benchmark([*arguments, "--output", str(output), *more]) == 0
    return output


def test_a_good_answer_succeeds_and_the_copy_row_keeps_everything_and_does_nothing(files: Path) -> None:
    held = results.read(enter(files, GOOD))
    assert [held["figures"]["entry"][name][0] for name in ("success", "done", "kept", "answered")] == [
        1.0
    ] * 4
    copy = held["figures"]["copy"]
    assert [copy[name][0] for name in ("success", "done", "kept", "drift_degrees", "collisions")] == [
        0,
        0,
        1,
        0,
        0,
    ]


def test_what_was_to_stay_is_measured_in_degrees_and_beyond_the_limit_is_not_kept() -> None:
    moved = turned("left_elbow", 1, -60)
    moved[JOINT_INDEX["right_shoulder"], 2] += np.radians(5)
    far = turned("left_elbow", 1, -60)
    far[JOINT_INDEX["right_elbow"], 1] += np.radians(12)
    near, beyond = (judge_all(CASES[:1], {"bend": pose.tolist()})[0] for pose in (moved, far))
    assert near.drift_degrees == pytest.approx(5, abs=1e-6)
    assert (near.kept, near.success) == (True, True)
    assert beyond.drift_degrees == pytest.approx(12, abs=1e-6)
    assert (beyond.done, beyond.kept, beyond.success) == (True, False, False)


@pytest.mark.parametrize("answer", [None, [], "up", [[1, 2]], [[float("nan")] * 3] * 24, {"a": 1}])
def test_an_answer_that_is_no_pose_is_counted_and_does_nothing(answer: Any) -> None:
    judged = judge_all(CASES, {"bend": answer, "look": GOOD["look"]})
    assert [(one.answered, one.done) for one in judged] == [(False, False), (True, True)]
    assert figures(judged)["answered"].value == 0.5


def test_a_leg_through_the_other_cuts_through_the_body_and_hands_on_hips_do_not() -> None:
    crossed = STANDING_POSE.copy()
    crossed[JOINT_INDEX["left_hip"], 2], crossed[JOINT_INDEX["right_hip"], 2] = -0.17, 0.17
    folded = STANDING_POSE.copy()
    folded[JOINT_INDEX["left_shoulder"]], folded[JOINT_INDEX["left_elbow"]] = [0, 0, -1.0], [0, -0.6, 1.6]
    assert collides(crossed[None])[0], "each leg through the other"
    assert not collides(np.stack([STANDING_POSE, np.zeros((24, 3))])).any()
    assert not collides(folded[None])[0]
    assert depth(np.zeros((1, 24, 3)))[0] == 0.0


def test_real_handwritten_starts_hardly_ever_cut_through_themselves() -> None:
    poses = np.array([case["pose"] for case in edits()])
    assert collides(poses).mean() < 0.03


def test_a_result_that_was_changed_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = enter(files, copy_answers(CASES))
    held = json.loads(path.read_text())
    held["figures"]["entry"]["success"] = [1.0, 1.0, 1.0]
    path.write_text(json.dumps(held))
    capsys.readouterr()
    assert benchmark(["table", str(path)]) == 1
    assert "was changed" in capsys.readouterr().err
    # Whoever mends the checksum, too, is found out by judging the answers anew.
    rest = {name: value for name, value in held.items() if name != "sha256"}
    path.write_text(json.dumps({**rest, "sha256": results._sha256(rest)}))
    assert benchmark(["check", str(path), "--cases", str(files / "cases.jsonl")]) == 1
    assert "other figures" in capsys.readouterr().err


def test_answers_of_many_digits_judged_anew_give_the_figures_of_their_result() -> None:
    rng = np.random.default_rng(0)
    answers = {name: (np.array(pose) + rng.normal(0, 0.01, (24, 3))).tolist() for name, pose in GOOD.items()}
    held = json.loads(json.dumps(results.result(results.Entry("precise"), CASES, answers, source="here")))
    assert results.judge_again(held, CASES)


def test_entries_of_the_same_cases_are_compared_and_others_are_not(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, poor = enter(files, GOOD), enter(files, copy_answers(CASES), "poor")
    capsys.readouterr()
    assert benchmark(["table", str(poor), str(good)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == [
        "good",
        "poor",
        "*copy: the pose as it was*",
    ]
    assert benchmark(["check", str(good), str(poor), "--cases", str(files / "cases.jsonl")]) == 0
    (files / "cases.jsonl").write_text(json.dumps(CASES[0]) + "\n")
    other = enter(files, {"bend": GOOD["bend"]}, "other")
    assert benchmark(["table", str(good), str(other)]) == 1
    assert "not comparable" in capsys.readouterr().err


def test_a_contestant_is_shown_no_checks_and_the_fingerprint_is_of_all(files: Path) -> None:
    output = files / "asked.jsonl"
    assert benchmark(["cases", str(output), "--cases", str(files / "cases.jsonl")]) == 0
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [set(line) for line in lines] == [{"id", "task", "instruction", "pose"}] * 2
    assert shown(CASES[0]) == lines[0]
    assert fingerprint(CASES) == fingerprint(CASES[::-1])
    assert fingerprint(CASES) != fingerprint([{**CASES[0], "keep": []}, CASES[1]])


def test_cases_that_stand_in_the_training_texts_are_told(files: Path) -> None:
    corpus = files / "corpus.jsonl"
    corpus.write_text('{"instruction": "look to the LEFT"}\nbend the left elbow now\nsomething else\n')
    held = results.read(enter(files, GOOD, "read", "--read", str(corpus)))
    seen = held["contamination"]
    assert seen["exact"] == ["look"]
    assert seen["near"] == {"bend": "bend the left elbow now"}
    assert contamination.check(CASES, ["walk"], corpora=["x"])["near"] == {}


def test_training_files_of_every_form_are_read(files: Path) -> None:
    """LLaVA's JSON, whose texts lie deep and are wrapped in a question, as one file or a record a line."""
    wrapped = {
        "from": "human",
        "value": "<pose> Adjust the pose so: bend the left elbow to 90 degrees. Give SMPL.",
    }
    record = {"id": "x", "conversations": [wrapped, {"from": "gpt", "value": "Look to the left!"}]}
    cases = [
        {"id": "bend", "instruction": "Bend the left elbow to 90 degrees"},
        {"id": "look", "instruction": "look to the left"},
    ]
    for text in (
        json.dumps([record]),
        json.dumps([record], indent=1),
        json.dumps(record) + "\n" + json.dumps(record),
    ):
        (files / "llava.json").write_text("\ufeff" + text, encoding="utf-8")
        seen = contamination.check(cases, contamination.texts_in(files / "llava.json"), corpora=["x"])
        assert (seen["texts"], seen["exact"], set(seen["near"])) == (2, ["look"], {"bend"})
    (files / "llava.json").write_bytes("text".encode("utf-16"))
    with pytest.raises(ValueError, match="no text in UTF-8"):
        list(contamination.texts_in(files / "llava.json"))


def test_of_texts_that_are_equally_near_always_the_same_is_told() -> None:
    texts = [f"please {word} bend the left elbow to 90 degrees" for word in "qwertyuiopasdfghjklz"]
    case = {"id": "bend", "instruction": "Bend the left elbow to 90 degrees"}
    seen = contamination.check([case], texts, corpora=["x"])
    assert seen["near"] == {"bend": min(texts)}


@pytest.mark.parametrize("identity", [None, [1], {"a": 1}])
def test_answers_whose_id_is_none_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str], identity: Any
) -> None:
    (files / "some.jsonl").write_text(json.dumps({"id": identity, "pose": None}) + "\n", encoding="utf-8")
    arguments = ["score", str(files / "some.jsonl"), "--cases", str(files / "cases.jsonl"), "--name", "x"]
    assert benchmark([*arguments, "--output", str(files / "out.json")]) == 1
    assert "holds no answers" in capsys.readouterr().err


def test_answers_to_other_cases_are_refused_and_missing_ones_told(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--cases", str(files / "cases.jsonl"), "--name", "x", "--output", str(files / "out.json")]
    for lines, status, words in (
        (["bend", "stand"], 1, "answers 'stand', which is none of these 2 cases"),
        (["bend", "bend"], 1, "answers 'bend' twice"),
        (["bend"], 0, "1 of 2 cases have no answer"),
    ):
        answers = "".join(json.dumps({"id": name, "pose": None}) + "\n" for name in lines)
        (files / "some.jsonl").write_text(answers, encoding="utf-8")
        assert benchmark(["score", str(files / "some.jsonl"), *arguments]) == status
        assert words in capsys.readouterr().err


def test_a_chat_model_is_a_contestant(
    fake: FakeModel,  # noqa: F811
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said: dict[str, str] = {
        "Bend": 'Sure! {"left_elbow": [0, -60, 0]} That is all.',
        "Look": "I would turn the head.",
    }
    fake.answer = lambda text: said[text.split("The instruction: ")[1].split()[0]]
    arguments = [
        "chat",
        "--address",
        fake.address,
        "--chat-model",
        "m",
        "--cases",
        str(files / "cases.jsonl"),
    ]
    output = files / "chat.json"
    assert benchmark([*arguments, "--name", "a chat model", "--output", str(output)]) == 0
    held = results.read(output)
    assert held["outcomes"]["bend"]["done"]
    assert not held["outcomes"]["look"]["answered"]
    assert held["figures"]["entry"]["answered"][0] == 0.5
    _, body = fake.requests[0]
    assert body["temperature"] == 0.0
    assert '"left_elbow": [' in body["messages"][1]["content"]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "[1, 2]",
        '{"tail": [1, 2, 3]}',
        '{"head": [1, 2]}',
        '{"head": [1, 2, "x"]}',
        '{"head": [1, 2, NaN]}',
        "{{{",
    ],
)
def test_what_a_chat_model_must_not_write_is_no_pose(said: str) -> None:
    assert pose_of(CASES[0], said) is None


def test_a_chat_models_rotations_are_the_poses_own() -> None:
    said = question(CASES[0]).split("The pose now: ")[1].split("\n")[0]
    pose = pose_of(CASES[0], said)
    np.testing.assert_allclose(pose, STANDING_POSE, atol=np.radians(0.06))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["score", "answers.jsonl", "--cases", "missing.jsonl"], "missing.jsonl"),
        (["score", "cases.jsonl", "--cases", "answers.jsonl"], "no edits"),
        (["score", "list.jsonl", "--cases", "cases.jsonl"], "holds no answers"),
        (["table", "answers.jsonl"], "no result"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str, monkeypatch: Any
) -> None:
    answers_in(files, GOOD)
    (files / "list.jsonl").write_text("[1]\n")
    monkeypatch.chdir(files)
    more = ["--name", "x", "--output", "out.json"] if arguments[0] == "score" else []
    assert benchmark([*arguments, *more]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_model_runs(tmp_path: Path) -> None:
    output = tmp_path / "mini.json"
    assert benchmark(["run", "--count", "12", "--name", "mini", "--output", str(output)]) == 0
    assert results.read(output)["figures"]["entry"]["success"][0] > 0.5
