# SPDX-License-Identifier: Apache-2.0
"""From a run's checkpoint to a model that ``posellava serve`` loads: adapters merged, the weights in safetensors, and
ONNX graphs beside them where the model is one that they can hold.

Or to the adapter alone: what was trained, without the base that it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.adapter import BASE_FILE, TRAINED_FILE
from backend.model.graphs import needs_torch, write_graphs
from backend.model.storage import pack
from training.writing import model_folder, require_replaceable

from .checkpoints import Checkpoints
from .initialise import start_model
from .launch import name_accelerator
from .objectives import stage1_task
from .parts import BESIDE, prepare_parts
from .plain import STATES_FILE
from .settings import SETTINGS_FILE, TrainSettings, load_settings

Dtype = Literal["float32", "float16", "bfloat16"]


def export(
    run: Path,
    output: Path,
    *,
    checkpoint: str = "best",
    dtype: Dtype = "float16",
    share: float = 1.0,
    as_trained: Sequence[str] = (),
    lean: bool = False,
) -> str:
    """Writes a model folder; ``output`` is replaced only once the new one is whole.

    Args:
        run: the run's output folder.
        output: the folder to write.
        checkpoint: ``best``, ``latest`` or the name of one.
        dtype: of the weights in the file.
        share: how far to go from the weights that the run started with to the checkpoint's, above 0 to 1. Between the
            two a model that goes on from a trained one is often more robust than at the end (Wortsman et al. 2022,
            "Robust fine-tuning of zero-shot models").
        lean: for a model whose prompts show no patches: leave out what only those need, and pack the rest (see
            ``backend.model.storage``).
        as_trained: beginnings of names of weights that are taken from the checkpoint all the same, as new in the run.

    Returns:
        The name of the checkpoint that was taken.

    Raises:
        FileNotFoundError: no such run or checkpoint.
        ValueError: the checkpoint lacks trained weights, no weight's name begins as ``as_trained`` says, or prompts
            show patches and the export is to be lean.
    """
    settings = load_settings(_settings_file(run))
    name = choose_checkpoint(run, checkpoint)
    require_replaceable(output, run)  # before the work, not after it
    name_accelerator()
    model, processor, wrapped = _trained(settings, run, name)
    if settings.trainable.language_model == "lora":
        model = wrapped.merge_and_unload()
    if share < 1.0:
        _go_back(model, settings, share, as_trained)
    if lean:
        if processor.prompter.shows_patches:
            raise ValueError(f"the templates of {run} show a picture's patches: its export cannot be lean")
        model = _without_patches(model)
    model.to(getattr(torch, dtype))
    with model_folder(output, run) as partial:
        model.save_pretrained(partial)
        processor.save_pretrained(partial)
        if lean:
            pack(partial)
        if not needs_torch(model, processor.prompter):
            write_graphs(partial)
    return name


def _without_patches(model: PoseLlavaForConditionalGeneration) -> PoseLlavaForConditionalGeneration:
    """The model without what only prompts with an image's patches need."""
    model.config.sees_patches = False
    lean = PoseLlavaForConditionalGeneration(model.config)
    lean.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name in lean.state_dict()}
    )
    return lean


def _go_back(model: nn.Module, settings: TrainSettings, share: float, as_trained: Sequence[str]) -> None:
    """Moves the weights back towards those that the run started with; see ``export``."""
    torch.manual_seed(settings.seed)
    start = start_model(settings.model, dtype=torch.float32, attention=settings.run.attention)[0].state_dict()
    for beginning in as_trained:
        if not any(name.startswith(beginning) for name in start):
            raise ValueError(
                f"no weight's name begins with {beginning}; there is {next(iter(start))}, for one"
            )
    for name, parameter in model.named_parameters():
        if not name.startswith(tuple(as_trained)):
            parameter.data = torch.lerp(start[name], parameter.data, share)


def export_adapter(run: Path, output: Path, *, checkpoint: str = "best") -> str:
    """Writes what was trained, and nothing of the base, in the form of ``backend.model.adapter``.

    Raises:
        FileNotFoundError: no such run or checkpoint.
        ValueError: the run did not train adapters.
    """
    settings = load_settings(_settings_file(run))
    if settings.trainable.language_model != "lora":
        raise ValueError(
            f"{run} trained the whole language model: there is no adapter; export the model instead"
        )
    name = choose_checkpoint(run, checkpoint)
    require_replaceable(output, run)
    name_accelerator()
    model, processor, wrapped = _trained(settings, run, name)
    trained = {
        key: parameter.detach().contiguous()
        for key, parameter in wrapped.named_parameters()
        if parameter.requires_grad and "lora_" not in key
    }
    base = {
        "base": str(settings.model.start.resolve()),
        "changes": settings.model.changes | {part: getattr(model.config, part) for part in BESIDE},
        "seed": settings.seed,
    }
    with model_folder(output, run) as partial:
        wrapped.save_pretrained(partial)
        save_file(trained, partial / TRAINED_FILE)
        processor.save_pretrained(partial)
        (partial / BASE_FILE).write_text(json.dumps(base, indent=1), encoding="utf-8")
    return name


def choose_checkpoint(run: Path, wanted: str) -> str:
    """The name of a checkpoint; without a validation ``best`` is the newest. Raises FileNotFoundError."""
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    names = checkpoints.names()
    name = wanted
    if wanted == "latest":
        name = names[-1] if names else ""
    elif wanted == "best":
        name = checkpoints.best() or (names[-1] if names else "")
    if name not in names:
        raise FileNotFoundError(
            f"{run} has no checkpoint {wanted!r}; there are {', '.join(names) or 'none yet'}"
        )
    return name


def _settings_file(run: Path) -> Path:
    path = run / SETTINGS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{run} is no training run: it has no {SETTINGS_FILE}")
    return path


def _trained(
    settings: TrainSettings, run: Path, name: str
) -> tuple[PoseLlavaForConditionalGeneration, PoseLlavaProcessor, Any]:
    """The model, its processor, and the model as training wraps it, with the checkpoint's weights."""
    # As in training, so that modules that stayed as they were drawn are the same.
    torch.manual_seed(settings.seed)
    model, processor = start_model(settings.model, dtype=torch.float32, attention=settings.run.attention)
    wrapped: Any = prepare_parts(model, settings.trainable)
    if settings.stage == "stage1":
        wrapped = stage1_task(model, settings.losses)
    load_trained(wrapped, read_weights(run / "checkpoints", name))
    return model, processor, wrapped


def read_weights(checkpoints: Path, name: str) -> dict[str, Tensor]:
    """Float32 weights of a DeepSpeed checkpoint of any ZeRO stage."""
    if any((checkpoints / name).glob("*optim_states.pt")):
        from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

        weights: dict[str, Tensor] = get_fp32_state_dict_from_zero_checkpoint(
            str(checkpoints), tag=name, exclude_frozen_parameters=True
        )
        return weights
    states = torch.load(checkpoints / name / STATES_FILE, map_location="cpu", weights_only=False)
    module: dict[str, Tensor] = states["module"]
    return module


def load_trained(wrapped: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads trained weights over the start model's. Raises ValueError where a trained part has none."""
    missing, unexpected = wrapped.load_state_dict(weights, strict=False)
    trained = {id(parameter) for parameter in wrapped.parameters() if parameter.requires_grad}
    given = {
        id(parameter)
        for key, parameter in wrapped.named_parameters(remove_duplicate=False)
        if key not in missing
    }
    lost = [key for key, parameter in wrapped.named_parameters() if id(parameter) in trained - given]
    if lost or unexpected:
        raise ValueError(f"the checkpoint does not fit its run: {json.dumps((lost or unexpected)[:5])}")
