# SPDX-License-Identifier: Apache-2.0
"""From samples to the tensors of one pass.

Poses enter as the model sees them: an initial pose without its heading, or as the sample's camera sees it, and its
target in the same frame; a generated pose without its own heading; an estimated one as the camera sees it.

Legend: B samples, L tokens, Q target poses, J = 24 joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from backend.body.rotations import apply_heading, axis_angle_to_matrix, split_heading
from backend.model import PoseLlavaProcessor
from backend.prompt import SEEN_POSE_PLACEHOLDER, PromptSample
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.samples import Sample, open_image


@dataclass
class Batch:
    """One pass of one process.

    Attributes:
        inputs: what the model's ``forward`` takes, with ``labels``; empty for stage 1.
        targets: (Q, J, 3, 3) the poses to answer with, in the order of the batch.
        pixels: (B, 1, 3, height, width) for stage 1, the image as a whole.
        image_joints: (B, J, 2) for stage 1, where the images show the joints, as shares of width and height; NaN where
            unknown.
        canvases: (B, 3, 256, 256) for stage 1, the images as the pose reader sees them.
        canvas_joints: (B, J, 2) for stage 1, where the canvases show the joints, as shares of their size; NaN where
            unknown.
        names: (B,) ids of the samples.
        tasks: (B,) what each asks for.
        pose_rows: (Q,) the row that each target belongs to.
        blank_canvas: whether no row has a pose to be read off an image, and another process has one.
    """

    inputs: dict[str, Any]
    targets: Tensor
    names: list[str]
    tasks: list[str]
    pose_rows: Tensor
    pixels: Tensor | None = None
    image_joints: Tensor | None = None
    canvases: Tensor | None = None
    canvas_joints: Tensor | None = None
    blank_canvas: bool = False

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        moved = {item.name: _moved(getattr(self, item.name), device) for item in fields(self)}
        return Batch(**moved)

    @property
    def tokens(self) -> int:
        """How many places of the language model the rows take, without padding."""
        return int(self.inputs["attention_mask"].sum()) if self.inputs else 0

    @property
    def text_labels(self) -> int:
        """How many tokens are predicted."""
        return int((self.inputs["labels"][:, 1:] != -100).sum()) if "labels" in self.inputs else 0


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return value


class Collator:
    """Makes batches with the checkpoint's own processor."""

    def __init__(self, processor: PoseLlavaProcessor) -> None:
        self.processor = processor

    def length(self, sample: Sample) -> int:
        """Length in tokens, to within a few, to sort by; an image counts with what its tiles take."""
        prompter = self.processor.prompter
        shown = _with_open_image(sample) if prompter.shows_patches else sample
        return prompter.length(
            cast(PromptSample, shown),
            reply=sample.reply,
            further=sample.further,
            template=_wording(sample),
            view=sample.view,
        )

    def instructions(self, samples: Sequence[Sample], everyone: Sequence[Sample] = ()) -> Batch:
        """A batch of stages 2 and 3. Where a task has several wordings, a sample's name says in which it is asked.

        Args:
            samples: this process's.
            everyone: those of all processes.
        """
        opened = [_with_open_image(sample) for sample in samples]
        encoded = self.processor.encode(
            cast(list[PromptSample], opened),
            with_labels=True,
            replies=[sample.reply for sample in samples],
            further=[sample.further for sample in samples],
            templates=[_wording(sample) for sample in samples],
            views=[sample.view for sample in samples],
        )
        inputs = dict(encoded)
        headings = inputs.pop("headings")
        inputs.pop("answer_at")  # ``labels`` say what is learnt of the answers.
        rows = [row for row, sample in enumerate(samples) if sample.target_aa is not None]
        asked = [samples[row] for row in rows]
        return Batch(
            inputs=inputs,
            targets=targets_in_frame(asked, headings[rows]),
            names=[sample.id for sample in samples],
            tasks=[sample.task for sample in samples],
            pose_rows=torch.tensor([row for row in rows for _ in samples[row].targets_aa], dtype=torch.long),
            blank_canvas="pose_images" not in inputs and self._sees_poses(everyone),
        )

    def _sees_poses(self, samples: Sequence[Sample]) -> bool:
        """Whether any of the samples has a pose to be read off its image."""
        prompter = self.processor.prompter
        shown = [
            sample for sample in samples if sample.image is not None and sample.task in prompter.templates
        ]
        return prompter.sees_poses and any(
            SEEN_POSE_PLACEHOLDER in prompter.prompt(cast(PromptSample, sample))[0] for sample in shown
        )

    def alignment(self, samples: Sequence[Sample], everyone: Sequence[Sample] = ()) -> Batch:
        """A batch of stage 1: images and the poses that they show.

        Raises:
            ValueError: a sample without an image or a pose.
        """
        images, kept = [], []
        for sample in samples:
            if sample.image is None or sample.target_aa is None:
                raise ValueError(f"sample {sample.id} has no image with a pose: stage 1 aligns the two")
            images.append(open_image(sample.image))
            kept.append(sample)
        unknown = np.full((NUM_JOINTS, 2), np.nan, dtype=np.float32)
        joints = np.stack(
            [unknown if sample.image_joints is None else sample.image_joints for sample in samples]
        )
        sizes = np.array([image.size for image in images], dtype=np.float32)
        shares = sizes / sizes.max(axis=1, keepdims=True)
        return Batch(
            inputs={},
            targets=targets_in_frame(kept, torch.zeros(len(kept))),
            names=[sample.id for sample in samples],
            tasks=[sample.task for sample in samples],
            pose_rows=torch.arange(len(samples)),
            pixels=self.processor.whole_images(images).unsqueeze(1),
            image_joints=torch.from_numpy(joints),
            canvases=self.processor.canvases(images),
            canvas_joints=torch.from_numpy((joints - 0.5) * shares[:, None] + 0.5),
        )


def _wording(sample: Sample) -> int:
    """In which of a task's wordings a sample is asked."""
    return crc32(sample.id.encode())


def _with_open_image(sample: Sample) -> Sample:
    return sample if sample.image is None else replace(sample, image=open_image(sample.image))


def targets_in_frame(samples: Sequence[Sample], headings: Tensor) -> Tensor:
    """Target rotations (Q, J, 3, 3) of samples in the frame that the model works in; ``headings``, one a sample, of the
    initial poses."""
    if not samples:
        return torch.zeros(0, NUM_JOINTS, 3, 3)
    poses_aa = [sample.targets_aa for sample in samples]
    counts = torch.tensor([len(poses) for poses in poses_aa])
    local = axis_angle_to_matrix(torch.from_numpy(np.concatenate(poses_aa)).float())
    _, upright = split_heading(local)
    turned = apply_heading(-headings.repeat_interleave(counts), local)
    # Words alone say nothing of where a pose is to face; a picture shows it, and a pose has a heading of its own.
    own = [
        sample.task == "generate" or (sample.pose_aa is None and sample.image is None) for sample in samples
    ]
    return torch.where(torch.tensor(own).repeat_interleave(counts)[:, None, None, None], upright, turned)
