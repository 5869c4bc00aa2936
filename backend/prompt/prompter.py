# SPDX-License-Identifier: Apache-2.0
"""Fills the templates in, cuts the text into tokens and lays a batch out.

Legend: B samples, L the longest one's tokens, P poses read (``<pose>`` placeholders, row by row), J = 24 joints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from blender_addon.contract.kinematics import heading, yaw_matrix
from blender_addon.contract.rotations import axis_angle_to_matrix
from blender_addon.contract.skeleton import NUM_JOINTS, STANDING_POSE

from .spelling import Spelling
from .templates import (
    CONVERSATION_TASK,
    IMAGE_PLACEHOLDER,
    NUM_POSE_TOKENS,
    POSE_OUTPUT,
    POSE_PLACEHOLDER,
    SEEN_POSE_PLACEHOLDER,
    Templates,
)
from .tokens import PromptTokenizer

PROCESSOR_FILE: Final = "processor_config.json"
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class PromptSample(Protocol):
    """What a prompt is made of; poses (J, 3) axis-angle, radians."""

    @property
    def task(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def pose_aa(self) -> Floats | None: ...
    @property
    def image(self) -> Image.Image | None: ...


@dataclass(frozen=True)
class PromptBatch:
    """Prompts side by side, padded on the right.

    Attributes:
        input_ids: (B, L).
        attention_mask: (B, L), 0 on padding.
        answer_at: (B,) where each answer begins; what is predicted at the place before is its first token.
        poses: (P, J, 6) rot6d without their heading; the standing pose holds the place of one that is seen.
        headings: (B,) radians, the heading that was taken out of each sample's pose; 0 where there was none.
        images: the pictures that the prompts need, row by row.
        pose_images: (P,) the number of the image that a pose is read from, -1 where it is given.
        shows_patches: whether a prompt has places for an image's patches.
    """

    input_ids: Ints
    attention_mask: Ints
    answer_at: Ints
    poses: Floats
    headings: Floats
    images: list[Image.Image]
    pose_images: Ints
    shows_patches: bool


class Prompter:
    """Makes prompts by a checkpoint's templates.

    Args:
        tokenizer: the checkpoint's.
        templates: for each task, question and answer.
        prompt_format: what wraps each question, ``{question}`` in it.
        max_instruction_tokens: longer instructions are cut.
        known_words: words that slips of the keyboard are taken back to; None leaves the spelling to the model.
        image_tokens: how many places an image takes; None where no template shows patches.
    """

    def __init__(
        self,
        tokenizer: PromptTokenizer,
        templates: Templates,
        *,
        prompt_format: str = "{question}",
        max_instruction_tokens: int = 512,
        known_words: Sequence[str] | None = None,
        image_tokens: Callable[[Image.Image], int] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.templates = templates
        self._prompt_format = prompt_format
        self._max_instruction_tokens = max_instruction_tokens
        self._spelling = None if known_words is None else Spelling(known_words, tokenizer.vocabulary())
        self._image_tokens = image_tokens

    @classmethod
    def load(cls, folder: Path) -> Prompter:
        """The prompter of a folder that ``save_pretrained`` wrote, for prompts without an image's patches.

        Raises:
            FileNotFoundError: a file of it is not there.
            ValueError: a file of it is damaged.
        """
        file = folder / PROCESSOR_FILE
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
            return cls(
                PromptTokenizer.load(folder),
                settings["templates"],
                prompt_format=settings["prompt_format"],
                max_instruction_tokens=settings["max_instruction_tokens"],
                known_words=settings["known_words"],
            )
        except OSError:
            raise FileNotFoundError(f"there is no {file}: copy or download the model again") from None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is damaged ({error!r}): copy or download the model again") from None

    @property
    def sees_poses(self) -> bool:
        """Whether a template has ``<seen_pose>``."""
        return self._shows(SEEN_POSE_PLACEHOLDER)

    @property
    def shows_patches(self) -> bool:
        """Whether a template has ``<image>``."""
        return self._shows(IMAGE_PLACEHOLDER)

    def _shows(self, placeholder: str) -> bool:
        questions = (each["question"] for templates in self.templates.values() for each in templates)
        return any(placeholder in question for question in questions)

    def plain(self, instruction: str) -> str:
        """The instruction as the model may read it: slips of the keyboard set right where the checkpoint has a list of
        words, any special token in it reduced to a plain word, and cut to its longest length."""
        if self._spelling is not None:
            instruction = self._spelling.correct(instruction)
        instruction = self.tokenizer.words_only(instruction)
        return self.tokenizer.cut(instruction, self._max_instruction_tokens)

    def prompt(self, sample: PromptSample, *, template: int = 0) -> tuple[str, str]:
        """The question, wrapped, and the answer of a sample, with ``<pose>`` not yet expanded.

        Raises:
            ValueError: a task that has no template.
        """
        if sample.task not in self.templates:
            raise ValueError(f"unknown task {sample.task!r}; this model knows {', '.join(self.templates)}")
        chosen = self.templates[sample.task][template]
        question = chosen["question"].replace("{instruction}", self.plain(sample.instruction))
        return self._prompt_format.replace("{question}", question), chosen["answer"]

    def conversation_prompt(self, sample: PromptSample) -> str:
        """The question of a conversation, wrapped: the user's words, after the image where there is one."""
        question = self.plain(sample.instruction)
        if sample.image is not None:
            question = f"{IMAGE_PLACEHOLDER}\n{question}"
        return self._prompt_format.replace("{question}", question)

    def words(self, task: str) -> str:
        """The wording of a task's fixed answer without its pose token."""
        return self.templates[task][0]["answer"].replace(POSE_OUTPUT, "").strip(" .")

    def encode(
        self,
        samples: Sequence[PromptSample],
        *,
        replies: Sequence[str | None] | None = None,
        closed: bool = False,
    ) -> PromptBatch:
        """Question and answer of each sample, side by side.

        Args:
            samples: each asks for one pose, or is of the task ``chat`` and has a reply.
            replies: for each sample the words to answer with, or None for its template's.
            closed: end each answer with the token that ends a text, for training.

        Raises:
            ValueError: an unknown task, or an image task without an image.
        """
        ids: list[list[int]] = []
        answer_at: list[int] = []
        poses: list[Floats] = []
        headings = np.zeros(len(samples), dtype=np.float32)
        images: list[Image.Image] = []
        pose_images: list[int] = []
        shows_patches = False
        for row, sample in enumerate(samples):
            reply = None if replies is None else replies[row]
            if sample.task == CONVERSATION_TASK and reply is not None:
                question, answer = self.conversation_prompt(sample), reply
            else:
                question, answer = self.prompt(sample)
                answer = answer if reply is None else reply
            sees_pose, shows = SEEN_POSE_PLACEHOLDER in question, IMAGE_PLACEHOLDER in question
            if sees_pose or shows:
                if sample.image is None:
                    raise ValueError(f"the task {sample.task!r} needs an image")
                images.append(sample.image)
            if sees_pose or POSE_PLACEHOLDER in question:
                given = STANDING_POSE if sees_pose or sample.pose_aa is None else sample.pose_aa
                rot6d, headings[row] = _without_heading(given)
                poses.append(rot6d)
                pose_images.append(len(images) - 1 if sees_pose else -1)
                question = question.replace(SEEN_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
            if shows:
                shows_patches = True
                question = question.replace(IMAGE_PLACEHOLDER, IMAGE_PLACEHOLDER * self._places(images[-1]))
            question = question.replace(POSE_PLACEHOLDER, POSE_PLACEHOLDER * NUM_POSE_TOKENS)
            prompt_ids = [self.tokenizer.bos_id, *self.tokenizer.ids(question)]
            answer_ids = self.tokenizer.ids(answer)
            if closed:
                answer_ids.append(self.tokenizer.eos_id)
            ids.append(prompt_ids + answer_ids)
            answer_at.append(len(prompt_ids))
        return PromptBatch(
            input_ids=_padded(ids, self.tokenizer.pad_id),
            attention_mask=_padded([[1] * len(row) for row in ids], 0),
            answer_at=np.array(answer_at, dtype=np.int64),
            poses=np.stack(poses) if poses else np.zeros((0, NUM_JOINTS, 6), dtype=np.float32),
            headings=headings,
            images=images,
            pose_images=np.array(pose_images, dtype=np.int64),
            shows_patches=shows_patches,
        )

    def _places(self, image: Image.Image) -> int:
        if self._image_tokens is None:
            raise ValueError(
                f"a template has {IMAGE_PLACEHOLDER}, but nothing says how many places an image takes"
            )
        return self._image_tokens(image)


def _without_heading(pose_aa: npt.ArrayLike) -> tuple[Floats, float]:
    """The pose (J, 3) as rot6d (J, 6), turned to face +z, and the heading in radians that it had."""
    local = axis_angle_to_matrix(pose_aa)
    yaw = float(heading(local[0]))
    local[0] = yaw_matrix(-yaw) @ local[0]
    return local[..., :2].swapaxes(-1, -2).reshape(-1, 6).astype(np.float32), yaw


def _padded(rows: list[list[int]], value: int) -> Ints:
    """Rows of different lengths as one (B, L) array, padded on the right."""
    length = max(len(row) for row in rows)
    return np.array([row + [value] * (length - len(row)) for row in rows], dtype=np.int64)
