# SPDX-License-Identifier: Apache-2.0
"""Each configured term, from what the model put out, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from backend.body.rotations import axis_angle_to_matrix
from backend.model import PoseLlavaOutput
from blender_addon.contract.kinematics import forward_kinematics
from blender_addon.contract.skeleton import JOINT_INDEX, REST_OFFSETS
from training.stages.batches import Batch
from training.stages.objectives import (
    ALIGNMENT_TERMS,
    alignment_measures,
    alignment_terms,
    check_terms,
    instruction_measures,
    instruction_terms,
    weighted_sum,
)
from training.stages.parts import Stage1Output

QUARTER = (0.0, 0.0, math.pi / 2)
"""A quarter turn about z: four entries of a matrix, all of them in its first two columns, change by one."""
CHORDS = math.sqrt(2) * (0.248 + 0.333)
"""By how much, in metres, wrist and hand together move when an elbow of the T-pose is bent at a right angle."""
REST_POSITIONS = torch.from_numpy(forward_kinematics(np.tile(np.eye(3), (24, 1, 1)))[1]).float()
"""(24, 3) joints of the T-pose, metres from the pelvis, by the contract's kinematics."""
NEAR = 1e-4
"""What is added to distances in metres, so that they have a gradient at zero."""


def matrices(*turned: tuple[str, ...]) -> torch.Tensor:
    """(N, 24, 3, 3) T-poses with the named joints of each turned by a quarter."""
    values = torch.zeros(len(turned), 24, 3)
    for row, joints in enumerate(turned):
        for joint in joints:
            values[row, JOINT_INDEX[joint]] = torch.tensor(QUARTER)
    return axis_angle_to_matrix(values)


def batch_of(targets: torch.Tensor) -> Batch:
    count = len(targets)
    return Batch(
        {"labels": torch.tensor([[-100, 2]]).expand(count, 2)},
        targets,
        ["sample"] * count,
        tasks=["adjust"] * count,
        pose_rows=torch.arange(count),
        image_joints=torch.full((count, 24, 2), 0.25),
        canvas_joints=torch.tensor([0.25, 0.3]).expand(count, 24, 2),
    )


@pytest.fixture
def aligned() -> Stage1Output:
    """Of two T-poses: tokens that agree in global, are opposite in local; one image is read with a bent elbow."""
    local = torch.ones(2, 24, 4)
    return Stage1Output(
        pose_global=torch.eye(2) * 3,
        image_global=torch.eye(2) / 2,
        pose_local=local,
        image_local=-local,
        attention=torch.full((2, 24, 4), 0.25),
        reconstruction=matrices((), ()),
        image_reconstruction=matrices((), ("left_elbow",)),
        logit_scale=torch.tensor([math.log(10.0)]),
        logit_bias=torch.tensor([-10.0]),
        image_positions=REST_POSITIONS.expand(2, -1, -1) + torch.tensor([0.0, 0.3, 0.4]),
        heatmaps=torch.zeros(2, 24, 4, 4),
        places=torch.tensor([0.28, 0.34]).expand(2, 24, 2),
        seen_positions=(REST_POSITIONS - REST_POSITIONS[0]).expand(2, -1, -1)
        + torch.tensor([0.03, 0.0, 0.06]),
        seen=matrices((), ("left_elbow",)),
        lifted=matrices(("left_elbow",), ("left_elbow",), ("right_knee",)),
        projected=matrices(("left_elbow",), (), ("right_knee",)),
    )


def test_stage_1s_terms(aligned: Stage1Output) -> None:
    terms = alignment_terms(aligned, batch_of(matrices((), ())), dict.fromkeys(ALIGNMENT_TERMS, 1.0))
    assert set(terms) == set(ALIGNMENT_TERMS)
    assert terms["contrastive"].item() == pytest.approx(math.log(2) + math.log(1 + math.exp(-10)), rel=1e-5)
    assert terms["local"].item() == pytest.approx(2)
    assert terms["attention"].item() == pytest.approx(math.log(4), rel=1e-4)
    assert terms["regression"].item() == pytest.approx(0, abs=1e-9)
    assert terms["regression_joints"].item() == pytest.approx(NEAR, rel=1e-3)
    assert terms["image_regression"].item() == pytest.approx(4 / 144 / 2, abs=1e-6)
    assert terms["image_regression_joints"].item() == pytest.approx(CHORDS / 24 / 2 + NEAR, abs=2e-4)
    assert terms["image_positions"].item() == pytest.approx(0.5, abs=1e-4)
    assert terms["heatmaps"].item() == pytest.approx(math.log(16), rel=1e-4)
    assert terms["places"].item() == pytest.approx(0.05, rel=1e-4)
    assert terms["seen_positions"].item() == pytest.approx(0.03, abs=1e-5)
    assert terms["seen"].item() == pytest.approx(4 / 144 / 2, abs=1e-6)
    assert terms["seen_joints"].item() == pytest.approx(CHORDS / 24 / 2 + NEAR, abs=2e-4)
    assert terms["lifted"].item() == pytest.approx(4 / 144 / 3, abs=1e-6)
    assert terms["lifted_joints"].item() == pytest.approx(CHORDS / 24 / 3 + NEAR, abs=2e-4)


def test_stage_1_works_out_what_is_configured_and_nothing_else(aligned: Stage1Output) -> None:
    terms = alignment_terms(aligned, batch_of(matrices((), ())), {"local": 3.0, "image_regression": 10.0})
    assert set(terms) == {"local", "image_regression"}
    assert weighted_sum(terms, {"local": 3.0, "image_regression": 10.0}).item() == pytest.approx(
        3 * 2 + 10 * 2 / 144, abs=1e-5
    )


def test_stage_1s_measures_tell_pose_and_image_apart(aligned: Stage1Output) -> None:
    measures = alignment_measures(aligned, batch_of(matrices((), ())))
    assert measures["recall_at_1"].tolist() == [1, 1]
    assert measures["mpjpe_mm"].tolist() == pytest.approx([0, 0], abs=1e-3)
    assert measures["image_mpjpe_mm"].tolist() == pytest.approx([0, 1000 * CHORDS / 24], abs=0.2)
    assert measures["seen_mpjpe_mm"].tolist() == pytest.approx([0, 1000 * CHORDS / 24], abs=0.2)
    assert measures["local_cosine"].tolist() == pytest.approx([-1, -1])


def test_the_images_terms_teach_the_image_side_and_not_the_poses_tokens() -> None:
    pose_side, image_side = (matrices(("neck",)).requires_grad_() for _ in range(2))
    output = Stage1Output(reconstruction=pose_side, image_reconstruction=image_side)
    weights = {"image_regression": 1.0, "image_regression_joints": 1.0}
    weighted_sum(alignment_terms(output, batch_of(matrices(())), weights), weights).backward()
    assert pose_side.grad is None
    assert image_side.grad is not None
    assert image_side.grad.abs().max() > 0


@pytest.fixture
def edited() -> PoseLlavaOutput:
    """The elbow is to bend, and is bent; the decoder turns the neck too; every gate is undecided."""
    return PoseLlavaOutput(
        text_loss=torch.tensor(0.7),
        logits=torch.zeros(1, 4),
        pose_matrices=matrices(("left_elbow", "neck")),
        gate_logits=torch.zeros(1, 24),
        initial_matrices=matrices(()),
    )


def test_the_terms_of_stages_2_and_3(edited: PoseLlavaOutput) -> None:
    names = ("text", "rot6d", "matrix_l1", "matrix_l2", "geodesic", "joints", "gate", "moving", "still")
    terms = instruction_terms(edited, batch_of(matrices(("left_elbow",))), dict.fromkeys(names, 1.0))
    expected = {
        "text": 0.7,
        "rot6d": 4 / 144,
        "matrix_l1": 4 / 216,
        "matrix_l2": 4 / 216,
        "geodesic": math.pi / 2 / 24,
        "joints": NEAR,  # of the answer with the right gates: the neck stays
        "gate": math.log(2),
        "moving": 0,
        "still": 4 / 23,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, abs=2e-5)


def test_without_gates_the_joints_are_those_of_the_decoded_pose(edited: PoseLlavaOutput) -> None:
    edited.gate_logits = None
    terms = instruction_terms(edited, batch_of(matrices(("left_elbow",))), {"joints": 1.0})
    x, y, _ = REST_OFFSETS[JOINT_INDEX["head"]]  # a quarter turn of the neck moves the head alone, by a chord
    assert terms["joints"].item() == pytest.approx(math.sqrt(2) * math.hypot(x, y) / 24 + NEAR, abs=2e-5)
    with pytest.raises(ValueError, match="residual decoder"):
        instruction_terms(edited, batch_of(matrices(("left_elbow",))), {"gate": 1.0})


def test_the_measures_of_an_answer_whose_gates_are_closed_are_those_of_the_copy(
    edited: PoseLlavaOutput,
) -> None:
    measures = instruction_measures(edited, batch_of(matrices(("left_elbow",))))
    assert measures["mpjpe_mm"].item() == pytest.approx(1000 * CHORDS / 24, abs=0.2)
    assert measures["copy_mpjpe_mm"].item() == pytest.approx(measures["mpjpe_mm"].item())
    assert measures["moving_degrees"].item() == pytest.approx(90, abs=0.1)
    assert measures["still_degrees"].item() == pytest.approx(0, abs=0.1)
    assert measures["kept"].item() == 1


@pytest.mark.parametrize(
    ("stage", "losses"), [("stage1", {"gate": 1.0}), ("stage3", {"local": 1.0}), ("stage2", {})]
)
def test_a_stage_refuses_terms_that_it_does_not_have(stage: str, losses: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{stage} knows"):
        check_terms(stage, losses)
