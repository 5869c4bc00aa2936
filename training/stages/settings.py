# SPDX-License-Identifier: Apache-2.0
"""What a training configuration may say. Every key of the YAML files is a field here, and no other is taken."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from training.data.frames import Frame

Stage = Literal["stage1", "stage2", "stage3"]
SETTINGS_FILE: Final = "settings.yaml"
"""Name under which a run keeps its configuration."""
TrainedPart = Literal["frozen", "full", "lora"]
EmbeddingRows = Literal["frozen", "special", "all"]


@dataclass(frozen=True)
class ModelSettings:
    """Where the model comes from.

    Attributes:
        start: a folder: a PoseLLaVA model, a LLaVA-NeXT one that is given the pose modules, or, with ``fresh``, where
            the fresh model is kept.
        fresh: a YAML file that describes a model to make where ``start`` holds none yet; None: ``start`` must exist.
        changes: fields of PoseLlavaConfig to set on the start. Parts that they add to a small model begin so that its
            answers stay as they are, and its words are read by the newest list of what the data say.
    """

    start: Path
    fresh: Path | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters on every linear layer of the language model (paper: r 128, alpha 256)."""

    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05


@dataclass(frozen=True)
class TrainableSettings:
    """Which parts of the model learn. ``embeddings``: none, the special tokens' rows, or all, input and output;
    ``text_encoder``: so many of its last layers, and its projector where ``text_projector`` says so; ``pose_reader``:
    all of it but the first layers of its trunk, up to 32 x 32 places."""

    language_model: TrainedPart = "full"
    lora: LoraSettings = field(default_factory=LoraSettings)
    embeddings: EmbeddingRows = "special"
    text_encoder: int = 0
    text_projector: bool = True
    vision_tower: bool = False
    vision_projector: bool = False
    pose_encoder: bool = True
    pose_projector: bool = True
    pose_decoder: bool = True
    alignment: bool = False
    pose_reader: bool = False


@dataclass(frozen=True)
class SourceSettings:
    """A folder of shards or a JSON file of the paper's form, and its share of the samples.

    ``varied``, of pictures: mirrored, moved, scaled and tinted anew in every epoch. ``frame``, of a file's poses: which
    way is up; None to recognise it (``training/data/records.py``).
    """

    path: Path
    weight: float = 1.0
    varied: bool = False
    frame: Frame | None = None


@dataclass(frozen=True)
class DataSettings:
    """Samples to learn from and to validate on.

    Attributes:
        sources: mixed by weight, under names that are kept across resumes.
        validation: a held-out folder or file.
        validation_samples: how many of its first samples are used.
        bucket_batches: batches that are drawn together and sorted by length; 1 does not sort.
        prefetch: batches prepared ahead in a thread; 0 where the training itself needs the cores.
        workers: processes that lay out the batches, for a GPU that learns faster than one process can; the batches are
            the same without.
        growing: take up the shards of folders that are still being built. Each worker then has a stream of its own, and
            a run that goes on draws others.
        feature_cache: a folder for the features of a frozen vision tower; None computes them anew each time.
    """

    sources: dict[str, SourceSettings]
    validation: Path | None = None
    validation_samples: int = 512
    bucket_batches: int = 32
    prefetch: int = 0
    workers: int = 0
    growing: bool = False
    feature_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.growing and self.workers < 1:
            raise ValueError("data: growing needs workers that draw: set data.workers to 1 or more")


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW with linear warm-up and a cosine to ``final_ratio`` of the rate.

    ``warmup`` is the share of the run; ``embedding_ratio`` scales the rate of the embeddings, ``trunk_ratio`` that of
    the pose reader's trunk and ``text_encoder_ratio`` that of the text encoder, which have learnt before.
    """

    learning_rate: float
    weight_decay: float = 0.01
    beta2: float = 0.95
    warmup: float = 0.03
    final_ratio: float = 0.0
    embedding_ratio: float = 1.0
    trunk_ratio: float = 0.2
    text_encoder_ratio: float = 0.2
    clip: float = 1.0


@dataclass(frozen=True)
class RunSettings:
    """How long and how.

    Attributes:
        steps: optimiser steps; 0 takes ``epochs`` of the data.
        epochs: passes over all sources together, where ``steps`` is 0.
        max_minutes: time budget of training; the schedule then follows whichever of time and steps is further.
        micro_batch: samples per process and pass.
        accumulation: passes per step.
        checkpoint_steps: steps between checkpoints, each with a validation.
        checkpoint_minutes: a checkpoint is also due after so many minutes; 0 for none.
        keep: newest checkpoints to keep besides the best.
        log_steps: steps between lines of the log.
        precision: of the forward and backward pass; bf16 keeps float32 master weights, autocast float32 weights of
            which matrix products take bfloat16: twice as fast on a GPU or a processor with instructions for it, slower
            on others. auto: autocast on those that have them, fp32 on others.
        deepspeed: whether DeepSpeed is to drive the run where it is installed; without it the steps are the same.
        zero: DeepSpeed's ZeRO stage.
        threads: of torch on a CPU; 0 leaves torch's choice.
        gradient_checkpointing: recompute activations of the language model.
        attention: implementation for transformers.
    """

    steps: int = 0
    epochs: float = 1.0
    max_minutes: float = 0.0
    micro_batch: int = 32
    accumulation: int = 1
    checkpoint_steps: int = 1000
    checkpoint_minutes: float = 0.0
    keep: int = 2
    log_steps: int = 20
    precision: Literal["fp32", "bf16", "autocast", "auto"] = "fp32"
    deepspeed: bool = True
    zero: Literal[0, 1, 2, 3] = 0
    threads: int = 0
    gradient_checkpointing: bool = False
    attention: str = "sdpa"

    def __post_init__(self) -> None:
        for name in ("micro_batch", "accumulation", "checkpoint_steps", "keep", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"run: {name} must be 1 or more, not {getattr(self, name)}")
        for name in ("steps", "epochs", "max_minutes", "checkpoint_minutes", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"run: {name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class TrainSettings:
    """One run of one stage. ``losses`` gives the weight of each term by its name in ``losses.py``."""

    stage: Stage
    output: Path
    model: ModelSettings
    data: DataSettings
    optimiser: OptimiserSettings
    losses: dict[str, float]
    trainable: TrainableSettings = field(default_factory=TrainableSettings)
    run: RunSettings = field(default_factory=RunSettings)
    seed: int = 0


def load_settings(path: Path, changes: Sequence[str] = ()) -> TrainSettings:
    """Reads a stage's configuration; see ``load``."""
    settings: TrainSettings = load(TrainSettings, path, changes)
    return settings


def load(kind: Any, path: Path, changes: Sequence[str] = ()) -> Any:
    """Reads a configuration.

    Args:
        kind: the dataclass that says what it may hold.
        path: YAML file; its ``extends`` names a file, relative to it, whose values it overlays.
        changes: ``section.key=value`` strings that overlay it, values in YAML.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown key, a missing one or a value of the wrong type; the sentence names it.
    """
    values = read_yaml(path)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"--set {change}: write it as section.key=value")
        node = values
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"--set {change}: {parent} is not a section")
        node[last] = _safe_load(text, f"--set {change}")
    return parse(kind, values, str(path))


def save_settings(settings: TrainSettings, path: Path) -> None:
    """Writes a configuration as one file that ``load_settings`` reads."""
    values = _plain(asdict(settings))
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Paths as strings, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file with what it ``extends`` underneath. Raises FileNotFoundError and ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no configuration {path}; the project's own are in training/configs")
    values = _safe_load(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} is not a YAML mapping")
    if "extends" in values:
        values = _overlay(read_yaml(path.parent / values.pop("extends")), values)
    table: dict[str, Any] = values
    return table


def _safe_load(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from None


def _overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    # Not OmegaConf's merge: two tables are replaced and not merged, and a GPU's machine needs no package more.
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        # A loss or a source of another recipe must not linger, so these tables are replaced as wholes.
        whole = key in ("losses", "sources")
        if isinstance(below, dict) and isinstance(value, dict) and not whole:
            merged[key] = _overlay(below, value)
        else:
            merged[key] = value
    return merged


def parse(kind: Any, value: Any, where: str) -> Any:
    """A value of YAML as the type ``kind``: dataclasses from mappings, paths from strings, numbers checked.

    Raises:
        ValueError: it does not fit; ``where`` says what it was.
    """
    # Not pydantic: it takes "yes" for true unless it is strict, and strict it takes no 1e-3, which YAML reads as text.
    origin = typing.get_origin(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _parse_dataclass(kind, value, where)
    if origin in (typing.Union, types.UnionType):
        options = typing.get_args(kind)
        if value is None and type(None) in options:
            return None
        return parse(next(option for option in options if option is not type(None)), value, where)
    if origin is Literal:
        if value not in typing.get_args(kind):
            raise ValueError(
                f"{where} must be one of {', '.join(map(str, typing.get_args(kind)))}, not {value!r}"
            )
        return value
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a mapping, not {value!r}")
        return {
            str(key): parse(typing.get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()
        }
    if kind is Any:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as a string.
        except ValueError:
            raise ValueError(f"{where} must be a number, not {value!r}") from None
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ValueError(f"{where} must be of type {kind.__name__}, not {value!r}")


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be a mapping, not {value!r}")
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(known)}")
    for name, item in known.items():
        if name not in value and item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{where}: the key {name!r} is missing")
    return kind(**{name: parse(hints[name], item, f"{where}: {name}") for name, item in value.items()})
