# SPDX-License-Identifier: Apache-2.0
"""The processor: what ``backend.prompt`` makes of samples, as the torch model's inputs, with the images' tiles.

It is transformers' way to keep tokenizer, image processor and templates beside the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import BatchFeature, CLIPImageProcessorPil, LlavaNextProcessor

from backend.prompt import (
    COMPACT_TEMPLATES,
    IMAGE_PLACEHOLDER,
    PromptBatch,
    Prompter,
    PromptSample,
    PromptTokenizer,
)
from backend.prompt.pictures import canvases
from backend.prompt.speech import Speech
from backend.prompt.templates import Templates
from blender_addon.contract.messages import View

IGNORED_LABEL = -100


class PoseLlavaProcessor(LlavaNextProcessor):  # type: ignore[misc]
    """LLaVA-NeXT's processor with poses and the tasks' templates.

    Args:
        templates: for each task its question and answer templates; the first one is used to answer.
        prompt_format: how a question is wrapped, with ``{question}``; Mistral's is ``[INST] {question} [/INST] ``.
        max_instruction_tokens: longer instructions are cut, so that one sentence cannot exhaust the memory.
        known_words: words that misspelt ones are taken back to; None leaves the spelling to the model.
        turn_template: how a turn before the question is read; None where none is.
        verbal_answers: by name, what may be answered in the place of a pose; None where every answer is one.
        pose_threshold: the least probability of a pose among the answers at which it is given.
        view_threshold: the least probability at which words are taken for tied to the camera; see ``Prompter``.
        wish_threshold: the least probability at which words are taken to ask for nothing; see ``Prompter``.
        view_template: what stands before a prompt whose poses are as the camera sees them; None where none are.
        reads_texts: whether the model reads each instruction by itself too.
    """

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        templates: Templates | None = None,
        prompt_format: str = "{question}",
        max_instruction_tokens: int = 512,
        known_words: list[str] | None = None,
        turn_template: str | None = None,
        verbal_answers: dict[str, str] | None = None,
        pose_threshold: float = 0.5,
        view_threshold: float = 0.5,
        wish_threshold: float = 0.5,
        view_template: str | None = None,
        reads_texts: bool = False,
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
        self.turn_template = turn_template
        self.verbal_answers = verbal_answers
        self.pose_threshold = pose_threshold
        self.view_threshold = view_threshold
        self.wish_threshold = wish_threshold
        self.view_template = view_template
        self.reads_texts = reads_texts
        self.prompter = Prompter(
            PromptTokenizer(
                tokenizer.backend_tokenizer,
                tokenizer.all_special_tokens,
                bos=tokenizer.bos_token,
                eos=tokenizer.eos_token,
                pad=tokenizer.pad_token,
            ),
            self.templates,
            prompt_format=prompt_format,
            max_instruction_tokens=max_instruction_tokens,
            known_words=known_words,
            image_tokens=self.image_token_count,
            turn_template=turn_template,
            verbal_answers=verbal_answers,
            pose_threshold=pose_threshold,
            view_threshold=view_threshold,
            wish_threshold=wish_threshold,
            view_template=view_template,
        )

    def add_speech(self, speech: Speech) -> None:
        """Ask for the tasks of a voice, too, and let it say its tokens."""
        self.templates = self.prompter.templates = {**self.templates, **speech.templates}
        self.prompter.spoken_tokens = speech.tokens

    def encode(
        self,
        samples: Sequence[PromptSample],
        *,
        with_labels: bool = False,
        replies: Sequence[str | None] | None = None,
        further: Sequence[Sequence[tuple[str, str]]] | None = None,
        templates: Sequence[int] | None = None,
        views: Sequence[View | None] | None = None,
        seen: Sequence[npt.NDArray[np.float32] | None] | None = None,
    ) -> BatchFeature:
        """Question and fixed answer of each sample as one padded batch.

        Args:
            samples: each asks for one pose, or is of the task ``chat`` and has a reply.
            replies: for each sample the words to answer with, or None for its template's.
            with_labels: add ``labels``: the answers and the end of each, -100 elsewhere. Of an answer that its first
                token chooses only that one: the rest is not the model's to say.
            further: for each sample the questions and answers that follow the first.
            templates: for each sample which of its task's fitting templates to ask in; None for the first.
            views: for each sample from where its pose is seen, to ask it in that frame; None for the body's own.
            seen: for each sample the pose (J, 3) that was read off its picture already; None to have it read.

        Returns:
            input_ids, attention_mask (B, L), answer_at (B,), where each answer begins, poses (P, J, 6) or absent,
            headings (B,) radians that were taken out of the poses (0 where there was none), texts and text_places where
            the model reads them (see ``PromptBatch``), pixel_values and image_sizes where there are images, and, absent
            where all poses are given, pose_images (P,), the image that each is to be read from, -1 where it is given,
            and canvases.

        Raises:
            ValueError: an unknown task, or a task without the image or the pose that it needs.
        """
        prompts = self.prompter.encode(
            samples,
            replies=replies,
            further=further,
            templates=templates,
            views=views,
            seen=seen,
            closed=with_labels,
        )
        batch = self.inputs_of(prompts)
        if with_labels:
            batch["labels"] = batch["input_ids"].masked_fill(
                ~torch.from_numpy(prompts.is_learnt), IGNORED_LABEL
            )
        return batch

    def inputs_of(self, prompts: PromptBatch) -> BatchFeature:
        """Prompts that were laid out already as ``encode`` returns them, without labels."""
        ids, mask = torch.from_numpy(prompts.input_ids), torch.from_numpy(prompts.attention_mask)
        batch: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": mask,
            "answer_at": torch.from_numpy(prompts.answer_at),
            "headings": torch.from_numpy(prompts.headings),
        }
        if self.reads_texts:
            batch["texts"] = torch.from_numpy(prompts.texts)
            batch["text_places"] = torch.from_numpy(prompts.text_places)
        if len(prompts.poses):
            batch["poses"] = torch.from_numpy(prompts.poses)
            if (prompts.pose_images >= 0).any():
                batch["pose_images"] = torch.from_numpy(prompts.pose_images)
                batch["canvases"] = self.canvases(prompts.images)
        if prompts.images:
            batch |= self.image_processor(prompts.images, return_tensors="pt")
        return BatchFeature(batch)

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
        """(B, 3, 256, 256) images as the pose reader sees them; see ``backend.prompt.pictures``."""
        return torch.from_numpy(canvases(images))

    def image_token_count(self, image: Image.Image) -> int:
        """How many places an image takes in the prompt."""
        size = self.image_processor.crop_size["height"]
        count: int = self._get_number_of_features(image.height, image.width, size, size)
        return count - 1 if self.vision_feature_select_strategy == "default" else count
