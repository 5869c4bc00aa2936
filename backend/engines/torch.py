# SPDX-License-Identifier: Apache-2.0
"""Answers with the torch model, on a CPU or a GPU, whatever its size.

An edit is one prefill: the reply's wording up to ``<POSE>`` is fixed, so question and reply go through the model
together and the state of ``<POSE>`` is decoded. From the state before the reply is told whether the model would answer
with words instead. Own words are said one after the other, with a cache (see ``speaking``). May import backend.model
and backend.body, as no other engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .threads import keep_threads_from_spinning, usable_threads

keep_threads_from_spinning()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import DynamicCache  # noqa: E402

from backend.body.rotations import nearest_rotation  # noqa: E402
from backend.graph_files import check_weights  # noqa: E402
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor  # noqa: E402
from backend.model.adapter import is_adapter, load_adapter  # noqa: E402
from backend.model.llava import load_whole  # noqa: E402
from backend.model.speech import TaughtVoice, Voice  # noqa: E402
from backend.prompt import PromptBatch  # noqa: E402
from backend.prompt.speech import read_speech  # noqa: E402
from backend.query import Answer, OnWords, Query  # noqa: E402
from blender_addon.contract.messages import View  # noqa: E402

from .answers import answers_of, of_texts  # noqa: E402
from .people import Seen  # noqa: E402
from .speaking import apart, speak  # noqa: E402
from .viewing import SeenPoses, answer_seeing  # noqa: E402


class TorchEngine:
    """Answers queries with one loaded model. Not thread-safe: one thread calls it."""

    def __init__(
        self,
        model: PoseLlavaForConditionalGeneration,
        processor: PoseLlavaProcessor,
        *,
        name: str,
        voice: Voice | None = None,
    ) -> None:
        self.model = model.eval()
        self.voice = (Voice.own(model) if voice is None else voice).to(model.device).eval()
        self.processor = processor
        self.name = name
        self.tasks: tuple[str, ...] = tuple(processor.templates)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu", threads: int | None = None) -> TorchEngine:
        """Load a saved model.

        Args:
            folder: one written by ``save_pretrained``, or one with an adapter, which is merged into its base.
            device: a torch device; on a GPU the model runs in bfloat16, on a CPU in float32.
            threads: CPU threads; None for as many as help.

        Raises:
            FileNotFoundError: no model in that folder, or the base of an adapter is missing.
            ValueError: weights of the model are missing or damaged, its voice is of another model, or torch has no such
                device.
        """
        _require_device(device)
        torch.set_num_threads(threads or usable_threads())
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        if is_adapter(folder):
            model, processor = load_adapter(folder, dtype=dtype)
        elif (folder / "config.json").is_file():
            check_weights(folder)
            model, processor = load_whole(folder, dtype=dtype)
        else:
            raise FileNotFoundError(f"no model in {folder}: expected config.json and model.safetensors there")
        model.to(device)
        voice = None
        speech = read_speech(folder)
        if speech is not None:
            voice = TaughtVoice.load(model, folder, speech)
            processor.add_speech(speech)
        return cls(model, processor, name=f"posellava-{folder.name}", voice=voice)

    @torch.inference_mode()
    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """Answer all queries in one batch by a single prefill, those about the camera by one more; and what is answered
        in the model's own words one word after the other, of which ``on_words`` is told.

        Raises:
            ValueError: an unknown task, or a query that lacks the pose or image its task needs.
        """
        return apart(self.processor.prompter, queries, self._pose, self._speak, on_words)

    def _pose(self, queries: Sequence[Query]) -> list[Answer]:
        look = None if self.model.pose_reader is None else self.look
        return answer_seeing(self.processor.prompter, queries, self._ask, look)

    def _ask(self, queries: Sequence[Query], seen: SeenPoses, views: Sequence[View] | None) -> list[Answer]:
        """One prefill of all queries, as from their views where they are given."""
        prompter = self.processor.prompter
        prompts = prompter.encode(queries, seen=seen, views=views)
        inputs = self.processor.inputs_of(prompts).to(self.model.device)
        headings = inputs.pop("headings").cpu().numpy()
        wished = any(query.variants > 1 for query in queries)
        told = {**inputs, "logits_to_keep": None, "use_cache": False, "with_variants": wished}
        own = views is None or self.model.view is None
        output = self.model(**told) if own else self.model.view.answer(self.model, told)
        matrices = output.gated_matrices().float().cpu().numpy()
        logits = output.first_logits.float().cpu().numpy()
        first_logits = [
            row[prompter.first_ids(query.task)] for row, query in zip(logits, queries, strict=True)
        ]
        others = output.variant_matrices
        variants = None if others is None else others.float().cpu().numpy()
        view_logits, wish_logits = (
            None if told is None else of_texts(told.float().cpu().numpy(), prompts.asked())
            for told in (output.view_logits, output.wish_logits)
        )
        return answers_of(
            prompter,
            queries,
            matrices,
            headings,
            first_logits,
            variants,
            in_view=views is not None,
            view_logits=view_logits,
            wish_logits=wish_logits,
        )

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> Seen:
        """What the pose reader sees in pictures; see ``people``."""
        reader = self.model.pose_reader
        assert reader is not None
        close = reader.look_twice(self.processor.canvases(images).to(self.model.device, self.model.dtype))
        spread, places, first = (part.float().cpu().numpy() for part in close[1:])
        return Seen(nearest_rotation(close.sums.float()).cpu().double().numpy(), spread, places, first)

    def _speak(self, queries: Sequence[Query], on_words: OnWords | None) -> list[Answer]:
        return speak(self.processor.prompter, queries, self, on_words)

    @torch.inference_mode()
    def read(self, prompts: PromptBatch) -> tuple[Any, Any]:
        """See ``Reader``."""
        inputs = self._inputs(prompts)
        if isinstance(self.voice, TaughtVoice):
            embeds = self.voice.embedded(inputs["input_ids"], inputs["poses"])
            return self._said(embeds.to(self.model.dtype), DynamicCache())
        output = self.model(**inputs, logits_to_keep=None, use_cache=True)
        assert output.hidden_states is not None
        return self._logits(output.hidden_states), output.past_key_values

    @torch.inference_mode()
    def go_on(self, tokens: npt.NDArray[np.int64], state: Any) -> tuple[Any, Any]:
        """See ``Reader``."""
        ids = torch.from_numpy(tokens[:, None]).to(self.model.device)
        return self._said(self.voice.embedding(ids), state)

    @torch.inference_mode()
    def poses(self, prompts: PromptBatch) -> npt.NDArray[np.float64]:
        """See ``Reader``."""
        inputs = self._inputs(prompts)
        output = self.model(**inputs, logits_to_keep=None, use_cache=False)
        matrices: npt.NDArray[np.float64] = output.gated_matrices()[-1].double().cpu().numpy()
        return matrices

    def _inputs(self, prompts: PromptBatch) -> Any:
        """The model's inputs for questions, with what was answered so far."""
        inputs = self.processor.inputs_of(prompts).to(self.model.device)
        for name in ("headings", "answer_at"):
            del inputs[name]
        return inputs

    def _said(self, embeds: torch.Tensor, cache: Any) -> tuple[npt.NDArray[np.float32], Any]:
        """The logits of what follows the embeddings (B, L, H), and the cache with them."""
        output = self.voice.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        return self._logits(output.last_hidden_state), output.past_key_values

    def _logits(self, hidden: torch.Tensor) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = self.voice.head(hidden[:, -1]).float().cpu().numpy()
        return logits

    def describe(self) -> dict[str, Any]:
        """Name, sizes and tasks."""
        config = self.model.config
        return {
            "name": self.name,
            "engine": "torch",
            "parameters": sum(
                weight.numel() for weight in {*self.model.parameters(), *self.voice.parameters()}
            ),
            "hidden_size": config.text_config.hidden_size,
            "layers": config.text_config.num_hidden_layers,
            "pose_decoder": config.pose_decoder,
            "tasks": list(self.tasks),
        }


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # which one depends on how torch was built
        raise ValueError(f"torch has no device {device!r} here; leave --device out to use the CPU") from None
