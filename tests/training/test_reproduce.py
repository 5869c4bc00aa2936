# SPDX-License-Identifier: Apache-2.0
"""The paper's tables as commands, at a few steps and cases."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.cli import main
from backend.query import Answer
from blender_addon.contract.skeleton import REST_OFFSETS
from training.data.captions.sampler import CaptionSampler
from training.data.pool import PosePool
from training.data.posepart import PairSampler
from training.data.records import to_record
from training.data.samples import Sample
from training.evaluate import metrics
from training.evaluate.bootstrap import Estimate
from training.reproduce import contestants
from training.reproduce.baselines import PoseVae
from training.reproduce.contestants import Effort, Sources, Training
from training.reproduce.forms import FormModel
from training.reproduce.paper import CLAIMS, TABLES
from training.reproduce.tables import Order, Table, Verdict, edited_as_seen
from training.run_lock import run_lock

ROWS = {
    "table2": {"standing pose", "mean pose", "PoseLLaVA"},
    "table3": {"copy", "mean pose", "PoseFix", "ChatPose", "PoseLLaVA-Pose", "PoseLLaVA-Image"},
    "table4": {"standing pose", "mean pose", "PoseScript", "ChatPose", "PoseLLaVA"},
    "table5": {"copy", "mean pose", "PoseFix only", "PosePart only", "both"},
}
TRAINED = {
    "table2": set(),
    "table3": {"PoseFix", "ChatPose", "PoseLLaVA-Pose"},
    "table4": {"PoseScript", "ChatPose", "PoseLLaVA"},
    "table5": {"PoseFix only", "PosePart only", "both"},
}
"""Rows of contestants that are trained for the table."""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["table2", "table3", "table4", "table5"])
def test_each_table_is_made_with_all_its_rows(
    output: Path, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", table, "--output", str(output), "--quick", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    record = json.loads((output / f"{table}.json").read_text())
    for rows in record["columns"].values():
        assert set(rows) == ROWS[table]
        for figures in rows.values():
            for low, high in ((figures[name][1], figures[name][2]) for name in ("mpjpe", "pa_mpjpe")):
                assert 0 <= low <= high
    assert (output / f"{table}.png").stat().st_size > 5000
    assert "Not comparable with the paper's numbers" in (output / f"{table}.md").read_text()
    for row in TABLES[table]:
        assert row in printed  # the paper's own, too
    verdicts = ("held", "not held", "open")
    for claim in record["claims"]:
        assert claim["verdict"] in verdicts
        assert (claim["gain_verdict"] in verdicts) == (claim["paper_gain"] is not None)
    assert record["claims"]
    assert set(record["samples_seen"]) == TRAINED[table]
    assert all(count > 0 for count in record["samples_seen"].values())


@pytest.mark.slow
def test_the_tables_share_one_set_of_contestants(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for table in ("table4", "table3", "table5"):
        main(["reproduce", table, "--output", str(output), "--quick", "--threads", "1"])
    said = capsys.readouterr().err
    assert said.count("ChatPose: trained before") >= 1
    assert said.count("PoseLLaVA: trained before") >= 2


def test_a_table_needs_no_options_and_keeps_its_limits_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    orders: list[Order] = []

    def make(order: Order, say: object) -> Table:
        orders.append(order)
        raise ValueError("seen")

    monkeypatch.setattr("training.reproduce.tables.reproduce", make)
    for table in TRAINED:
        assert main(["reproduce", table]) == 1
    assert {order.output for order in orders} == {Path("runs/tables")}  # one set of contestants
    for order in orders:
        # What is trained, two at a time, leaves more than half of ten minutes to measuring.
        rounds = -(-len(TRAINED[order.table]) // order.processes)
        assert order.effort.minutes <= 5
        assert rounds * order.effort.minutes <= 5


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table2", "--train", "generation=."], "nobody is trained for table2"),
        (["table4", "--train", "view=."], "table4 is trained on generation, posefix, posepart"),
        (["table5", "--model", "."], "table5 compares what a model is trained on"),
        (["table4", "--test", "posefix=."], "table4 has no column posefix"),
        (["table4", "--test", "generation"], "as NAME=PATH"),
        (["table4", "--test", "generation=nowhere"], "there is nothing at nowhere"),
    ],
)
def test_what_a_table_would_not_use_is_refused(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *arguments, "--output", str(tmp_path / "out"), "--quick"]) == 1
    assert sentence in capsys.readouterr().err


def test_two_tables_do_not_write_into_one_folder_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_lock(tmp_path):
        assert main(["reproduce", "table4", "--output", str(tmp_path), "--quick"]) == 1
    assert "another process is writing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("low", "high", "order", "size"),
    [
        (0.4, 0.5, "held", "held"),
        (0.5, 0.7, "held", "open"),
        (0.7, 0.9, "held", "not held"),
        (0.9, 1.1, "open", "not held"),
        (1.1, 1.2, "not held", "not held"),
    ],
)
def test_a_claim_is_of_the_order_and_of_its_size(low: float, high: float, order: str, size: str) -> None:
    verdict = Verdict("one", "other", "posefix", 0.4, Estimate((low + high) / 2, low, high))
    assert (verdict.held, verdict.gain_held) == (order, size)
    assert Verdict("one", "other", "posefix", None, verdict.ratio).gain_held is None


@pytest.mark.slow
def test_other_data_is_trained_on_and_measured(tmp_path: Path) -> None:
    samples = CaptionSampler(PosePool(None)).draw_many(np.random.default_rng(0), 8)
    path = tmp_path / "script.json"
    path.write_text(json.dumps([to_record(sample) for sample in samples]))
    arguments = ["reproduce", "table4", "--output", str(tmp_path / "out"), "--quick", "--threads", "1"]
    data = f"generation={path}"
    assert main([*arguments, "--train", data, "--test", data]) == 0
    assert "script.json" in (tmp_path / "out" / "table4.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["vae", "vae+pose", "chatpose", "posellava"])
def test_every_contestant_learns_what_it_sees(form: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if form == "vae":
        samples = CaptionSampler(PosePool(None)).draw_many(np.random.default_rng(0), 8)
    else:
        samples = PairSampler(PosePool(None)).draw_many(np.random.default_rng(0), 8)
    words = sorted({word for sample in samples for word in sample.instruction.lower().split()})
    model = PoseVae(words, corrects=form == "vae+pose") if form.startswith("vae") else FormModel(form, 0)  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    losses = []
    for _ in range(25):
        loss = model.loss(samples)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.85 * losses[0]
    model.eval()
    answers = model.answer(samples)
    assert all(answer.pose_aa is not None and np.isfinite(answer.pose_aa).all() for answer in answers)


def test_a_contestant_is_trained_on_one_core_and_leaves_the_threads_as_they_were(tmp_path: Path) -> None:
    before, during = torch.get_num_threads(), []
    torch.set_num_threads(2)
    training = Training(Sources(None, {}), Effort(steps=1), tmp_path)
    try:
        with pytest.MonkeyPatch.context() as patch:
            train = contestants._train
            patch.setattr(
                contestants, "_train", lambda *given: during.append(torch.get_num_threads()) or train(*given)
            )
            training.train("PoseScript")
        assert (during, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
    assert training.kept("PoseScript") is not None


@pytest.mark.slow
def test_a_contestant_of_another_version_with_other_words_is_not_taken(tmp_path: Path) -> None:
    training = Training(Sources(None, {}), Effort(steps=1), tmp_path)
    training.train("ChatPose")
    assert training.kept("ChatPose") is not None
    known = json.loads((tmp_path / "ChatPose.json").read_text())
    swapped = FormModel("chatpose", 0)
    vocabulary = swapped.processor.tokenizer.get_vocab()
    swapped.processor.tokenizer.get_vocab = lambda: dict(
        zip(vocabulary, reversed(vocabulary.values()), strict=True)
    )
    assert known["made_of"] == contestants.made_of(FormModel("chatpose", 0)) != contestants.made_of(swapped)
    (tmp_path / "ChatPose.json").write_text(json.dumps({**known, "made_of": contestants.made_of(swapped)}))
    assert training.kept("ChatPose") is None


def test_chatposes_form_reads_no_pose() -> None:
    model = FormModel("chatpose", 0).eval()
    first, second = PairSampler(PosePool(None)).draw_many(np.random.default_rng(0), 2)
    same_words = [first, type(first)(**{**vars(first), "pose_aa": second.pose_aa})]
    one, other = model.answer(same_words)
    assert np.allclose(one.pose_aa[1:], other.pose_aa[1:], atol=1e-4)


def test_the_joints_of_another_body_are_measured() -> None:
    poses = np.random.default_rng(0).normal(0, 0.3, (2, 4, 24, 3))
    plain = metrics.mpjpe(*poses)
    assert np.allclose(metrics.mpjpe(*poses, 2 * REST_OFFSETS), 2 * plain)
    assert np.allclose(metrics.pa_mpjpe(*poses, 2 * REST_OFFSETS), 2 * metrics.pa_mpjpe(*poses))


def test_every_claim_is_of_rows_and_columns_that_there_are() -> None:
    for table, claims in CLAIMS.items():
        for claim in claims:
            assert {claim.better, claim.worse} <= ROWS[table] | set(TABLES[table])
    assert CLAIMS["table3"][0].gain("table3") == pytest.approx(
        0.45, abs=0.005
    )  # the paper: "a 45% reduction"
    assert CLAIMS["table3"][1].gain("table3") == pytest.approx(0.60, abs=0.005)  # "a 60% reduction"


def test_a_picture_in_which_nobody_is_seen_gets_words_and_the_others_are_edited() -> None:
    pose = np.random.default_rng(0).normal(0, 0.2, (24, 3)).astype(np.float32)
    samples = [Sample(str(row), "adjust", "x", "raise the left arm", target_aa=pose) for row in range(2)]

    def turned(some: Sequence[Sample]) -> list[Answer]:
        assert all(sample.pose_aa is not None for sample in some)
        return [Answer(sample.pose_aa + 1, "Done.") for sample in some]

    nobody = Answer(None, "I see nobody.")
    words, edited = edited_as_seen(turned, samples, [nobody, Answer(pose, "")])
    assert words == nobody
    np.testing.assert_array_equal(edited.pose_aa, pose + 1)
