# SPDX-License-Identifier: Apache-2.0
"""Holds what a model says of poses against the poses: facts right and wrong, and whether the pose is found by them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from backend.query import Answerer, Query
from training.data.captions.facts import pose_facts
from training.data.captions.measures import Bodies
from training.data.captions.spoken import Verdict, facts_that_hold, judge_description, judge_difference
from training.data.samples import Sample

POOL: Final = 100
"""A pose is looked for among so many."""
NEAR_THE_TOP: Final = 10
AT_ONCE: Final = 32
TIMED: Final = 20
"""Questions whose words are timed."""
WORDS: Final = 40


@dataclass(frozen=True)
class SpeechReport:
    """What was said, in numbers.

    Attributes:
        poses, pairs: how many were told of.
        right_of_poses, right_of_pairs: the share of the stated facts that hold by the captioner's rules.
        facts_of_poses, facts_of_pairs: how many were stated on average.
        unread: the share of sentences that state no known fact.
        found: the share of poses that are among the first NEAR_THE_TOP of a pool of POOL, in the order of how many of
            the stated facts hold of each. Ties count by their mean place; so this asks for facts that tell apart, too.
    """

    poses: int
    right_of_poses: float
    facts_of_poses: float
    pairs: int
    right_of_pairs: float
    facts_of_pairs: float
    unread: float
    found: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def said_by(speaker: Answerer, samples: Sequence[Sample]) -> list[str]:
    """What an engine says of each sample's pose, or of what changed since the pose before it.

    Raises:
        ValueError: the model does not speak.
    """
    queries = [Query("describe", "", one.pose_aa, history=one.history) for one in samples]
    return [
        answer.text
        for start in range(0, len(queries), AT_ONCE)
        for answer in speaker.answer(queries[start : start + AT_ONCE])
    ]


def seconds_for_words(speaker: Answerer, samples: Sequence[Sample]) -> float:
    """How long an engine takes for WORDS words, asked of one pose after the other; the first question, which may have
    to load something, is asked once more."""
    said_by(speaker, samples[:1])
    words, begun = 0, time.perf_counter()
    for one in samples:
        words += len(said_by(speaker, [one])[0].split())
    return WORDS * (time.perf_counter() - begun) / max(1, words)


def taught(poses: Sequence[Sample], pairs: Sequence[Sample]) -> SpeechReport:
    """What the sentences that the samples were given come to: the best that a model which learns them can reach."""
    return judge(poses, [one.reply or "" for one in poses], pairs, [one.reply or "" for one in pairs])


def judge(
    poses: Sequence[Sample], of_poses: Sequence[str], pairs: Sequence[Sample], of_pairs: Sequence[str]
) -> SpeechReport:
    """Texts held against the poses and pairs that they are about, which are as ``SpeechSampler`` draws them.

    Raises:
        ValueError: there are no poses or no pairs, or not a text for each.
    """
    if not poses or not pairs:
        raise ValueError("give at least one pose and one pair of poses to speak of")
    single = [judge_description(text, _now(one)) for one, text in zip(poses, of_poses, strict=True)]
    double = [
        judge_difference(text, _before(one), _now(one)) for one, text in zip(pairs, of_pairs, strict=True)
    ]
    sentences = sum(each.stated + each.unread for each in (*single, *double))
    places = [
        place
        for start in range(0, len(poses), POOL)
        for place in _places(of_poses[start : start + POOL], poses[start : start + POOL])
    ]
    return SpeechReport(
        poses=len(poses),
        right_of_poses=_share(single, lambda each: each.right, lambda each: each.stated),
        facts_of_poses=float(np.mean([each.stated for each in single])),
        pairs=len(pairs),
        right_of_pairs=_share(double, lambda each: each.right, lambda each: each.stated),
        facts_of_pairs=float(np.mean([each.stated for each in double])),
        unread=sum(each.unread for each in (*single, *double)) / max(1, sentences),
        found=float(np.mean([place <= NEAR_THE_TOP for place in places])),
    )


def _places(texts: Sequence[str], pool: Sequence[Sample]) -> list[float]:
    """At which place of the pool, from 1, each pose comes by the facts of its text."""
    facts = pose_facts(Bodies.of(np.stack([_now(one) for one in pool])))
    found = []
    for own, text in enumerate(texts):
        right = facts_that_hold(text, facts)
        before, alike = int((right > right[own]).sum()), int((right == right[own]).sum())
        found.append(1 + before + (alike - 1) / 2)
    return found


def _share(
    verdicts: Sequence[Verdict], part: Callable[[Verdict], int], whole: Callable[[Verdict], int]
) -> float:
    return sum(map(part, verdicts)) / max(1, sum(map(whole, verdicts)))


def _now(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    assert sample.pose_aa is not None
    return np.asarray(sample.pose_aa, np.float32)


def _before(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pose = sample.history[-1].pose
    assert pose is not None
    return np.asarray(pose, np.float32)
