# SPDX-License-Identifier: Apache-2.0
"""Words that tell one of several people in a scene, as ChatPose's benchmark has them: by behaviour, shape, outfit,
pose, or a summary of two of these; and by the place, which it lacks. What is said of one holds of no other there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.data.captions.spoken import Teller, judge_description
from training.data.directives.wording import expand
from training.data.pool import PosePool

from .drawing import Figure, Scene, draw_scene, load_words

KINDS: Final = ("behavior", "shape", "outfits", "pose", "summary", "place")
"""In the order of ChatPose's table 2 and under the names of its files; the last is ours."""
COUNTED_POSES: Final = 1000
BARE: Final = ("person", "one", "figure")


@dataclass(frozen=True)
class Question:
    """Words for one figure of a scene: which kind they are of, and the figure's number from the left."""

    kind: str
    words: str
    who: int


class Telling:
    """Draws scenes with questions about those who are in them.

    Args:
        pool: poses of those whose behaviour has no name, and in which is counted what is rare.
    """

    def __init__(self, pool: PosePool) -> None:
        self._pool = pool
        self._teller = Teller(pool.draw(np.random.default_rng(0), COUNTED_POSES))
        self._ways: dict[str, Callable[[np.random.Generator, Scene, int], str]] = {
            "behavior": self._behaviour,
            "shape": self._shape,
            "outfits": self._outfit,
            "pose": self._pose,
            "summary": self._summary,
            "place": self._place,
        }

    def draw(self, rng: np.random.Generator) -> tuple[Scene, list[Question]]:
        """A scene, and for each kind one question about somebody in it, where there is somebody whom it can tell."""
        scene = draw_scene(rng, lambda rng: self._pool.draw(rng, 1)[0])
        found = []
        for kind, way in self._ways.items():
            for who in rng.permutation(len(scene.figures)).tolist():
                words = way(rng, scene, who)
                if words:
                    found.append(Question(kind, words, who))
                    break
        return scene, found

    def _place(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        return _said(rng, load_words()["places"][len(scene.figures)][who])

    def _outfit(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        """By the shirt or the trousers, whose colours nobody else's have."""
        figure = scene.figures[who]
        of_shirt = rng.random() < 0.6
        colour = figure.shirt if of_shirt else figure.trousers
        return _said(rng, load_words()["shirts" if of_shirt else "trousers"], colour=colour)

    def _shape(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        sizes = [figure.is_small for figure in scene.figures]
        if sizes.count(sizes[who]) > 1:
            return ""
        return _said(rng, load_words()["shapes"]["small" if sizes[who] else "tall"])

    def _behaviour(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        """By what somebody does, where it is known what everybody does."""
        if not all(figure.behaviour for figure in scene.figures):
            return ""
        behaviour = load_words()["behaviours"][scene.figures[who].behaviour]
        return _said(rng, load_words()["doing"], doing=f"[{'|'.join(behaviour['doing'])}]")

    def _pose(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        """By a fact of the pose that holds of no other."""
        figure = scene.figures[who]
        [told] = self._teller.describe(figure.pose_aa[None], rng)
        facts = [
            fact for fact in told.split(". ") if _clause(fact) and self._holds_alone(fact, scene, figure)
        ]
        if not facts:
            return ""
        return f"{_who(rng)} {_clause(facts[rng.integers(len(facts))])}"

    @staticmethod
    def _holds_alone(fact: str, scene: Scene, figure: Figure) -> bool:
        return not any(
            judge_description(fact, other.pose_aa).right for other in scene.figures if other is not figure
        )

    def _summary(self, rng: np.random.Generator, scene: Scene, who: int) -> str:
        """Two ways after each other."""
        ways = [way for name, way in self._ways.items() if name not in ("summary", "shape")]
        said = [words for number in rng.permutation(len(ways)) if (words := ways[number](rng, scene, who))]
        if len(said) < 2:
            return ""
        first, second = said[:2]
        for who_first in (f"the {bare}" for bare in BARE):
            second = second.removeprefix(f"{who_first} ")
        return f"{first}, {second}"


def _said(rng: np.random.Generator, sentences: list[str], **words: str) -> str:
    sentence = sentences[rng.integers(len(sentences))]
    return expand(rng, sentence, {"who": _who(rng), "bare": BARE[rng.integers(len(BARE))], **words})


def _who(rng: np.random.Generator) -> str:
    people = load_words()["people"]
    return str(people[rng.integers(len(people))])


def _clause(fact: str) -> str:
    """What is said of a pose in a sentence, behind the word for a person; empty where it cannot be said so."""
    words = fact.strip().rstrip(".")
    if words.startswith("The person is "):
        return "who is " + words.removeprefix("The person is ")
    if words.startswith("The "):
        return "whose " + words.removeprefix("The ")
    noun, are, rest = words.removeprefix("Both ").partition(" are ")
    return f"with both {noun} {rest}" if words.startswith("Both ") and are else ""
