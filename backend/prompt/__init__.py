# SPDX-License-Identifier: Apache-2.0
"""What a model reads, the same for every engine: from (task, instruction, pose, image) to token ids, poses, pictures.

``templates`` has the wording of the tasks, ``spelling`` sets slips of the keyboard right, ``tokens`` cuts text into
ids and keeps special tokens out of what users type, ``pictures`` lays images on the pose reader's canvas, ``speech``
reads what a voice beside the weights says of itself, and ``prompter`` puts the parts together. Needs numpy, Pillow and
tokenizers: neither torch nor transformers. May import backend.weight_files and blender_addon.contract.
"""

from .prompter import PromptBatch, Prompter, PromptSample
from .templates import (
    COMPACT_SPEECH,
    COMPACT_TEMPLATES,
    COMPACT_TURN,
    COMPACT_VIEW,
    EARLIER_POSE_PLACEHOLDER,
    IMAGE_PLACEHOLDER,
    NUM_POSE_TOKENS,
    OWN_WORDS,
    PAPER_SPEECH,
    PAPER_TEMPLATES,
    POSE_OUTPUT,
    POSE_PLACEHOLDER,
    READER_TEMPLATES,
    SEEN_POSE_PLACEHOLDER,
    VERBAL_ANSWERS,
    VIEW_ANSWER,
)
from .tokens import PromptTokenizer

__all__ = [
    "COMPACT_SPEECH",
    "COMPACT_TEMPLATES",
    "COMPACT_TURN",
    "COMPACT_VIEW",
    "EARLIER_POSE_PLACEHOLDER",
    "IMAGE_PLACEHOLDER",
    "NUM_POSE_TOKENS",
    "OWN_WORDS",
    "PAPER_SPEECH",
    "PAPER_TEMPLATES",
    "POSE_OUTPUT",
    "POSE_PLACEHOLDER",
    "READER_TEMPLATES",
    "SEEN_POSE_PLACEHOLDER",
    "VERBAL_ANSWERS",
    "VIEW_ANSWER",
    "PromptBatch",
    "PromptSample",
    "PromptTokenizer",
    "Prompter",
]
