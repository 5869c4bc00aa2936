# SPDX-License-Identifier: Apache-2.0
"""The one object that answers: queries in, poses and words out, many at a time.

An edit is one prefill: the reply's wording up to ``<POSE>`` is fixed, so question and reply go through the model
together and the state of ``<POSE>`` is decoded. From the state before the reply is told whether the model would answer
with words instead. Nothing here looks at the words; what happens to the model's answer is
only what the user set: the parts that may move and the strength.

Legend: B queries, J = 24 joints. May import backend.model, backend.body and blender_addon.contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from backend.body.rotations import apply_heading, axis_angle_to_matrix, matrix_to_axis_angle
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.adapter import is_adapter, load_adapter
from backend.model.llava import load_whole
from backend.query import Answer, Query
from blender_addon.contract.skeleton import BODY_PARTS, NUM_JOINTS, STANDING_POSE

__all__ = ["SHIPPED_MODEL", "Answer", "Engine", "Query", "describe_model", "finish"]

SHIPPED_MODEL = Path(__file__).parent / "weights" / "mini"
UNCHANGED_DEGREES = 0.01


class Engine:
    """Answers queries with one loaded model. Not thread-safe: one thread calls it."""

    def __init__(
        self, model: PoseLlavaForConditionalGeneration, processor: PoseLlavaProcessor, *, name: str
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.name = name
        self.tasks: tuple[str, ...] = tuple(processor.templates)

    @classmethod
    def load(
        cls, path: str | Path | None = None, *, device: str = "cpu", threads: int | None = None
    ) -> Engine:
        """Load a saved model.

        Args:
            path: a folder written by ``save_pretrained``, or one with an adapter, which is merged into its base;
                None for the model that ships.
            device: a torch device; on a GPU the model runs in bfloat16, on a CPU in float32.
            threads: CPU threads for torch; None leaves torch's own choice.

        Raises:
            FileNotFoundError: no model in that folder, or the base of an adapter is missing.
            ValueError: weights of the model are missing or damaged, or torch has no such device.
        """
        _require_device(device)
        folder = SHIPPED_MODEL if path is None else Path(path)
        if threads is not None:
            torch.set_num_threads(threads)
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        if is_adapter(folder):
            model, processor = load_adapter(folder, dtype=dtype)
        elif (folder / "config.json").is_file():
            model, processor = load_whole(folder, dtype=dtype)
        else:
            raise FileNotFoundError(f"no model in {folder}: expected config.json and model.safetensors there")
        return cls(model.to(device), processor, name=f"posellava-{folder.name}")

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer all queries in one batch by a single prefill.

        Raises:
            ValueError: an unknown task, or a query that lacks the pose or image its task needs.
        """
        inputs = self.processor.encode(queries).to(self.model.device)
        headings = inputs.pop("headings")
        output = self.model(**inputs, logits_to_keep=None, use_cache=False)
        matrices = apply_heading(headings, output.gated_matrices().float())
        answers_aa = matrix_to_axis_angle(matrices).cpu().numpy().astype(np.float32)
        first_logits = output.first_logits.float().cpu().numpy()
        return [self._answer(*each) for each in zip(queries, answers_aa, first_logits, strict=True)]

    def _answer(
        self, query: Query, pose_aa: npt.NDArray[np.float32], first_logits: npt.NDArray[np.float32]
    ) -> Answer:
        """The pose, or words where the model would begin with words: then nothing moves."""
        prompter = self.processor.prompter
        words = prompter.in_words(query.task, first_logits[prompter.first_ids(query.task)])
        if words is not None:
            return Answer(None, words)
        return Answer(finish(query, pose_aa), prompter.words(query.task))


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # which one depends on how torch was built
        raise ValueError(f"torch has no device {device!r} here; leave --device out to use the CPU") from None


def finish(query: Query, answer_aa: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the user set, applied to the model's answer (J, 3): parts that may move, strength, exact stillness.

    Joints that stay keep the numbers they came with, to the last bit.
    """
    start_aa = STANDING_POSE if query.pose_aa is None else np.asarray(query.pose_aa, dtype=np.float32)
    start, answer = (axis_angle_to_matrix(torch.from_numpy(np.array(pose))) for pose in (start_aa, answer_aa))
    turn_aa = matrix_to_axis_angle(start.transpose(-1, -2) @ answer)
    if query.strength != 1.0:
        answer = start @ axis_angle_to_matrix(query.strength * turn_aa)
    moves = torch.linalg.vector_norm(turn_aa, dim=-1) > np.radians(UNCHANGED_DEGREES)
    if query.parts is not None:
        moves &= _joint_mask(query.parts)
    finished: npt.NDArray[np.float32] = np.where(
        moves.numpy()[:, None], matrix_to_axis_angle(answer).numpy(), start_aa
    ).astype(np.float32)
    return finished


def _joint_mask(parts: frozenset[str]) -> Tensor:
    """(J,) true for the joints of the named parts."""
    mask = torch.zeros(NUM_JOINTS, dtype=torch.bool)
    for part in parts:
        mask[list(BODY_PARTS[part])] = True
    return mask


def describe_model(engine: Engine) -> dict[str, Any]:
    """Name, sizes and tasks of a loaded model, for ``posellava info`` and the welcome message."""
    config = engine.model.config
    return {
        "name": engine.name,
        "parameters": sum(parameter.numel() for parameter in engine.model.parameters()),
        "hidden_size": config.text_config.hidden_size,
        "layers": config.text_config.num_hidden_layers,
        "pose_decoder": config.pose_decoder,
        "tasks": list(engine.tasks),
    }
