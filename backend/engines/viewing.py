# SPDX-License-Identifier: Apache-2.0
"""What is seen goes before what is answered: who is in a picture, and where the camera is that sees the body.

A picture that a pose is to be read off is looked at first. Where it shows no whole person, or several of whom the words
name none, a sentence says so and nothing moves (``people``). An edit of a pose that is seen starts from that pose.

A question is then asked as if nobody saw the body: what the words do not tie to a camera is answered the same with and
without one, to the bit. Only where the model asks for the view, and the view is known, is it asked once more, with the
poses as the camera sees them. The view is the one that came with the question, or else it is read off the picture: the
heading of the body in it is relative to the camera, that of the pose is not, and the difference is the camera's.

Legend: J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from backend.prompt import Prompter
from backend.query import Answer, Query
from blender_addon.contract.messages import View

from .meant import Imagine
from .people import Look, Person, Seen, person_in

SeenPoses = Sequence[npt.NDArray[np.float32] | None]
Ask = Callable[[Sequence[Query], SeenPoses, Sequence[View] | None], list[Answer]]
"""Answers to questions, given the poses (J, 3) that were read off their pictures, in the body's own frame or as from
these views."""


def answer_seeing(prompter: Prompter, queries: Sequence[Query], ask: Ask, look: Look | None) -> list[Answer]:
    """The answers to queries.

    Args:
        prompter: knows which queries need their picture.
        queries: what is asked.
        ask: the model.
        look: its pose reader; None where it has none.
    """
    people = _People(look, _imagining(prompter, ask))
    reads = [row for row, query in enumerate(queries) if look is not None and prompter.reads_picture(query)]
    people.look_at([queries[row].image for row in reads])
    found = {row: people.person(queries[row]) for row in reads}
    answers: list[Answer | None] = [None] * len(queries)
    for row, person in found.items():
        if isinstance(person, str):
            answers[row] = Answer(None, person)
    rows = [row for row, answer in enumerate(answers) if answer is None]
    seen = [_pose_of(found.get(row)) for row in rows]
    asked = [_of_person(queries[row], found.get(row)) for row in rows]
    if rows:
        first = ask(asked, seen, None)
        for row, answer in zip(rows, _as_from_view(prompter, asked, seen, first, ask, people), strict=True):
            one = found.get(row)
            if isinstance(one, Person) and answer.pose_aa is not None:
                words = f"{answer.text} {one.caution}".strip()
                answer = replace(answer, confidence=one.confidence, text=words)
            answers[row] = answer
    return [answer for answer in answers if answer is not None]


def _as_from_view(
    prompter: Prompter,
    queries: Sequence[Query],
    seen: SeenPoses,
    answers: list[Answer],
    ask: Ask,
    people: _People,
) -> list[Answer]:
    """The answers, with those that ask for the view given again as from there, where it is known."""
    views: dict[int, View] = {}
    for row, query in enumerate(queries):
        if not prompter.asks_for_view(answers[row].text):
            continue
        view = query.view
        if view is None and query.image is not None:
            view = view_of(people.person(query))
        if view is not None:
            views[row] = replace(view, yaw=view.yaw - query.turned)
    if views:
        again = ask([queries[row] for row in views], [seen[row] for row in views], list(views.values()))
        for row, answer in zip(views, again, strict=True):
            answers[row] = answer
    return answers


def view_of(person: Person | str | None) -> View | None:
    """Where the camera is as a person sees it who is seen in its picture; None where nobody is. How high it is cannot
    be told: poses are read upright whatever the camera's height."""
    return View(yaw=-person.heading, pitch=0.0) if isinstance(person, Person) else None


def _of_person(query: Query, person: Person | str | None) -> Query:
    """A query as it is asked of a person. An edit starts at the pose that is seen: what it leaves alone is as it was
    seen. Words that told who is meant have been heard."""
    if not isinstance(person, Person):
        return query
    if query.task == "adjust":
        return replace(query, pose_aa=person.pose_aa)
    return replace(query, instruction="") if person.is_named else query


def _pose_of(person: Person | str | None) -> npt.NDArray[np.float32] | None:
    return person.pose_aa if isinstance(person, Person) else None


def _imagining(prompter: Prompter, ask: Ask) -> Imagine | None:
    """How the model is asked for the pose that words describe; None where it knows no such task."""
    if "generate" not in prompter.templates:
        return None

    def imagine(words: str) -> npt.NDArray[np.float32] | None:
        [answer] = ask([Query("generate", words)], [None], None)
        return answer.pose_aa

    return imagine


class _People:
    """Who is seen in pictures, each looked at once: the frames of a request share theirs."""

    def __init__(self, look: Look | None, imagine: Imagine | None) -> None:
        self._look = look
        self._imagine = imagine
        self._seen: dict[int, Seen] = {}
        self._found: dict[tuple[int, str, str], Person | str] = {}

    def look_at(self, images: Sequence[Image | None]) -> None:
        """Look at pictures together."""
        fresh = {id(image): image for image in images if image is not None and id(image) not in self._seen}
        if fresh and self._look is not None:
            seen = self._look(list(fresh.values()))
            for row, key in enumerate(fresh):
                own = slice(row, row + 1)
                self._seen[key] = Seen(
                    seen.matrices[own], seen.spread[own], seen.places[own], seen.first_spread[own]
                )

    def person(self, query: Query) -> Person | str | None:
        """The person in a query's picture, or a sentence; None where nothing looks at pictures."""
        image = query.image
        if self._look is None or image is None:
            return None
        key = (id(image), query.task, query.instruction)
        if key not in self._found:
            self.look_at([image])
            # The words of an edit say what somebody is to do, not who is meant.
            imagine = self._imagine if query.task == "estimate" else None
            self._found[key] = person_in(image, query.instruction, self._look, self._seen[id(image)], imagine)
        return self._found[key]
