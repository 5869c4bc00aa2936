# SPDX-License-Identifier: Apache-2.0
"""The placeholders of a prompt and the wording of the tasks, which is stored with each checkpoint.

In a question ``{instruction}``, ``<pose>``, ``<earlier_pose>``, ``<image>`` and ``<seen_pose>`` are filled in. An
answer that holds ``<POSE>`` is fixed wording, so that one prefill over question and answer yields the pose. The few
answers in words to an edit are fixed too: the first token that the model would say chooses between them and a pose. A
task whose answer is empty is answered in the model's own words, token by token.

A task may have templates for different inputs: one that holds ``<pose>`` and ``<image>`` is for a pose with a picture,
and so on. The first that fits what is given is the one to ask with; training asks in all of them.
"""

from __future__ import annotations

import math
from typing import Final

POSE_PLACEHOLDER: Final = "<pose>"
"""Where a pose enters the prompt; takes NUM_POSE_TOKENS places."""
SEEN_POSE_PLACEHOLDER: Final = "<seen_pose>"
"""Where the pose that is read from the image enters the prompt, as at ``<pose>``; a template's word, no token."""
IMAGE_PLACEHOLDER: Final = "<image>"
"""Where an image enters the prompt; takes as many places as its tiles have patches."""
EARLIER_POSE_PLACEHOLDER: Final = "<earlier_pose>"
"""Where the pose that the last turn shows enters the prompt, as at ``<pose>``; a template's word, no token."""
POSE_OUTPUT: Final = "<POSE>"
"""The token whose hidden state the pose decoder turns into a pose."""
NUM_POSE_TOKENS: Final = 25
"""Z_avg, the learned global token, and Z_local, one token a joint."""

CONVERSATION_TASK: Final = "chat"
"""A conversation: what was said before stands before the question, and ``<POSE>`` anywhere in the answer is a pose. A
checkpoint that has a template for it converses; how its turns are laid out is the prompter's."""
OWN_WORDS: Final = ""
"""The answer of a template whose question is answered in the model's own words."""

Templates = dict[str, list[dict[str, str]]]
"""For each task one or more pairs of ``question`` and ``answer``."""

_ANSWERS: Final = (
    "Sure, the SMPL pose is <POSE>.",
    "The SMPL pose is <POSE>.",
    "It is <POSE>.",
    "Sure, it is <POSE>.",
    "The SMPL pose of the person is <POSE>.",
    "Sure, <POSE>.",
    "The SMPL format of this person's pose is <POSE>.",
)

_ADJUST: Final = (
    (
        "Kindly review the provided description. {instruction} Given the initial pose of a human|, can you predict and"
        " adjust the SMPL pose according to the textual description?",
        " in the image",
    ),
    (
        "Please peruse the description below. {instruction} Start with the pose| and use the textual description to"
        " generate the corresponding adjusted SMPL pose.",
        " depicted in the image",
    ),
    (
        "Your attention is required for the following text. {instruction} Using the initial pose of the human| and the"
        " provided textual description, attempt to predict a SMPL pose that matches the description.",
        " in the image",
    ),
    (
        "Kindly review the following passage for context. {instruction} Your goal is to synthesize a SMPL pose based on"
        " the human pose |, refining it based on the details provided in the text.",
        "depicted in the image",
    ),
    (
        "Take a moment to read the following passage. {instruction} Given the initial pose| and the textual"
        " description, try adjusting the SMPL pose to match the requirements outlined in the description.",
        " in the image",
    ),
    (
        "The following description requires your attention. {instruction} Incorporate both the pose| and the semantic"
        " context of the text to generate an adjusted SMPL pose that reflects the described changes.",
        " in the image",
    ),
    (
        "Please read and understand the following information. {instruction} Given the initial human pose|, your task"
        " is to refine it into a SMPL pose that aligns with the provided text description.",
        " in the image",
    ),
    (
        "Take a look at the following description. {instruction} Utilize the pose| as a baseline, then apply"
        " adjustments to the SMPL pose based on the accompanying textual description.",
        " depicted in the image",
    ),
    (
        "Please read the following description. {instruction} Commencing with the pose|, adapt it according to the"
        " textual guidance to produce a modified SMPL pose.",
        " visible in the image",
    ),
    (
        "Please consider the details provided below. {instruction} Start with the initial pose of the human| and"
        " generate a SMPL pose adjustment that fits the description provided in the text.",
        " in the image",
    ),
)
"""Each with the words that stand at the bar where the pose is seen in a picture."""

_GENERATE: Final = (
    "There is a person doing this: {instruction} Can you use SMPL pose to describe the pose?",
    "There is a person: {instruction} Please output this person's SMPL pose.",
    "What's the SMPL pose of this person? {instruction}",
    "Use SMPL pose to describe this person's behavior. {instruction}",
    "Human pose is described as words: {instruction} The SMPL pose is?",
    "I have a word description of a person's pose, can you give the SMPL pose of this person? {instruction}",
    "A person is described as: {instruction} Use the SMPL pose to reflect this.",
    "Human pose can be described as words: {instruction} And it can also be described in SMPL pose format, can you"
    " output this?",
    "{instruction} Give the SMPL pose.",
    "{instruction} Can you give the SMPL pose of this person?",
)

_ESTIMATE: Final = (
    "Can you predict the SMPL pose of the person in this image?",
    "There is a person in the middle of the image, please output this person's SMPL pose.",
    "What is the human pose in this image? Please respond with SMPL pose.",
    "What is the person doing in this image? Please output SMPL pose.",
    "There is a person in the middle of the image, use SMPL to describe the pose.",
    "Can you give the SMPL pose of this person?",
)


def _answered(questions: list[str]) -> list[dict[str, str]]:
    return [
        {"question": question, "answer": _ANSWERS[number % len(_ANSWERS)]}
        for number, question in enumerate(questions)
    ]


PAPER_TEMPLATES: Final[Templates] = {
    "adjust": [
        *_answered(["<pose> " + words.replace("|", "") for words, _ in _ADJUST]),
        *_answered(["<image>\n" + words.replace("|", seen) for words, seen in _ADJUST]),
        *_answered(["<image>\n<pose> " + words.replace("|", seen) for words, seen in _ADJUST]),
    ],
    "generate": _answered(list(_GENERATE)),
    "estimate": _answered(["<image>\n{instruction} " + words for words in _ESTIMATE]),
}
"""The papers' and their public data's wording of the three tasks, for a model that starts from LLaVA."""

PAPER_ANSWERS: Final = frozenset(_ANSWERS)

COMPACT_TEMPLATES: Final[Templates] = {
    "adjust": [
        {"question": "adjust: {instruction} <pose>", "answer": "<POSE>"},
        {"question": "adjust: {instruction} <seen_pose>", "answer": "<POSE>"},
    ],
    "generate": [{"question": "generate: {instruction} <pose>", "answer": "<POSE>"}],
    "estimate": [{"question": "estimate: <image> <seen_pose>", "answer": "<POSE>"}],
}
"""Short wording for a small model. The pose comes last, so that its tokens have read the instruction; where none is
given the standing pose stands in. An image enters with the pose that stage 1 sees in it, which a small language model
reads far better than patches."""

READER_TEMPLATES: Final[Templates] = {
    **COMPACT_TEMPLATES,
    "estimate": [{"question": "adjust: <seen_pose>", "answer": "<POSE>"}],
}
"""For a small model with a pose reader: a picture enters as the pose that is read from it, of which nothing is said."""

COMPACT_SPEECH: Final[Templates] = {
    "describe": [
        {"question": "describe: <pose>", "answer": OWN_WORDS},
        {"question": "changed: <earlier_pose> <pose>", "answer": OWN_WORDS},
    ]
}
"""How a small model is asked to describe a pose, and what changed between two."""

PAPER_SPEECH: Final[Templates] = {CONVERSATION_TASK: [{"question": "{instruction}", "answer": OWN_WORDS}]}
"""How a model that starts from LLaVA converses, with and without poses."""

COMPACT_TURN: Final = "earlier: {instruction} <pose> "
"""How a small model reads a turn before the question: what was asked, and of which pose."""

COMPACT_VIEW: Final = "camera {height}: "
"""How a small model is told that the poses after it stand as the camera sees them: heading 0 faces the camera, +x is
the right of the picture. ``{height}`` says how far above or below the body's level the camera is."""
HEIGHT_STEP: Final = 10
"""Degrees to which the camera's height is told."""

VIEW_ANSWER: Final = "view"
"""The verbal answer to what can only be answered where it is known from where the body is seen."""

VERBAL_ANSWERS: Final = {
    "unclear": "Sorry, I do not understand what is to change.",
    "no_request": "That does not ask for a pose.",
    "impossible": "A body cannot do that.",
    "already": "It is like that already.",
    VIEW_ANSWER: "Where is the camera? Send the viewport along, or say it as the figure sees it.",
}
"""What may be answered in the place of a pose. No two begin with the same token, nor as an answer with a pose does."""


def height_words(pitch: float) -> str:
    """How high the camera is, by its pitch in radians as the body sees it: ``level``, ``20 up``, ``10 down``."""
    steps = round(math.degrees(pitch) / HEIGHT_STEP)
    return "level" if not steps else f"{abs(steps) * HEIGHT_STEP} {'up' if steps > 0 else 'down'}"


def fitting(
    templates: list[dict[str, str]], *, has_pose: bool, has_image: bool, has_earlier: bool = False
) -> list[int]:
    """Numbers of the templates that read what is given: all of it, or else the pose alone.

    A picture that no template reads is left aside, as a viewport render is by models that do not look at it, and so is
    the pose of an earlier turn. Where no pose is given, a template with ``<pose>`` does as well: the standing pose
    stands in. Never empty.
    """
    reads = [_reads(template["question"]) for template in templates]
    for wanted in (
        (has_pose, has_image, has_earlier),
        (has_pose, has_image, False),
        (has_pose, False, has_earlier),
        (has_pose, False, False),
    ):
        found = [number for number, one in enumerate(reads) if one == wanted]
        if found:
            return found
    return [number for number, (_, image, _) in enumerate(reads) if not image] or list(range(len(reads)))


def reads_image(question: str) -> bool:
    """Whether a picture stands in the question, by itself or as the pose that is seen in it."""
    return IMAGE_PLACEHOLDER in question or SEEN_POSE_PLACEHOLDER in question


def in_own_words(templates: list[dict[str, str]]) -> bool:
    """Whether a task of these templates is answered in the model's own words."""
    return templates[0]["answer"] == OWN_WORDS


def _reads(question: str) -> tuple[bool, bool, bool]:
    return POSE_PLACEHOLDER in question, reads_image(question), EARLIER_POSE_PLACEHOLDER in question
