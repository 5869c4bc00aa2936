# SPDX-License-Identifier: Apache-2.0
"""Answers with a model's ONNX graphs on the CPU: small to install, quick to start, and usable on a busy machine.

Legend: Q queries, L tokens, P poses read, N pictures, J = 24 joints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from backend.graph_files import (
    ANSWER_GRAPH,
    PICTURE_GRAPH,
    PICTURE_OUTPUTS,
    PROMPT_GRAPH,
    SPEAKING_OUTPUTS,
    VARIANTS_GRAPH,
    VARIANTS_INPUTS,
    VIEW_GRAPH,
    VIEW_OUTPUT,
    WISH_OUTPUT,
    WORD_GRAPH,
    check_files,
)
from backend.memory import give_back
from backend.prompt import NUM_POSE_TOKENS, POSE_OUTPUT, POSE_PLACEHOLDER, PromptBatch, Prompter
from backend.prompt.pictures import canvases
from backend.query import Answer, OnWords, Query
from backend.weight_files import SCALE, held_in
from blender_addon.contract.messages import View

from .answers import answers_of, of_texts
from .people import Seen
from .speaking import apart, speak
from .threads import usable_threads
from .viewing import SeenPoses, answer_seeing

Floats = npt.NDArray[np.float32]
LEAST_PART: Final = 4
"""Queries that are worth a thread of their own."""


class Cache(NamedTuple):
    """What words have left behind: keys and values (layers, B, heads, L, D)."""

    keys: Floats
    values: Floats


class OnnxEngine:
    """Answers queries with the graphs of one model. Not thread-safe: one thread calls it."""

    def __init__(self, folder: Path, prompter: Prompter, *, threads: int) -> None:
        self.prompter = prompter
        self.name = f"posellava-{folder.name}"
        self.tasks: tuple[str, ...] = tuple(prompter.templates)
        self._folder, self._threads = folder, threads
        # One edit is no quicker with a second thread that has to be woken for each of its products, and slower where
        # other processes keep that thread waiting: a thread answers its part of a batch by itself.
        self._answer = self._session(ANSWER_GRAPH, threads=1)
        self._parts = ThreadPoolExecutor(threads, thread_name_prefix="posellava-onnx")
        self._asked = [given.name for given in self._answer.get_inputs()]
        made = {output.name for output in self._answer.get_outputs()}
        self._tells_view = VIEW_OUTPUT in made
        self._of_texts = [name for name in (VIEW_OUTPUT, WISH_OUTPUT) if name in made]

    @classmethod
    def load(cls, folder: Path, *, threads: int | None = None) -> OnnxEngine:
        """Load the model in a folder; ``threads`` None is as many as help.

        Raises:
            FileNotFoundError: the model has no graphs, or a file of it is missing.
            ValueError: a file of the model is damaged.
        """
        check_files(folder)
        engine = cls(folder, Prompter.load(folder), threads=threads or usable_threads())
        give_back()  # what making the graph ready took
        return engine

    def answer(self, queries: Sequence[Query], on_words: OnWords | None = None) -> list[Answer]:
        """Answer all queries, each by a single prefill, a part of a large batch on each thread; and what is answered in
        the model's own words one word after the other, of which ``on_words`` is told.

        Raises:
            ValueError: an unknown task, or a query that lacks the pose or image its task needs.
        """
        return apart(self.prompter, queries, self._answer_all, self._speak, on_words)

    def _answer_all(self, queries: Sequence[Query]) -> list[Answer]:
        size = max(LEAST_PART, -(-len(queries) // self._threads))
        parts = [queries[start : start + size] for start in range(0, len(queries), size)]
        if len(parts) == 1:
            return self._answer_part(queries)
        return [answer for part in self._parts.map(self._answer_part, parts) for answer in part]

    def _speak(self, queries: Sequence[Query], on_words: OnWords | None) -> list[Answer]:
        return speak(self.prompter, queries, self, on_words)

    def read(self, prompts: PromptBatch) -> tuple[Floats, Cache]:
        """See ``Reader``."""
        told = {
            "input_ids": prompts.input_ids,
            "poses": prompts.poses,
            "texts": prompts.texts,
            "text_places": prompts.text_places,
        }
        asked = [given.name for given in self._prompt.get_inputs()]
        logits, keys, values = self._prompt.run(SPEAKING_OUTPUTS, {name: told[name] for name in asked})
        return logits, Cache(keys, values)

    def go_on(self, tokens: npt.NDArray[np.int64], state: Cache) -> tuple[Floats, Cache]:
        """See ``Reader``."""
        given = {"input_ids": tokens[:, None], "keys": state.keys, "values": state.values}
        logits, keys, values = self._word.run(SPEAKING_OUTPUTS, given)
        return logits, Cache(keys, values)

    def poses(self, prompts: PromptBatch) -> npt.NDArray[np.float64]:
        """See ``Reader``."""
        told = {**self._places(prompts), "poses": prompts.poses, "choices": np.zeros((1, 1), dtype=np.int64)}
        (matrices,) = self._answer.run(["matrices"], {name: told[name] for name in self._asked})
        found: npt.NDArray[np.float64] = matrices[0].astype(np.float64)
        return found

    def _answer_part(self, queries: Sequence[Query]) -> list[Answer]:
        return answer_seeing(self.prompter, queries, self._ask, self.look)

    def _ask(self, queries: Sequence[Query], seen: SeenPoses, views: Sequence[View] | None) -> list[Answer]:
        """One prefill of all queries, as from their views where they are given."""
        prompts = self.prompter.encode(queries, seen=seen, views=views)
        choices = np.array([self.prompter.first_ids(query.task) for query in queries], dtype=np.int64)
        told = {**self._places(prompts), "poses": prompts.poses, "choices": choices}
        given = {name: told[name] for name in self._asked}
        wished = self._offers_variants and any(query.variants > 1 for query in queries)
        outputs = ["matrices", "first_logits", *(VARIANTS_INPUTS if wished else ())]
        in_view = views is not None
        graph = self._in_view if in_view and self._tells_view else self._answer
        if not in_view:
            outputs += self._of_texts
        put_out = dict(zip(outputs, graph.run(outputs, given), strict=True))
        view_logits, wish_logits = (
            of_texts(put_out[name], prompts.asked()) if name in put_out else None
            for name in (VIEW_OUTPUT, WISH_OUTPUT)
        )
        variants = None
        if wished:
            told = {name: put_out[name] for name in ("matrices", *VARIANTS_INPUTS)}
            [variants] = self._variants.run(["variants"], told)
        return answers_of(
            self.prompter,
            queries,
            put_out["matrices"],
            prompts.headings,
            put_out["first_logits"],
            variants,
            in_view=in_view,
            view_logits=view_logits,
            wish_logits=wish_logits,
        )

    def look(self, images: Sequence[Image.Image]) -> Seen:
        """What the pose reader sees in pictures; see ``people``."""
        seen = [
            self._pictures.run(PICTURE_OUTPUTS, {"canvases": canvas[None]}) for canvas in canvases(images)
        ]
        sums, *others = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        return Seen(_nearest_rotations(sums.astype(np.float64)), *others)

    def describe(self) -> dict[str, Any]:
        """Name, sizes and tasks."""
        config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        return {
            "name": self.name,
            "engine": "onnx",
            "parameters": sum(
                math.prod(tensor.shape)
                for file in self._folder.glob("*.safetensors")
                for name, tensor in held_in(file).items()
                if not name.endswith(SCALE)
            ),
            "hidden_size": config["text_config"]["hidden_size"],
            "layers": config["text_config"]["num_hidden_layers"],
            "pose_decoder": config["pose_decoder"],
            "tasks": list(self.tasks),
        }

    def _places(self, prompts: PromptBatch) -> dict[str, npt.NDArray[np.int64]]:
        """What a graph may be told beside the poses; see backend.model.graphs.AnswerGraph."""
        ids = prompts.input_ids
        rows = np.arange(len(ids))
        # The last one: those before it are of earlier answers.
        is_output = ids == self.prompter.tokenizer.id_of(POSE_OUTPUT)
        output_at = ids.shape[1] - 1 - np.argmax(is_output[:, ::-1], axis=1)
        is_pose = ids == self.prompter.tokenizer.id_of(POSE_PLACEHOLDER)
        before = is_pose.cumsum(axis=1)[rows, output_at] // NUM_POSE_TOKENS
        per_row = is_pose.sum(axis=1) // NUM_POSE_TOKENS
        first = np.cumsum(per_row) - per_row
        # The last token of the pose that is edited is the last placeholder before the output.
        seen = is_pose & (np.arange(ids.shape[1]) < output_at[:, None])
        last_at = ids.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
        edited = np.where(before > 0, first + before - 1, len(prompts.poses))
        return {
            "input_ids": ids,
            "attention_mask": prompts.attention_mask,
            "texts": prompts.texts,
            "text_places": prompts.text_places,
            "answer_at": prompts.answer_at,
            "output_at": output_at,
            "edited": edited,
            "earlier": np.where(before > 1, edited - 1, edited),
            "edited_at": np.where(before > 0, last_at - (NUM_POSE_TOKENS - 1), -1),
        }

    @cached_property
    def _offers_variants(self) -> bool:
        return (self._folder / VARIANTS_GRAPH).is_file()

    @cached_property
    def _variants(self) -> onnxruntime.InferenceSession:
        """Made when other answers are first wished for."""
        return self._session(VARIANTS_GRAPH, threads=1)

    @cached_property
    def _in_view(self) -> onnxruntime.InferenceSession:
        """Made at the first question about the camera."""
        return self._session(VIEW_GRAPH, threads=1)

    @cached_property
    def _prompt(self) -> onnxruntime.InferenceSession:
        return self._speaking_session(PROMPT_GRAPH)

    @cached_property
    def _word(self) -> onnxruntime.InferenceSession:
        return self._speaking_session(WORD_GRAPH)

    def _speaking_session(self, graph: str) -> onnxruntime.InferenceSession:
        """Made at the first word: most sessions never hear one."""
        if not (self._folder / graph).is_file():
            raise ValueError(
                f"the graphs in {self._folder} say no words; write them again with: posellava graphs {self._folder}"
            )
        return self._session(graph, threads=1)

    @cached_property
    def _pictures(self) -> onnxruntime.InferenceSession:
        """Made at the first picture: most sessions never see one."""
        if not (self._folder / PICTURE_GRAPH).is_file():
            raise ValueError(f"the graphs in {self._folder} read no pictures; take --engine torch")
        return self._session(PICTURE_GRAPH, threads=self._threads)

    def _session(self, graph: str, *, threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # An arena keeps for itself what the largest batch needed; ``backend.memory`` keeps it for everybody.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors; what it warns of is how the graph was written
        try:
            return onnxruntime.InferenceSession(
                str(self._folder / graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has one class for each of its codes, without a common one
            raise ValueError(
                f"onnxruntime {onnxruntime.__version__} cannot load {self._folder / graph} ({error}): copy or download "
                "the model again"
            ) from None


def _nearest_rotations(matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rotations (..., 3, 3) nearest to matrices; backend.body.rotations.nearest_rotation has the source."""
    left, _, right = np.linalg.svd(matrices)
    left[..., -1] *= np.linalg.det(left @ right)[..., None]
    nearest: npt.NDArray[np.float64] = left @ right
    return nearest
