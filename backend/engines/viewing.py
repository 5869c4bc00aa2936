# SPDX-License-Identifier: Apache-2.0
"""Asks again from where the camera sees the body, where the model would rather know that than answer.

A question is first asked as if nobody saw the body: what the words do not tie to a camera is answered the same with and
without one, to the bit. Only where the model asks for the view, and the view is known, is it asked once more, with the
poses as the camera sees them. The view is the one that came with the question, or else it is read off the picture: the
heading of the body in it is relative to the camera, that of the pose is not, and the difference is the camera's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL.Image import Image

from backend.prompt import Prompter
from backend.query import Answer, Query
from blender_addon.contract.messages import View

Ask = Callable[[Sequence[Query], Sequence[View] | None], list[Answer]]
"""Answers to questions, in the body's own frame or as from these views."""
HeadingIn = Callable[[Image], float | None]
"""The heading of the body that a picture shows, radians, 0 facing the camera; None where none is to be seen."""


def answer_in_view(
    prompter: Prompter, queries: Sequence[Query], ask: Ask, heading_in: HeadingIn
) -> list[Answer]:
    """The answers to queries, those about the camera as from their views; where none is known it is asked for."""
    answers = ask(queries, None)
    views: dict[int, View] = {}
    headings: dict[int, float | None] = {}  # the frames of a request share their picture
    for row, query in enumerate(queries):
        if not prompter.asks_for_view(answers[row].text):
            continue
        image = query.image
        if query.view is None and image is not None and id(image) not in headings:
            headings[id(image)] = heading_in(image)
        view = query.view or view_in_picture(headings.get(id(image)))
        if view is not None:
            views[row] = replace(view, yaw=view.yaw - query.turned)
    if views:
        again = ask([queries[row] for row in views], list(views.values()))
        for row, answer in zip(views, again, strict=True):
            answers[row] = answer
    return answers


def view_in_picture(heading: float | None) -> View | None:
    """Where the camera is as a body sees it that a picture shows at this heading, radians. How high it is cannot be
    told: poses are read upright whatever the camera's height."""
    return None if heading is None else View(yaw=-heading, pitch=0.0)
