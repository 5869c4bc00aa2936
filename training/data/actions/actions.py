# SPDX-License-Identifier: Apache-2.0
"""What somebody does: recorded poses, asked for by the label of the clip that they are from.

A label speaks of the whole clip and a pose is one moment of it, so one sentence has many targets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from blender_addon.contract.kinematics import mirror_pose
from training.data.directives.slips import type_in
from training.data.directives.wording import expand
from training.data.pool import with_heading
from training.data.samples import Sample
from training.data.sources.pose_set import PoseSet
from training.yaml_file import read_yaml

ACTIONS_FILE: Final = Path(__file__).with_name("actions.yaml")
KNOWN_SHARE: Final = 0.95
"""How often a label of the table is said in the table's words rather than as it stands."""

_NUMBERS: Final = re.compile(r"\b\d+\b")
_SPACES: Final = re.compile(r"\s+")


@cache
def load_actions() -> Mapping[str, Any]:
    """The table of labels and the sentences around them."""
    table: Mapping[str, Any] = read_yaml(ACTIONS_FILE)
    return table


def clean_label(label: str) -> str:
    """A label or the stem of a file's name as words: "walk_forward_02_poses" is "walk forward"."""
    words = label.replace("_", " ").removesuffix(" poses").removesuffix(" stageii")
    return _SPACES.sub(" ", _NUMBERS.sub(" ", words)).strip(" -,.").lower()


def action_text(rng: np.random.Generator, label: str) -> str:
    """A sentence that asks for a pose from a clip of that label."""
    table = load_actions()
    doing = table["labels"].get(label)
    if doing is not None and rng.random() < KNOWN_SHARE:
        frames, words = table["doing_frames"], {"doing": f"[{'|'.join(doing)}]"}
    else:
        frames, words = table["label_frames"], {"label": clean_label(label)}
    return type_in(rng, expand(rng, frames[rng.integers(len(frames))], words))


class ActionSampler:
    """Draws recorded poses with sentences from their labels, task ``generate``.

    Raises:
        ValueError: no pose has a label.
    """

    def __init__(self, recorded: PoseSet) -> None:
        named = np.array([bool(clean_label(str(label))) for label in recorded.label_names], dtype=bool)
        labelled = named[recorded.label_of]
        if not labelled.any():
            raise ValueError("none of the poses has a label; actions are worded from the labels of clips")
        self._poses = recorded.pose_aa
        self._label_of, self._label_names = recorded.label_of, recorded.label_names
        mass = np.where(labelled, recorded.label_weights(), 0.0)
        self._cumulative = np.cumsum(mass / mass.sum())

    def draw_many(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """``count`` samples. No label has a side, so that a pose is as good as its mirror image."""
        rows = np.searchsorted(self._cumulative, rng.random(count)).clip(0, len(self._poses) - 1)
        flip = rng.random(count) < 0.5
        poses = self._poses[rows]
        poses = np.where(flip[:, None, None], mirror_pose(poses), poses).astype(np.float32)
        poses = with_heading(poses, np.zeros(count))
        return [
            Sample(
                "",
                "generate",
                "action",
                action_text(rng, str(self._label_names[self._label_of[row]])),
                target_aa=pose,
            )
            for row, pose in zip(rows, poses, strict=True)
        ]
