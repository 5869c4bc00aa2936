# SPDX-License-Identifier: Apache-2.0
"""The solver meets what is asked, measured on positions worked out with scipy, and leaves the rest to the bit."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from blender_addon.contract.skeleton import BODY_PARTS, JOINT_INDEX, NUM_JOINTS, PARENTS, REST_OFFSETS
from training.data.constraints.body import bodies
from training.data.constraints.measures import MEASURES, Instances, UnknownMeasureError, measure
from training.data.constraints.prior import FIRST, LAST, load_prior
from training.data.constraints.solver import Problem, Want, jacobian_of_places, solve
from training.data.directives.posed_body import PosedBody
from training.data.starts import StartPoses


def _locals(count, seed=3):
    rng = np.random.default_rng(seed)
    starts = StartPoses(None)
    return torch.tensor(
        np.stack([PosedBody.from_pose(starts(rng)).local for _ in range(count)]), dtype=torch.float32
    )


def _positions(local):
    """Joint positions by scipy, relative to the pelvis."""
    rotations, positions = [], np.zeros((NUM_JOINTS, 3))
    for joint, parent in enumerate(PARENTS):
        own = Rotation.from_matrix(local[joint].double().numpy())
        rotations.append(own if parent < 0 else rotations[parent] * own)
        if parent >= 0:
            positions[joint] = positions[parent] + rotations[parent].apply(np.array(REST_OFFSETS[joint]))
    return positions


def _free(*parts):
    free = torch.zeros(NUM_JOINTS, dtype=torch.bool)
    for part in parts:
        free[list(BODY_PARTS[part])] = True
    return free


def test_an_elbow_is_bent_to_its_angle_and_nothing_else_turns():
    starts = _locals(64)
    solution = solve(
        [Problem(start, _free("left_arm"), [Want(measure("flex", "L_elbow"), 70, 70)]) for start in starts]
    )
    still = [j for j in range(NUM_JOINTS) if j not in BODY_PARTS["left_arm"]]
    assert torch.equal(solution.local[:, still], starts[:, still])
    for local in solution.local[solution.met]:
        at = _positions(local)
        upper = at[JOINT_INDEX["left_elbow"]] - at[JOINT_INDEX["left_shoulder"]]
        fore = at[JOINT_INDEX["left_wrist"]] - at[JOINT_INDEX["left_elbow"]]
        angle = np.degrees(np.arccos(upper @ fore / np.linalg.norm(upper) / np.linalg.norm(fore)))
        assert angle == pytest.approx(70, abs=3.1)
    assert solution.met.float().mean() > 0.97


def test_hands_come_to_a_distance_wherever_they_were():
    starts = _locals(64)
    want = [Want(measure("dist", "L_wrist", "R_wrist"), 0.3, 0.3)]
    solution = solve([Problem(start, _free("left_arm", "right_arm"), want) for start in starts])
    apart = [
        np.linalg.norm(at[JOINT_INDEX["left_wrist"]] - at[JOINT_INDEX["right_wrist"]])
        for at in map(_positions, solution.local[solution.met])
    ]
    assert np.abs(np.array(apart) - 0.3).max() < 0.021
    assert solution.met.float().mean() > 0.8


def test_what_is_met_already_stays_to_the_bit():
    starts = _locals(16)
    want = [Want(measure("dist", "L_wrist", "R_wrist"), 0.0, 9.0)]
    solution = solve([Problem(start, _free("left_arm", "right_arm"), want) for start in starts])
    assert torch.equal(solution.local, starts)
    assert solution.met.all()


def test_knees_bend_forwards_within_their_range():
    starts = _locals(48)
    want = [
        Want(measure("height", "pelvis"), 0.55, 0.55),
        Want(measure("hdist", "mid_ankle", "pelvis"), 0, 0.15),
    ]
    solution = solve([Problem(start, _free("left_leg", "right_leg"), want) for start in starts])
    prior = load_prior()
    for local in solution.local[solution.met]:
        vector = Rotation.from_matrix(local[FIRST:LAST].double().numpy()).as_rotvec()
        knees = np.array([JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]) - FIRST
        assert (vector[knees, 0] > prior.low[knees, 0].numpy() - 0.2).all()
        assert (vector[knees, 0] < prior.high[knees, 0].numpy() + 0.2).all()


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_gradients_of_measures_agree_with_differences(name):
    arguments = {
        "flex": ["L_elbow"], "dist": ["L_palm", "nape"], "hdist": ["L_palm", "chest"], "rel": ["mid_hand", "chin", "z"],
        "pos": ["R_toe", "x"], "height": ["chest"], "elev": ["L_hip", "L_knee"], "azim": ["L_shoulder", "L_hand"],
        "azim_out": ["R", "R_shoulder", "R_hand"], "angle": ["L_hip", "L_knee", "front"],
        "between": ["L_hip", "L_knee", "R_hip", "R_knee"], "corner": ["L_hip", "L_knee", "L_ankle"],
        "lookat": ["R_hand"], "faces": ["spine3", "front"], "palm": ["L", "up"], "fingers": ["R", "down"],
        "toes": ["L"], "foot_pitch": ["R"], "foot_roll": ["L"], "heel": ["R"], "hip_flex": ["L"], "hip_out": ["R"],
        "shrug": ["R"], "shoulder_fwd": ["L"], "against": ["L_palm", "chest"], "clear": ["L_wrist", "pelvis", "neck"],
    }.get(name, [])  # fmt: skip
    # Drawn apart from the start poses, which may hold a limb where a measure has a corner and no gradient.
    turns = Rotation.from_rotvec(np.random.default_rng(3).normal(0, 0.4, (3 * NUM_JOINTS, 3))).as_matrix()
    local = torch.tensor(turns.reshape(3, NUM_JOINTS, 3, 3), dtype=torch.float32)
    instances = Instances(torch.arange(3), [measure(name, *arguments)] * 3)
    body = bodies(local)
    _, gradients = instances.gradients(body.places, body.lowest)
    [(_, chosen, slots, of_places)] = gradients
    jacobian = jacobian_of_places(body, chosen, slots, of_places, torch.arange(NUM_JOINTS).expand(3, -1))
    step = 1e-2
    for joint in range(NUM_JOINTS):
        for axis in range(3):
            vector = np.zeros(3)
            vector[axis] = step
            values = []
            for sign in (1, -1):
                turned = local.clone()
                turned[:, joint] = turned[:, joint] @ torch.tensor(
                    Rotation.from_rotvec(sign * vector).as_matrix(), dtype=torch.float32
                )
                after = bodies(turned)
                values.append(instances.values(after.places, body.lowest))
            difference = (values[0] - values[1]) / (2 * step)
            assert torch.allclose(difference, jacobian[:, joint, axis], atol=0.25, rtol=0.02)


def test_a_measure_that_there_is_not_is_named():
    with pytest.raises(UnknownMeasureError, match="no measure 'flexx'"):
        measure("flexx", "L_elbow")
    with pytest.raises(UnknownMeasureError, match="no place 'L_nose'"):
        measure("dist", "L_nose", "chest")


@pytest.mark.slow
def test_what_is_solved_beside_a_problem_does_not_change_its_answer():
    """Rows of different width and beginnings lie in one batch; each is its own problem all the same."""
    starts = _locals(24, seed=11)
    wants = [
        [Want(measure("dist", "L_palm", "nape"), 0.0, 0.02)],
        [Want(measure("flex", "R_knee"), 60, 60), Want(measure("height", "R_ankle"), 0.2, 0.4)],
        [Want(measure("dist", "L_hand", "R_hand"), 0.0, 0.05), Want(measure("bend",), 20, 25)],
    ]  # fmt: skip
    parts = [("left_arm",), ("right_leg",), ("left_arm", "right_arm", "trunk")]
    problems = [
        Problem(start, _free(*parts[n % 3]), wants[n % 3]) for n, start in enumerate(starts)
    ]  # fmt: skip
    together = solve(problems)
    for row, problem in enumerate(problems):
        alone = solve([problem])
        assert bool(alone.met[0]) == bool(together.met[row])
        assert torch.allclose(alone.local[0], together.local[row], atol=0.02)
