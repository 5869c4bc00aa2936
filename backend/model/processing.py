# SPDX-License-Identifier: Apache-2.0
"""The processor: from (task, instruction, pose, image) to the model's inputs.

Prompts follow question and answer templates that are stored with the checkpoint. In a question ``{instruction}``,
``<pose>``, ``<image>`` and ``<seen_pose>`` are filled in; an answer that holds ``<POSE>`` is fixed wording, so that one
prefill over question and answer yields the pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from transformers import BatchFeature, CLIPImageProcessorPil, LlavaNextProcessor

from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, split_heading
from blender_addon.contract.skeleton import STANDING_POSE

from .blazepose import IMAGE_SIZE
from .configuration import NUM_POSE_TOKENS, POSE_OUTPUT, POSE_PLACEHOLDER, SEEN_POSE_PLACEHOLDER
from .spelling import Spelling

IMAGE_PLACEHOLDER = "<image>"
IGNORED_LABEL = -100
CONVERSATION_TASK = "chat"
"""Words alone, for training on conversations; it has no template."""

PAPER_TEMPLATES: dict[str, list[dict[str, str]]] = {
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

COMPACT_TEMPLATES: dict[str, list[dict[str, str]]] = {
    "adjust": [{"question": "adjust: {instruction} <pose>", "answer": "<POSE>"}],
    "generate": [{"question": "generate: {instruction} <pose>", "answer": "<POSE>"}],
    "estimate": [{"question": "estimate: <image> <seen_pose>", "answer": "<POSE>"}],
}
"""Short wording for a small model. The pose comes last, so that its tokens have read the instruction; where none is
given the standing pose stands in. An image enters with the pose that stage 1 sees in it, which a small language model
reads far better than patches."""


class PromptSample(Protocol):
    """What a prompt is made of; poses (J, 3) axis-angle, radians."""

    @property
    def task(self) -> str: ...
    @property
    def instruction(self) -> str: ...
    @property
    def pose_aa(self) -> npt.NDArray[np.float32] | None: ...
    @property
    def image(self) -> Image.Image | None: ...


class PoseLlavaProcessor(LlavaNextProcessor):  # type: ignore[misc]
    """LLaVA-NeXT's processor with poses and the tasks' templates.

    Args:
        templates: for each task its question and answer templates; the first one is used to answer.
        prompt_format: how a question is wrapped, with ``{question}``; Mistral's is ``[INST] {question} [/INST] ``.
        max_instruction_tokens: longer instructions are cut, so that one sentence cannot exhaust the memory.
        known_words: words that misspelt ones are taken back to; None leaves the spelling to the model.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        templates: dict[str, list[dict[str, str]]] | None = None,
        prompt_format: str = "{question}",
        max_instruction_tokens: int = 512,
        known_words: list[str] | None = None,
        patch_size: int | None = None,
        vision_feature_select_strategy: str | None = None,
        chat_template: str | None = None,
        image_token: str = IMAGE_PLACEHOLDER,
        num_additional_image_tokens: int = 0,
    ) -> None:
        # LLaVA-NeXT's own arguments are named one by one, and none is keyword-only: save_pretrained and
        # from_pretrained pass on only what this signature names before a star.
        super().__init__(
            image_processor,
            tokenizer,
            patch_size=patch_size,
            vision_feature_select_strategy=vision_feature_select_strategy,
            chat_template=chat_template,
            image_token=image_token,
            num_additional_image_tokens=num_additional_image_tokens,
        )
        self.templates = COMPACT_TEMPLATES if templates is None else templates
        self.prompt_format = prompt_format
        self.max_instruction_tokens = max_instruction_tokens
        self.known_words = known_words
        self._spelling = None if known_words is None else Spelling(known_words, tokenizer.get_vocab())

    @property
    def sees_poses(self) -> bool:
        """Whether a template has ``<seen_pose>``."""
        questions = (each["question"] for templates in self.templates.values() for each in templates)
        return any(SEEN_POSE_PLACEHOLDER in question for question in questions)

    def plain(self, instruction: str) -> str:
        """The instruction with any special token in it reduced to plain words, slips of the keyboard set right where
        the checkpoint has a list of words, and cut to its longest length."""
        placeholders = (IMAGE_PLACEHOLDER, POSE_PLACEHOLDER, SEEN_POSE_PLACEHOLDER, POSE_OUTPUT)
        for token in (*self.tokenizer.all_special_tokens, *placeholders):
            instruction = instruction.replace(token, token.strip("<>[]/|"))
        if self._spelling is not None:
            instruction = self._spelling.correct(instruction)
        encoded = self.tokenizer(instruction, add_special_tokens=False, return_offsets_mapping=True)
        offsets = encoded["offset_mapping"]
        if len(offsets) > self.max_instruction_tokens:
            instruction = instruction[: offsets[self.max_instruction_tokens - 1][1]]
        return instruction

    def prompt(self, sample: PromptSample, *, template: int = 0) -> tuple[str, str]:
        """The question, wrapped, and the answer of a sample, with ``<pose>`` not yet expanded.

        Raises:
            ValueError: a task that has no template.
        """
        if sample.task not in self.templates:
            raise ValueError(f"unknown task {sample.task!r}; this model knows {', '.join(self.templates)}")
        chosen = self.templates[sample.task][template]
        question = chosen["question"].replace("{instruction}", self.plain(sample.instruction))
        return self.prompt_format.replace("{question}", question), chosen["answer"]

    def conversation_prompt(self, sample: PromptSample) -> str:
        """The question of a conversation, wrapped: the user's words, after the image where there is one."""
        question = self.plain(sample.instruction)
        if sample.image is not None:
            question = f"{IMAGE_PLACEHOLDER}\n{question}"
        return self.prompt_format.replace("{question}", question)

    def encode(
        self,
        samples: Sequence[PromptSample],
        *,
        with_labels: bool = False,
        replies: Sequence[str | None] | None = None,
    ) -> BatchFeature:
        """Question and fixed answer of each sample as one padded batch.

        Args:
            samples: each asks for one pose, or is of the task ``chat`` and has a reply.
            replies: for each sample the words to answer with, or None for its template's.
            with_labels: add ``labels``: the answer and the end of the text, -100 elsewhere.

        Returns:
            input_ids, attention_mask (B, L), poses (P, J, 6) or absent, headings (B,) radians that were taken out of
            the poses (0 where there was none), pixel_values and image_sizes where there are images, and, absent where
            all poses are given, pose_images (P,), the image that each is to be read from, -1 where it is given, and
            canvases.

        Raises:
            ValueError: an unknown task, or an image task without an image.
        """
        poses_aa, images, ids, labels = [], [], [], []
        pose_images: list[int] = []
        headings = torch.zeros(len(samples))
        for row, sample in enumerate(samples):
            reply = None if replies is None else replies[row]
            if sample.task == CONVERSATION_TASK and reply is not None:
                question, answer = self.conversation_prompt(sample), reply
            else:
                question, answer = self.prompt(sample)
                answer = answer if reply is None else reply
            sees_pose = SEEN_POSE_PLACEHOLDER in question
            if sees_pose or IMAGE_PLACEHOLDER in question:
                if sample.image is None:
                    raise ValueError(f"the task {sample.task!r} needs an image")
                images.append(sample.image)
            if sees_pose or POSE_PLACEHOLDER in question:
                given = STANDING_POSE if sees_pose or sample.pose_aa is None else sample.pose_aa
                poses_aa.append((row, np.asarray(given, dtype=np.float32)))
                pose_images.append(len(images) - 1 if sees_pose else -1)
                question = question.replace(SEEN_POSE_PLACEHOLDER, POSE_PLACEHOLDER)
            if sample.image is not None and IMAGE_PLACEHOLDER in question:
                tokens = self.image_token_count(sample.image)
                question = question.replace(IMAGE_PLACEHOLDER, IMAGE_PLACEHOLDER * tokens)
            question = question.replace(POSE_PLACEHOLDER, POSE_PLACEHOLDER * NUM_POSE_TOKENS)
            prompt_ids = [self.tokenizer.bos_token_id, *self._ids(question)]
            answer_ids = self._ids(answer)
            if with_labels:
                answer_ids.append(self.tokenizer.eos_token_id)
            ids.append(prompt_ids + answer_ids)
            labels.append([IGNORED_LABEL] * len(prompt_ids) + answer_ids)
        batch: dict[str, Any] = {
            "input_ids": _padded(ids, self.tokenizer.pad_token_id),
            "attention_mask": _padded([[1] * len(row) for row in ids], 0),
        }
        if with_labels:
            batch["labels"] = _padded(labels, IGNORED_LABEL)
        if poses_aa:
            local = axis_angle_to_matrix(torch.from_numpy(np.stack([pose for _, pose in poses_aa])))
            yaw, upright = split_heading(local)
            headings[[row for row, _ in poses_aa]] = yaw
            batch["poses"] = matrix_to_rot6d(upright)
            if max(pose_images) >= 0:
                batch["pose_images"] = torch.tensor(pose_images)
                batch["canvases"] = self.canvases(images)
        batch["headings"] = headings
        if images:
            batch |= self.image_processor(images, return_tensors="pt")
        return BatchFeature(batch)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def whole_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(B, 3, height, width) each image's first tile, the image as a whole, without the work for the others."""
        tiles = self.image_processor
        processor = CLIPImageProcessorPil(
            size=tiles.crop_size, do_center_crop=False, resample=tiles.resample, image_mean=tiles.image_mean,
            image_std=tiles.image_std,
        )  # fmt: skip
        pixels: torch.Tensor = processor(list(images), return_tensors="pt")["pixel_values"]
        return pixels

    def canvases(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(B, 3, S, S) images as the pose reader sees them, S = 256: in their own proportions in the middle of a black
        square, values 0 to 1."""
        size = (IMAGE_SIZE, IMAGE_SIZE)
        whole = [ImageOps.pad(image.convert("RGB"), size, color="black") for image in images]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in whole]))
        return pixels.permute(0, 3, 1, 2).float() / 255

    def image_token_count(self, image: Image.Image) -> int:
        """How many places an image takes in the prompt."""
        size = self.image_processor.crop_size["height"]
        count: int = self._get_number_of_features(image.height, image.width, size, size)
        return count - 1 if self.vision_feature_select_strategy == "default" else count


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Rows of different lengths as one (B, L) tensor, padded on the right."""
    length = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])
