# SPDX-License-Identifier: Apache-2.0
"""The sentences of directives: no two kinds that lead elsewhere may be asked for in the same words."""

import numpy as np
import pytest

from training.data.directives.wording import default_wording, expand

_SLOTS = {"L": "left", "R": "right", "Li": "L", "Ri": "R", "ccw": "left", "cw": "right", "your": "your"}
_DRAWS = 60


class _Said(dict[str, str]):
    """Slots; those of which nothing is known stand for themselves."""

    def __missing__(self, name: str) -> str:
        return name


def _sentences(name: str) -> set[str]:
    """Many of the sentences of a kind that tell no amount; the same ones each time."""
    rng = np.random.default_rng(0)
    wording = default_wording()
    words = _Said({**wording.words[name], **_SLOTS, "amount": "", "pre": "", "comp": ""})
    patterns = [text for texts in wording.kinds[name].values() for text in texts]
    return {expand(rng, text, words).lower() for text in patterns for _ in range(_DRAWS)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("step.any/forward", "posture.split_stance_any"),
        ("foot.in_front_of_other", "posture.split_stance"),
        ("foot.behind_other", "posture.split_stance"),
        ("legs.stand", "posture.neutral"),
        ("forearm_direct/across", "forearm_twist/in"),
        ("forearm_direct/out", "forearm_twist/out"),
        ("foot.out", "foot.turn_out"),
        ("foot.in", "foot.turn_in"),
        ("foot.up", "ankle.flex"),
        ("foot.lower", "ankle.point"),
        ("head.turn", "root.turn"),
        ("head.straight", "head.chin/forward"),
        ("trunk.less/twist", "trunk.undo_one/twist"),
    ],
)
def test_kinds_that_end_in_different_poses_share_no_sentence(first: str, second: str) -> None:
    ours, theirs = _sentences(first), _sentences(second)
    assert ours
    assert theirs
    assert not ours & theirs
