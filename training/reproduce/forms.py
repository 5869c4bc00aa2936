# SPDX-License-Identifier: Apache-2.0
"""The language models of the tables, small, in the forms of ChatPose and PoseLLaVA, from random weights.

ChatPose's form reads no pose and decodes with an MLP; PoseLLaVA's reads the start through the pose encoder and decodes
joint by joint. Both have the same language model, see the same samples for the same time and minimise what their form
can. What the small ones read of a picture is the pose that the shipped reader sees in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from torch import Tensor, nn

from backend.engines.torch import TorchEngine
from backend.prompt import COMPACT_TEMPLATES
from backend.query import Answer, Query
from training.data.samples import Sample
from training.stages.batches import Collator
from training.stages.initialise import FreshModel, fresh_model
from training.stages.objectives import instruct, instruction_terms, weighted_sum
from training.stages.parts import prepare_parts
from training.stages.settings import TrainableSettings

Form = Literal["chatpose", "posellava"]

SIZES: Final[dict[str, dict[str, Any]]] = {
    # So small that minutes of one core show it tens of thousands of samples: with fewer no row says anything.
    "text": {
        "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 512, "initializer_range": 0.04,
    },
    # No picture enters by patches: the tower is there because the class has one.
    "vision": {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32,
        "patch_size": 16,
    },
}  # fmt: skip
POSE: Final[dict[str, Any]] = {
    "pose_features": "kinematic", "pose_hidden_size": 64, "pose_encoder_layers": 1, "pose_attention_heads": 4,
    "pose_intermediate_size": 128, "pose_decoder_hidden_size": 96, "pose_decoder_layers": 1,
}  # fmt: skip
VOCABULARY: Final = 4000

DECODERS: Final[dict[Form, str]] = {"chatpose": "mlp", "posellava": "residual"}
LOSSES: Final[dict[Form, dict[str, float]]] = {
    "chatpose": {"matrix_l2": 8.0, "joints": 4.0},
    "posellava": {"gate": 2.0, "moving": 1.0, "still": 0.2, "joints": 4.0},
}
WITHOUT_POSE: Final[dict[str, Any]] = {
    "adjust": [{"question": "adjust: {instruction}", "answer": "<POSE>"}],
    "generate": [{"question": "generate: {instruction}", "answer": "<POSE>"}],
}


class FormModel(nn.Module):
    """One small language model with its processor."""

    def __init__(self, form: Form, seed: int) -> None:
        super().__init__()
        self.form = form
        pose = POSE | {"pose_decoder": DECODERS[form]}
        self.model, processor = fresh_model(
            FreshModel(VOCABULARY, SIZES["text"], SIZES["vision"], pose=pose, seed=seed)
        )
        if form == "chatpose":
            processor.templates = processor.prompter.templates = WITHOUT_POSE
        else:
            tasks = {task: COMPACT_TEMPLATES[task] for task in ("adjust", "generate")}
            processor.templates = processor.prompter.templates = tasks
        prepare_parts(self.model, TrainableSettings())
        self.processor = processor
        self.collator = Collator(processor)
        self.engine = TorchEngine(self.model, processor, name=form)

    def loss(self, samples: Sequence[Sample]) -> Tensor:
        """The form's own losses of a batch."""
        batch = self.collator.instructions(samples)
        return weighted_sum(
            instruction_terms(instruct(self.model, batch), batch, LOSSES[self.form]), LOSSES[self.form]
        )

    def answer(self, samples: Sequence[Sample]) -> list[Answer]:
        """A pose for each sample."""
        return self.engine.answer([Query(one.task, one.instruction, pose_aa=one.pose_aa) for one in samples])
