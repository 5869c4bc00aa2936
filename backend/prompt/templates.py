# SPDX-License-Identifier: Apache-2.0
"""The placeholders of a prompt and the wording of the tasks, which is stored with each checkpoint.

In a question ``{instruction}``, ``<pose>``, ``<image>`` and ``<seen_pose>`` are filled in. An answer that holds
``<POSE>`` is fixed wording, so that one prefill over question and answer yields the pose. Answers in words are fixed
too: the first token that the model would say chooses between them and a pose.
"""

from __future__ import annotations

from typing import Final

POSE_PLACEHOLDER: Final = "<pose>"
"""Where a pose enters the prompt; takes NUM_POSE_TOKENS places."""
SEEN_POSE_PLACEHOLDER: Final = "<seen_pose>"
"""Where the pose that is read from the image enters the prompt, as at ``<pose>``; a template's word, no token."""
IMAGE_PLACEHOLDER: Final = "<image>"
"""Where an image enters the prompt; takes as many places as its tiles have patches."""
POSE_OUTPUT: Final = "<POSE>"
"""The token whose hidden state the pose decoder turns into a pose."""
NUM_POSE_TOKENS: Final = 25
"""Z_avg, the learned global token, and Z_local, one token a joint."""

CONVERSATION_TASK: Final = "chat"
"""Words alone, for training on conversations; it has no template."""

Templates = dict[str, list[dict[str, str]]]
"""For each task one or more pairs of ``question`` and ``answer``; the first is the one that engines use."""

PAPER_TEMPLATES: Final[Templates] = {
    "adjust": [
        {
            "question": "<pose>\nKindly review the provided description. {instruction} Given the initial pose of a "
            "human, can you predict and adjust the SMPL pose according to the textual description?",
            "answer": "Sure, the SMPL pose is <POSE>.",
        }
    ],
    "generate": [
        {
            "question": "There is a person doing this: {instruction} Can you use SMPL pose to describe the pose?",
            "answer": "Sure, the SMPL pose is <POSE>.",
        }
    ],
    "estimate": [
        {
            "question": "<image>\n{instruction} Can you predict the SMPL pose of the person in this image?",
            "answer": "Sure, the SMPL pose is <POSE>.",
        }
    ],
}
"""The papers' wording of the three tasks, for a model that starts from LLaVA."""

COMPACT_TEMPLATES: Final[Templates] = {
    "adjust": [{"question": "adjust: {instruction} <pose>", "answer": "<POSE>"}],
    "generate": [{"question": "generate: {instruction} <pose>", "answer": "<POSE>"}],
    "estimate": [{"question": "estimate: <image> <seen_pose>", "answer": "<POSE>"}],
}
"""Short wording for a small model. The pose comes last, so that its tokens have read the instruction; where none is
given the standing pose stands in. An image enters with the pose that stage 1 sees in it, which a small language model
reads far better than patches."""

COMPACT_TURN: Final = "earlier: {instruction} <pose> "
"""How a small model reads a turn before the question: what was asked, and of which pose."""

VERBAL_ANSWERS: Final = {
    "unclear": "Sorry, I do not understand what is to change.",
    "no_request": "That does not ask for a pose.",
    "impossible": "A body cannot do that.",
    "already": "It is like that already.",
}
"""What may be answered in the place of a pose. No two begin with the same token, nor as an answer with a pose does."""
