# SPDX-License-Identifier: GPL-3.0-or-later
"""Limbs that a picture does not show well are told by name."""

from blender_addon.contract.messages import Result
from blender_addon.contract.skeleton import JOINT_INDEX, STANDING_POSE
from blender_addon.operators.certainty import unsure_limbs


def _result(**low: float) -> Result:
    chances = [0.9] * 24
    for joint, chance in low.items():
        chances[JOINT_INDEX[joint]] = chance
    return Result("r", (STANDING_POSE,), ("It is",), confidence=(tuple(chances),))


def test_limbs_with_an_unsure_joint_are_named():
    assert (
        unsure_limbs(_result(left_wrist=0.2, right_knee=0.3))
        == "Not seen well, so check it: left arm, right leg."
    )


def test_a_pose_that_is_seen_well_or_is_of_no_picture_needs_no_word():
    assert unsure_limbs(_result()) == ""
    assert unsure_limbs(Result("r", (STANDING_POSE,), ("It is",))) == ""
