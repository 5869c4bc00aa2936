# SPDX-License-Identifier: Apache-2.0
"""Writes the ONNX graphs of a saved model beside its weights, for ``backend.engines.onnx``.

``answer.onnx`` goes from words and poses to poses, ``view.onnx`` does so as a camera sees the body, ``variants.onnx``
from what they thought to other poses, ``picture.onnx`` from pictures to poses. Where the model speaks, ``prompt.onnx``
goes from a question to its first word and the cache, ``word.onnx`` from a word and the cache to the next word. Batch,
length and number of poses are free. The weights stay where they are: every initialiser that equals a tensor of the
safetensors files becomes a reference to its bytes there (ONNX's external data), made float32 when it is loaded. So a
graph is small, whatever precision the weights are stored in, and the model is there once. A table that is only looked
up, as that of the words is, stays as it is stored, and the rows that are looked up are made float32: it saves 30 MB.

Legend: B rows, L tokens, P poses read, N pictures, J = 24 joints, H = hidden size. Needs the packages onnx and
onnxscript, which ``posellava[train]`` brings.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import DynamicCache

from backend.body.kinematics import forward_kinematics
from backend.body.rotations import axis_angle_to_matrix, matrix_to_rot6d, rot6d_to_matrix
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
    write_checksums,
)
from backend.prompt import NUM_POSE_TOKENS, Prompter
from backend.prompt.pictures import CANVAS_SIDE
from backend.prompt.speech import SPEECH_FILE, read_speech
from backend.weight_files import SCALE, held_in
from blender_addon.contract.skeleton import NUM_JOINTS

from .llava import load_whole
from .modeling import STANDING_ROT6D, PoseLlavaForConditionalGeneration
from .pose_decoder import PoseContext
from .pose_reader import CloseLook, PoseReader
from .speech import TaughtVoice, Voice
from .variants import PoseVariants

OPSET: Final = 20
_KINDS: Final = {"F32": "FLOAT", "F16": "FLOAT16", "BF16": "BFLOAT16", "I8": "INT8"}
"""What safetensors calls a kind of number, and ONNX."""
_INLINE: Final = 4096
"""Numbers up to which a constant may stand in the graph itself; more is a weight."""
_NOT_SEEN: Final = -1e9
"""Added to attention where nothing is to be seen."""


def needs_torch(model: PoseLlavaForConditionalGeneration, prompter: Prompter) -> bool:
    """Whether a model reads an image's patches, which the graphs do not."""
    return prompter.shows_patches or (prompter.sees_poses and model.pose_reader is None)


def write_graphs(folder: Path) -> None:
    """Write the graphs of the model in a folder and the checksums of graphs and weights.

    Raises:
        ValueError: the model reads an image's patches, a weight of it is not in its files, or its voice is of another
            model.
    """
    model, processor = load_whole(folder, dtype=torch.float32, attention="eager")
    # Its tables are made once for all: made during the tracing, they would hold no numbers.
    forward_kinematics(torch.eye(3).expand(1, NUM_JOINTS, 3, 3))
    if needs_torch(model, processor.prompter):
        raise ValueError(
            f"the model in {folder} reads an image's patches, which ONNX graphs do not: it answers with --engine torch"
        )
    weights = _Weights(folder)
    written = [ANSWER_GRAPH]
    _write(folder / ANSWER_GRAPH, AnswerGraph(model), _answer_example(model), weights)
    if model.variants is not None:
        _write(folder / VARIANTS_GRAPH, VariantsGraph(model.variants), _variants_example(model), weights)
        written.append(VARIANTS_GRAPH)
    if model.view is not None:
        _write(folder / VIEW_GRAPH, ViewGraph(model), _answer_example(model, tells_of_texts=False), weights)
        written.append(VIEW_GRAPH)
    if model.pose_reader is not None:
        _write(folder / PICTURE_GRAPH, PictureGraph(model.pose_reader), _picture_example(), weights)
        written.append(PICTURE_GRAPH)
    speech = read_speech(folder)
    prompter = processor.prompter
    if speech is not None or any(map(prompter.speaks, prompter.templates)):
        voice = Voice.own(model) if speech is None else TaughtVoice.load(model, folder, speech)
        _write(
            folder / PROMPT_GRAPH, PromptGraph(model, voice.eval()), _prompt_example(model, voice), weights
        )
        _write(folder / WORD_GRAPH, WordGraph(voice.eval()), _word_example(voice), weights)
        written += [PROMPT_GRAPH, WORD_GRAPH]
    told = [] if speech is None else [SPEECH_FILE]
    write_checksums(folder, [*written, *weights.files, *told])


class AnswerGraph(nn.Module):
    """One prefill, as the model's ``forward`` does it, for rows that each have one ``<POSE>``, without branches that
    depend on the data."""

    def __init__(self, model: PoseLlavaForConditionalGeneration, *, tells_of_texts: bool = True) -> None:
        super().__init__()
        self.model = model
        self.tells_of_texts = tells_of_texts

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        poses: Tensor,
        output_at: Tensor,
        edited: Tensor,
        edited_at: Tensor,
        earlier: Tensor,
        answer_at: Tensor,
        choices: Tensor,
        texts: Tensor | None = None,
        text_places: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """The answers (B, J, 3, 3), joints whose gate is closed at their initial rotation, and the logits (B, K) of the
        tokens that an answer may begin with. Where the model has other answers to offer, also what their graph takes:
        what the decoder thought of each joint (B, J, W), the state of ``<POSE>`` (B, H) and which gates are open
        (B, J); where it can tell which texts are tied to the camera, and which ask for nothing, last how surely each is
        and does (T,).

        Args:
            input_ids, attention_mask: (B, L).
            poses: (P, J, 6) rot6d without heading, one for each ``<pose>``, row by row.
            output_at: (B,) where ``<POSE>`` is.
            edited: (B,) the number of the pose that is edited; P for the standing pose.
            edited_at: (B,) where that pose's tokens begin in the row; -1 for the standing pose.
            earlier: (B,) the number of the pose before the last turn, or again of the one that is edited.
            answer_at: (B,) where the answer begins.
            choices: (B, K) the tokens that it may begin with.
            texts, text_places: (T, N) and (B, L), where the model has a text encoder.
        """
        model, backbone = self.model, self.model.model
        all_poses = torch.cat([poses, STANDING_ROT6D])
        embeds, pose_local, of_texts = _embedded(model, input_ids, all_poses, texts, text_places)
        positions = torch.arange(input_ids.shape[1])
        visible = (positions <= positions.unsqueeze(1)) & (attention_mask != 0).unsqueeze(1)
        hidden = backbone.language_model(
            inputs_embeds=embeds,
            attention_mask=torch.where(visible, 0.0, _NOT_SEEN).unsqueeze(1),
            position_ids=positions.unsqueeze(0),
            use_cache=False,
        ).last_hidden_state

        at = output_at - 1 if model.config.pose_state == "predicting" else output_at
        places = edited_at.unsqueeze(1) + torch.arange(1, NUM_POSE_TOKENS)
        states = torch.where((edited_at >= 0)[:, None, None], _gathered(hidden, places.clamp_min(0)), 0.0)
        rotations = rot6d_to_matrix(all_poses)
        initial = rotations[edited]
        state = _gathered(hidden, at.unsqueeze(1))[:, 0]
        decoded = model.pose_decoder(
            PoseContext(
                state=state,
                prompt=hidden,
                prompt_hidden=(positions > output_at.unsqueeze(1)) | (attention_mask == 0),
                initial=initial,
                initial_tokens=pose_local[edited],
                initial_states=states,
                earlier=rotations[earlier],
                earlier_tokens=pose_local[earlier],
            )
        )
        matrices = decoded.matrices
        if decoded.gate_logits is not None:
            matrices = torch.where((decoded.gate_logits > 0)[..., None, None], matrices, initial)
        asks = _gathered(hidden, (answer_at - 1).unsqueeze(1))
        first_logits = (asks * nn.functional.embedding(choices, model.lm_head.weight)).sum(-1)
        put_out = [matrices, first_logits]
        if model.variants is not None:
            assert decoded.gate_logits is not None
            assert decoded.thoughts is not None
            put_out += [decoded.thoughts, state, decoded.gate_logits > 0]
        if self.tells_of_texts:
            put_out += of_texts
        return tuple(put_out)


class ViewGraph(nn.Module):
    """The same with the weights for what is asked as the camera sees it; that it is tied to one is known then."""

    def __init__(self, model: PoseLlavaForConditionalGeneration) -> None:
        super().__init__()
        self.answer = AnswerGraph(model, tells_of_texts=False)

    @wraps(AnswerGraph.forward)
    def forward(self, *args: Any, **told: Any) -> tuple[Tensor, ...]:  # type: ignore[override]
        model = self.answer.model
        assert model.view is not None
        weights = {f"model.{name}": weight for name, weight in model.view.weights.added_to(model).items()}
        answers: tuple[Tensor, ...] = functional_call(self.answer, weights, args, told)
        return answers


class VariantsGraph(nn.Module):
    """The other answers, from what the answer's graph puts out."""

    def __init__(self, variants: PoseVariants) -> None:
        super().__init__()
        self.variants = variants

    def forward(self, thoughts: Tensor, state: Tensor, matrices: Tensor, moves: Tensor) -> Tensor:
        """(B, K, J, 3, 3), likeliest first; see ``PoseVariants``."""
        return self.variants.ranked(thoughts, state, matrices, moves)


class PromptGraph(nn.Module):
    """Reads a question that is answered in the model's own words."""

    def __init__(self, model: PoseLlavaForConditionalGeneration, voice: Voice) -> None:
        super().__init__()
        self.model, self.voice = model, voice

    def forward(
        self, input_ids: Tensor, poses: Tensor, texts: Tensor | None = None, text_places: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (B, V) of the first word, and the cache: keys and values (layers, B, heads, L, D).

        Args:
            input_ids: (B, L), all of one length.
            poses: (P, J, 6) rot6d without heading, one for each ``<pose>``, row by row.
            texts, text_places: (T, N) and (B, L), where the model has a text encoder and speaks for itself.
        """
        if isinstance(self.voice, TaughtVoice):
            embeds = self.voice.embedded(input_ids, poses)
        else:
            all_poses = torch.cat([poses, STANDING_ROT6D])
            embeds, *_ = _embedded(self.model, input_ids, all_poses, texts, text_places)
        positions = torch.arange(input_ids.shape[1])
        mask = torch.where(positions <= positions.unsqueeze(1), 0.0, _NOT_SEEN)[None, None]
        return _said(self.voice, embeds, mask, positions, DynamicCache())


class WordGraph(nn.Module):
    """Reads one more word."""

    def __init__(self, voice: Voice) -> None:
        super().__init__()
        self.voice = voice

    def forward(self, input_ids: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (B, V) of the next word and the cache with this one.

        Args:
            input_ids: (B, 1).
            keys, values: (layers, B, heads, L, D), the cache so far.
        """
        cache = DynamicCache()
        for number in range(keys.shape[0]):
            cache.update(keys[number], values[number], number)
        past = keys.shape[3]
        mask = torch.zeros(1, 1, 1, past + 1)
        return _said(self.voice, self.voice.embedding(input_ids), mask, torch.arange(past, past + 1), cache)


def _embedded(
    model: PoseLlavaForConditionalGeneration,
    input_ids: Tensor,
    all_poses: Tensor,
    texts: Tensor | None,
    text_places: Tensor | None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Embeddings (B, L, H) with the poses' tokens and what the text encoder says, Z_local (P + 1, J, D), of the
    standing pose, too, which comes last, and how surely each text is tied to the camera and asks for nothing (T,), each
    where it can be told."""
    backbone = model.model
    of_texts: list[Tensor] = []
    pose_global, pose_local = backbone.pose_encoder(all_poses)
    tokens = backbone.pose_projector(torch.cat([pose_global.unsqueeze(1), pose_local], dim=1)).flatten(0, 1)
    is_pose = input_ids == model.config.pose_token_index
    number = (is_pose.flatten().long().cumsum(0) - 1).clamp_min(0).view(input_ids.shape)
    embeds = torch.where(is_pose.unsqueeze(-1), tokens[number], backbone.get_input_embeddings()(input_ids))
    if backbone.text_encoder is not None:
        assert texts is not None
        assert text_places is not None
        states = backbone.text_encoder(texts)
        embeds = embeds + backbone.text_projector.added(states, text_places)
        is_word = texts != backbone.text_encoder.padding
        if model.view is not None:
            of_texts.append(model.view.asks(states, is_word))
        if model.wish is not None:
            of_texts.append(model.wish(states, is_word))
    return embeds, pose_local, of_texts


def _said(
    voice: Voice, embeds: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits after the last of the embeddings, and the cache with all of them."""
    hidden = voice.language_model(
        inputs_embeds=embeds,
        attention_mask=mask,
        position_ids=positions.unsqueeze(0),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    keys = torch.stack([layer.keys for layer in cache.layers])
    values = torch.stack([layer.values for layer in cache.layers])
    return voice.head(hidden[:, -1]), keys, values


class PictureGraph(nn.Module):
    """The pose reader's two looks. The rotations nearest to its sums are left to the caller: ONNX has no singular
    values."""

    def __init__(self, reader: PoseReader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, canvases: Tensor) -> CloseLook:
        """What is seen on canvases (N, 3, 256, 256)."""
        return self.reader.look_twice(canvases)


def _gathered(hidden: Tensor, places: Tensor) -> Tensor:
    """The states (B, K, H) at places (B, K) of (B, L, H)."""
    return hidden.gather(1, places.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


@dataclass(frozen=True)
class _Example:
    """Inputs to trace a graph with, the axes of each that are free, the names of what comes out, and the most that a
    free axis can be, where the model bounds it."""

    inputs: dict[str, Tensor]
    free: dict[str, dict[int, str]]
    outputs: list[str]
    most: dict[str, int] = field(default_factory=dict)


def _answer_example(model: PoseLlavaForConditionalGeneration, *, tells_of_texts: bool = True) -> _Example:
    """Rows of two, one and no pose; every size differs from every other, so that none is taken for another."""
    config = model.config
    pose, output = config.pose_token_index, config.pose_output_token_index
    ids = torch.full((3, 70), config.text_config.bos_token_id)
    ids[0, 5:55], ids[1, 7:32] = pose, pose
    output_at = torch.tensor([60, 40, 20])
    ids[torch.arange(3), output_at] = output
    poses_aa = torch.randn(4, NUM_JOINTS, 3, generator=torch.Generator().manual_seed(0))
    inputs = {
        "input_ids": ids,
        "attention_mask": (torch.arange(70) <= output_at.unsqueeze(1)).long(),
        "poses": matrix_to_rot6d(axis_angle_to_matrix(poses_aa)),
        "output_at": output_at,
        "edited": torch.tensor([1, 2, 4]),
        "edited_at": torch.tensor([30, 7, -1]),
        "earlier": torch.tensor([0, 2, 4]),
        "answer_at": output_at - 1,
        "choices": torch.full((3, 5), output),
    }
    row = {0: "batch"}
    text = {0: "batch", 1: "length"}
    free = dict.fromkeys(("output_at", "edited", "edited_at", "earlier", "answer_at"), row)
    free |= {"input_ids": text, "attention_mask": text, "poses": {0: "poses"}}
    free |= {"choices": {0: "batch", 1: "choices"}}
    if model.model.text_encoder is not None:
        inputs["texts"] = torch.full((2, 13), config.text_config.bos_token_id)
        inputs["text_places"] = torch.arange(3 * 70).view(3, 70) % 26 - 1
        free |= {"texts": {0: "texts", 1: "words"}, "text_places": text}
    outputs = ["matrices", "first_logits", *(() if model.variants is None else VARIANTS_INPUTS)]
    if tells_of_texts:
        outputs += [] if model.view is None else [VIEW_OUTPUT]
        outputs += [] if model.wish is None else [WISH_OUTPUT]
    return _Example(inputs, free, outputs)


def _variants_example(model: PoseLlavaForConditionalGeneration) -> _Example:
    config = model.config
    rng = torch.Generator().manual_seed(0)
    inputs = {
        "thoughts": torch.randn(3, NUM_JOINTS, config.pose_decoder_hidden_size, generator=rng),
        "state": torch.randn(3, config.text_config.hidden_size, generator=rng),
        "matrices": axis_angle_to_matrix(torch.randn(3, NUM_JOINTS, 3, generator=rng)),
        "moves": torch.rand(3, NUM_JOINTS, generator=rng) > 0.5,
    }
    return _Example(inputs, {name: {0: "batch"} for name in inputs}, ["variants"])


def _prompt_example(model: PoseLlavaForConditionalGeneration, voice: Voice) -> _Example:
    """Two rows, one with two poses and one with one."""
    config = model.config
    ids = torch.full((2, 70), config.text_config.bos_token_id)
    ids[0, 5:55], ids[1, 7:32] = config.pose_token_index, config.pose_token_index
    poses_aa = torch.randn(3, NUM_JOINTS, 3, generator=torch.Generator().manual_seed(0))
    text = {0: "batch", 1: "length"}
    inputs = {"input_ids": ids, "poses": matrix_to_rot6d(axis_angle_to_matrix(poses_aa))}
    free = {"input_ids": text, "poses": {0: "poses"}}
    if model.model.text_encoder is not None and not isinstance(voice, TaughtVoice):
        inputs["texts"] = torch.full((4, 13), config.text_config.bos_token_id)
        inputs["text_places"] = torch.arange(2 * 70).view(2, 70) % 26 - 1
        free |= {"texts": {0: "texts", 1: "words"}, "text_places": text}
    return _Example(inputs, free, [*SPEAKING_OUTPUTS], {"words": config.text_encoder_positions})


def _word_example(voice: Voice) -> _Example:
    config = voice.language_model.config
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    shape = (config.num_hidden_layers, 2, config.num_key_value_heads, 37, head)
    generator = torch.Generator().manual_seed(0)
    cache = {name: torch.randn(shape, generator=generator) for name in ("keys", "values")}
    inputs = {"input_ids": torch.full((2, 1), config.bos_token_id), **cache}
    free = {"input_ids": {0: "batch"}, "keys": {1: "batch", 3: "length"}, "values": {1: "batch", 3: "length"}}
    return _Example(inputs, free, [*SPEAKING_OUTPUTS])


def _picture_example() -> _Example:
    canvases = torch.rand(2, 3, CANVAS_SIDE, CANVAS_SIDE, generator=torch.Generator().manual_seed(0))
    return _Example({"canvases": canvases}, {"canvases": {0: "pictures"}}, [*PICTURE_OUTPUTS])


def _write(target: Path, module: nn.Module, example: _Example, weights: _Weights) -> None:
    """Export a module, put its weights back where they lie, and write the graph."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    names = {name for axes in example.free.values() for name in axes.values()}
    dims = {name: torch.export.Dim(name, max=example.most.get(name)) for name in names}
    with torch.no_grad(), _plain_attention(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            module.eval(),
            kwargs=example.inputs,
            dynamo=True,
            # In the order of the inputs: the exporter names axes by it.
            dynamic_shapes={
                name: {axis: dims[free] for axis, free in example.free[name].items()}
                for name in example.inputs
            },
            input_names=list(example.inputs),
            output_names=example.outputs,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _require_free(proto, example)
    weights.refer_to(proto)
    _strip(proto)
    target.write_bytes(proto.SerializeToString())


def _require_free(proto: Any, example: _Example) -> None:
    """Raise ValueError where the exporter took a size of the example for the only one."""
    for value in proto.graph.input:
        for axis in example.free[value.name]:
            if not value.type.tensor_type.shape.dim[axis].dim_param:
                raise ValueError(
                    f"axis {axis} of {value.name} is fixed in the graph: something in the model counts it"
                )


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention layers as written in Python, not as the kernel that torch takes where nothing is learnt."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _strip(proto: Any) -> None:
    """Take out where in the sources each node comes from."""
    for node in proto.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]


@dataclass(frozen=True)
class _Place:
    """Where a tensor's bytes lie, and those of its rows' scales where it is stored in int8."""

    file: str
    offset: int
    length: int
    kind: str
    shape: tuple[int, ...]
    scale: _Place | None = None


class _Weights:
    """Where the bytes of each tensor of a model's safetensors files lie, found by what the tensor holds: its name in
    the model and in the file may differ."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(file.name for file in folder.glob("*.safetensors"))
        self._places: dict[tuple[tuple[int, ...], bytes], _Place] = {}
        for name in self.files:
            data = (folder / name).read_bytes()
            places = {
                key: _Place(name, held.start, held.length, held.kind, held.shape)
                for key, held in held_in(folder / name).items()
                if held.kind in _KINDS
            }
            for key, place in places.items():
                values = _values(data, place)
                if place.kind == "I8":
                    scale = places[key + SCALE]
                    scale = replace(scale, shape=(*scale.shape, *(1,) * (len(place.shape) - 1)))
                    place = replace(place, scale=scale)
                    values = values * _values(data, scale)
                self._places[_identity(values)] = place

    def refer_to(self, proto: Any) -> None:
        """Make every weight of a graph a reference to its bytes, and make it float32 where it is stored smaller.

        Raises:
            ValueError: a weight is in none of the files.
        """
        import onnx

        tables = _tables(proto)
        before: list[Any] = []
        instead: dict[str, list[Any]] = {}  # of the node with that output
        scales: list[Any] = []
        for tensor in proto.graph.initializer:
            if tensor.data_type != onnx.TensorProto.FLOAT:
                continue
            place = self._places.get(_identity(onnx.numpy_helper.to_array(tensor)))
            if place is None:
                if math.prod(tensor.dims) > _INLINE:
                    raise ValueError(
                        f"the weight {tensor.name} is not in the model's files as the graph has it"
                    )
                continue
            name = tensor.name
            if place.kind == "F32":
                tensor.CopyFrom(_external(name, place))
                continue
            parts = [f"{name}.stored"]
            tensor.CopyFrom(_external(parts[0], place))
            if place.scale is not None:
                parts.append(f"{name}.scale")
                scales.append(_external(parts[1], place.scale))
            if name not in tables:
                before += _float32(parts, name)
            for lookup in tables.get(name, []):
                (rows,) = lookup.output
                parts_of_rows = [f"{rows}.{part}" for part in parts]
                instead[rows] = [
                    onnx.helper.make_node("Gather", [part, lookup.input[1]], [part_of_rows])
                    for part, part_of_rows in zip(parts, parts_of_rows, strict=True)
                ] + _float32(parts_of_rows, rows)
        proto.graph.initializer.extend(scales)
        nodes = [new for node in proto.graph.node for new in instead.get(node.output[0], [node])]
        del proto.graph.node[:]
        proto.graph.node.extend(before + nodes)


def _tables(proto: Any) -> dict[str, list[Any]]:
    """The weights of which nothing but rows is used, and the nodes that look them up."""
    users: dict[str, list[tuple[Any, int]]] = {}
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            users.setdefault(name, []).append((node, place))

    def is_lookup(node: Any, place: int) -> bool:
        return node.op_type == "Gather" and place == 0 and not any(each.i for each in node.attribute)

    return {
        name: [node for node, _ in uses]
        for name, uses in users.items()
        if all(is_lookup(*use) for use in uses)
    }


def _float32(parts: list[str], name: str) -> list[Any]:
    """The nodes that make ``name`` of what is stored and, where it is in int8, of its scale."""
    import onnx

    stored, *scale = parts
    whole = f"{name}.whole" if scale else name
    nodes = [onnx.helper.make_node("Cast", [stored], [whole], to=onnx.TensorProto.FLOAT)]
    if scale:
        nodes.append(onnx.helper.make_node("Mul", [whole, *scale], [name]))
    return nodes


def _external(name: str, place: _Place) -> Any:
    """An initialiser whose bytes lie in one of the model's files."""
    import onnx

    tensor = onnx.TensorProto(name=name, dims=place.shape, data_location=onnx.TensorProto.EXTERNAL)
    tensor.data_type = onnx.TensorProto.DataType.Value(_KINDS[place.kind])
    for key, value in (("location", place.file), ("offset", place.offset), ("length", place.length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _values(data: bytes, place: _Place) -> npt.NDArray[np.float32]:
    """What a tensor holds, in float32."""
    part = data[place.offset : place.offset + place.length]
    if place.kind == "BF16":
        values = (np.frombuffer(part, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(part, {"F32": np.float32, "F16": np.float16, "I8": np.int8}[place.kind])
    return values.astype(np.float32).reshape(place.shape)


def _identity(values: npt.NDArray[np.float32]) -> tuple[tuple[int, ...], bytes]:
    return values.shape, hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()
