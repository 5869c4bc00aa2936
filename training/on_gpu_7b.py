# SPDX-License-Identifier: Apache-2.0
"""What ``7b`` needs and does on one GPU, measured with random weights in its real shapes: memory, speed, time of edits.

    python -m training.on_gpu_7b [PART ...] [--output FILE] [--quick]

Parts: ``stage1``, ``stage2`` and ``stage3`` train on samples of random words, poses and pictures by the configurations
in ``training/configs``; ``edit`` asks one edit at a time; ``batch`` asks 64 at a time, in one prefill and token by
token. Each runs in a process of its own, alone on the card, in less than three minutes, needs no network and no
data, and prints one JSON object a line. DeepSpeed drives the stages where it is installed. ``--quick`` runs the same
on small shapes on a CPU, which tells that it runs and nothing of speed.

May import the rest of training and backend.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from backend.prompt import PAPER_TEMPLATES
from training.recipe import CONFIGS

PARTS: Final = ("stage1", "stage2", "stage3", "edit", "batch")
PART_SECONDS: Final = 175
PEAK_FLOPS: Final = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second by the makers' data sheets, for the utilisation."""
WORDS: Final = 60
"""Of an instruction: about a sentence of PoseFix in Mistral's word pieces."""
IMAGE_SIZE: Final = (480, 640, 3)
"""Of a picture; LLaVA-NeXT sees it as a whole and in four tiles."""
BATCH: Final = 64
WARM_PASSES: Final = 3
"""Before each measurement, and not in it."""
_WORD: Final = re.compile(r"[a-z]+|[^a-z\s]", re.IGNORECASE)
_SPOKEN: Final = tuple(
    f"{part}{number}" for number in range(8) for part in ("arm", "leg", "hand", "head", "bend", "raise")
)
"""Words of the instructions: what they say makes no difference to the time."""


@dataclass(frozen=True)
class Effort:
    """How long a part measures, and on which shapes.

    Attributes:
        quick: small shapes on a CPU.
        seconds: of each measurement, after it has warmed up.
        micro_batch: samples of a pass; None for the configuration's.
        batch: edits that are asked at a time.
    """

    quick: bool = False
    seconds: float = 25.0
    micro_batch: int | None = None
    batch: int = BATCH


QUICK: Final = Effort(quick=True, seconds=0.0, micro_batch=2, batch=3)
_QUICK_TEXT: Final = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                      "num_key_value_heads": 1}  # fmt: skip
_QUICK_VISION: Final = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                        "image_size": 28, "patch_size": 14}  # fmt: skip


def measure(part: str, effort: Effort) -> Iterator[dict[str, Any]]:
    """The findings of a part, one after the other."""
    if part.startswith("stage"):
        yield from measure_stage(part, effort)
    else:
        engine = random_engine(effort)
        yield from (measure_edit if part == "edit" else measure_batch)(engine, effort)


def measure_stage(stage: str, effort: Effort) -> Iterator[dict[str, Any]]:
    """Memory, samples and tokens a second and utilisation of a stage's steps; of stage 3 without and with pictures."""
    import torch

    from training.stages.batches import Collator
    from training.stages.launch import join_processes, start_engine
    from training.stages.objectives import stage1_task
    from training.stages.parts import prepare_parts
    from training.stages.stages import stage_task

    settings = stage_settings(stage, effort)
    device = join_processes(settings)
    model, processor = random_model(settings, device, quick=effort.quick)
    if settings.run.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    wrapped = prepare_parts(model, settings.trainable)
    if stage == "stage1":
        wrapped = stage1_task(model, settings.losses)
    engine = start_engine(wrapped, settings)
    engine.train()
    task = stage_task(settings.stage, Collator(processor))
    kinds = {"stage1": ["pictures"], "stage2": ["texts"], "stage3": ["edits", "pictures"]}[stage]
    for kind in kinds:
        size = settings.run.micro_batch
        while True:
            samples = random_samples(kind, size)
            batch = task.collate(samples, samples).to(device)
            try:
                step = partial(_step, engine, task, batch, settings.losses)
                seconds, passes = _timed(step, effort.seconds, device)
                break
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                size //= 2
                engine.optimizer.zero_grad()
                torch.cuda.empty_cache()
        flops = model_flops(model, batch)
        yield {
            **_about(stage, device),
            "rows": f"{size} {kind}",
            "engine": type(engine).__name__,
            "memory_gb": _peak_memory(device),
            "samples_per_s": round(size * passes / seconds, 2),
            "tokens_per_s": round(_places(model, batch) * passes / seconds, 1),
            "mfu": _utilisation(flops * passes / seconds, device),
        }


def _step(engine: Any, task: Any, batch: Any, weights: dict[str, float]) -> None:
    from training.stages.objectives import weighted_sum

    output = task.forward(engine, batch)
    engine.backward(weighted_sum(task.losses(output, batch, weights).terms, weights))
    engine.step()


def stage_settings(stage: str, effort: Effort) -> Any:
    """A stage's own configuration on one device: every pass a step, without sharing out among GPUs."""
    from training.stages.launch import uses_deepspeed
    from training.stages.settings import load_settings

    changes = ["run.accumulation=1"]
    if effort.micro_batch is not None:
        changes.append(f"run.micro_batch={effort.micro_batch}")
    settings = load_settings(CONFIGS / f"7b_{stage}.yaml", changes)
    if not uses_deepspeed(settings):
        settings = replace(settings, run=replace(settings.run, zero=0))
    if effort.quick:
        lora = replace(settings.trainable.lora, rank=4, alpha=8)
        settings = replace(settings, trainable=replace(settings.trainable, lora=lora))
    return settings


def random_model(settings: Any, device: Any, *, quick: bool) -> tuple[Any, Any]:
    """The configuration's model in bfloat16 with weights as they are drawn, and a processor with a word for a token."""
    import torch
    from transformers import CLIPVisionConfig, LlavaNextImageProcessorPil, MistralConfig

    from backend.model import PoseLlavaForConditionalGeneration
    from backend.model.llava import MISTRAL_FORMAT, paper_processor
    from backend.prompt import IMAGE_PLACEHOLDER, POSE_OUTPUT, POSE_PLACEHOLDER
    from training.stages.memory import model_config
    from training.stages.vocabulary import SPECIAL_TOKENS, word_piece_tokenizer

    settings = replace(
        settings, model=replace(settings.model, start=Path("nowhere"), changes=_pose_changes())
    )
    config = model_config(settings)
    if quick:
        config.text_config = MistralConfig(vocab_size=2000, **_QUICK_TEXT)
        config.vision_config = CLIPVisionConfig(**_QUICK_VISION)
        side = config.vision_config.image_size
        config.image_grid_pinpoints = [[2 * side, 2 * side]]
    number = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    config.pose_token_index = number[POSE_PLACEHOLDER]
    config.image_token_index = number[IMAGE_PLACEHOLDER]
    config.pose_output_token_index = number[POSE_OUTPUT]
    text = config.text_config
    text.pad_token_id, text.bos_token_id, text.eos_token_id = number["<pad>"], number["<s>"], number["</s>"]
    with _default_dtype(torch.bfloat16), torch.device(device):
        model = PoseLlavaForConditionalGeneration(config)
    asked = [
        MISTRAL_FORMAT,
        *(text for each in PAPER_TEMPLATES.values() for one in each for text in one.values()),
    ]
    pieces = sorted({word.lower() for text in asked for word in _WORD.findall(text)} | set(_SPOKEN))
    side = config.vision_config.image_size
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_grid_pinpoints=config.image_grid_pinpoints,
    )
    return model, paper_processor(images, word_piece_tokenizer(pieces), config)


def _pose_changes() -> dict[str, Any]:
    """The pose modules' sizes, which the later stages find in the model of stage 1."""
    from training.stages.settings import load_settings

    return load_settings(CONFIGS / "7b_stage1.yaml").model.changes


@contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def random_samples(kind: str, count: int) -> list[Any]:
    """``texts`` to a pose, ``edits`` of a pose, or ``pictures`` of one."""
    from training.data.samples import Sample

    rng = np.random.default_rng(0)
    tasks = {"texts": "generate", "edits": "adjust", "pictures": "estimate"}
    samples = []
    for number in range(count):
        start, target = rng.normal(0, 0.3, (2, 24, 3)).astype(np.float32)
        words = "" if kind == "pictures" else " ".join(rng.choice(_SPOKEN, WORDS))
        image = rng.integers(0, 255, IMAGE_SIZE, dtype=np.uint8) if kind == "pictures" else None
        pose_aa = start if kind == "edits" else None
        # The same name asks in the same wording: rows of one length.
        samples.append(Sample("row", tasks[kind], str(number), words, pose_aa, target, image=image))
    return samples


def model_flops(model: Any, batch: Any) -> float:
    """Operations that a pass of training must do, without what gradient checkpointing does again: forward and back
    through every layer of the language model, gradients of the weights that learn, attention, logits where something
    is to be said, and forward through the vision tower."""
    vision = sum(parameter.numel() for parameter in model.model.vision_tower.parameters())
    config = model.config
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2 + 1
    if batch.pixels is not None:
        return float(2 * vision * patches * len(batch.pixels))
    layers = model.model.language_model.layers
    weights = sum(parameter.numel() for parameter in layers.parameters())
    learning = sum(parameter.numel() for parameter in layers.parameters() if parameter.requires_grad)
    lengths = batch.inputs["attention_mask"].sum(dim=1).double()
    tokens = float(lengths.sum())
    text = config.text_config
    # Queries with keys, and what they say with values; each token looks at half of its row on average.
    attention = 3 * 2 * text.num_hidden_layers * text.hidden_size * float((lengths**2).sum())
    head = 6 * batch.text_labels * text.hidden_size * text.vocab_size
    tiles = _tiles(batch)
    return float(tokens * (4 * weights + 2 * learning) + attention + head + 2 * vision * patches * tiles)


def _tiles(batch: Any) -> int:
    pixels = batch.inputs.get("pixel_values")
    return 0 if pixels is None else int(pixels.shape[0] * pixels.shape[1])


def _places(model: Any, batch: Any) -> int:
    """Places of the language model, or in stage 1 patches of the vision tower."""
    if batch.pixels is None:
        return int(batch.tokens)
    vision = model.config.vision_config
    return int(len(batch.pixels) * ((vision.image_size // vision.patch_size) ** 2 + 1))


def random_engine(effort: Effort) -> Any:
    """An engine on the model of stage 3."""
    import torch

    from backend.engines.torch import TorchEngine

    device = torch.device("cuda" if torch.cuda.is_available() and not effort.quick else "cpu")
    model, processor = random_model(stage_settings("stage3", effort), device, quick=effort.quick)
    return TorchEngine(model, processor, name="random")


def measure_edit(engine: Any, effort: Effort) -> Iterator[dict[str, Any]]:
    """Milliseconds of an edit, from the query to the pose, one after the other."""
    (query,) = _queries(1)
    times: list[float] = []

    def ask() -> None:
        begun = time.perf_counter()
        engine.answer([query])
        times.append(1000 * (time.perf_counter() - begun))

    _timed(ask, effort.seconds, engine.model.device)
    times = times[WARM_PASSES:] or times
    yield {
        **_about("edit", engine.model.device),
        "edits": len(times),
        "p50_ms": round(statistics.median(times), 2),
        "p95_ms": round(float(np.percentile(times, 95)), 2),
        "memory_gb": _peak_memory(engine.model.device),
    }


def measure_batch(engine: Any, effort: Effort) -> Iterator[dict[str, Any]]:
    """Edits a second of one prefill over question and answer, and of saying the answer token by token."""
    queries, device = _queries(effort.batch), engine.model.device
    seconds, passes = _timed(lambda: engine.answer(queries), effort.seconds, device)
    together = len(queries) * passes / seconds
    seconds, passes = _timed(lambda: say_by_token(engine, queries), effort.seconds, device)
    one_by_one = len(queries) * passes / seconds
    yield {
        **_about("batch", device),
        "batch": len(queries),
        "edits_per_s": round(together, 2),
        "edits_per_s_by_token": round(one_by_one, 2),
        "speedup": round(together / one_by_one, 2),
        "memory_gb": _peak_memory(device),
    }


def say_by_token(engine: Any, queries: Sequence[Any]) -> None:
    """What ``generate`` does with a cache: the question's prefill, then a pass for each token of the answer.

    A random model would say anything: each pass chooses a token, and is given the answer's own, so that both ways say
    the same. Decoding the pose is left out, in favour of this way.
    """
    import torch

    with torch.inference_mode():
        inputs = engine.processor.encode(queries).to(engine.model.device)
        ids, mask, (answer_at,) = (
            inputs["input_ids"],
            inputs["attention_mask"],
            set(inputs["answer_at"].tolist()),
        )
        said = engine.model(
            input_ids=ids[:, :answer_at], attention_mask=mask[:, :answer_at], poses=inputs["poses"],
            logits_to_keep=1, use_cache=True,
        )  # fmt: skip
        for place in range(answer_at, ids.shape[1]):
            said.logits.argmax(dim=-1).cpu()
            said = engine.model(
                input_ids=ids[:, place : place + 1], attention_mask=mask[:, : place + 1],
                past_key_values=said.past_key_values, logits_to_keep=1, use_cache=True,
            )  # fmt: skip


def _queries(count: int) -> list[Any]:
    from backend.query import Query

    return [
        Query("adjust", sample.instruction, pose_aa=sample.pose_aa)
        for sample in random_samples("edits", count)
    ]


def _timed(work: Callable[[], Any], seconds: float, device: Any) -> tuple[float, int]:
    """Seconds and number of calls, after some that warm up; one at least."""
    _forget_peak(device)
    for _ in range(WARM_PASSES):
        work()
    _wait(device)
    begun = time.perf_counter()
    for calls in itertools.count(1):
        work()
        _wait(device)
        spent = time.perf_counter() - begun
        if spent >= seconds:
            return spent, calls
    raise AssertionError


def _wait(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: Any) -> float | None:
    import torch

    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None


def _utilisation(flops_per_s: float, device: Any) -> float | None:
    """The share of what the card can do; None for one whose peak is not listed."""
    import torch

    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for card, peak in PEAK_FLOPS.items() if card in name), None)
    return None if peak is None else round(flops_per_s / peak, 3)


def _about(part: str, device: Any) -> dict[str, Any]:
    import torch
    import transformers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return {
        "part": part,
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _run_apart(part: str, quick: bool) -> tuple[str, int]:
    """A part's lines and exit status, from a process of its own that leaves the card empty."""
    command = [sys.executable, "-m", "training.on_gpu_7b", part, *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PART_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return json.dumps({"part": part, "error": f"not done in {PART_SECONDS} seconds"}) + "\n", 1
    return done.stdout, done.returncode


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.on_gpu_7b", description="Measure 7b on one GPU, with random weights."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="add the lines to a file, too")
    parser.add_argument("--quick", action="store_true", help="small shapes on a CPU: does it run?")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    import torch

    if not arguments.quick and not torch.cuda.is_available():
        print("on_gpu_7b: there is no GPU here; --quick tries it on the CPU", file=sys.stderr)
        return 1
    status = 0
    parts = arguments.parts or PARTS
    for part in parts:
        if len(parts) == 1:
            lines = [json.dumps(finding) for finding in measure(part, QUICK if arguments.quick else Effort())]
            text = "".join(line + "\n" for line in lines)
        else:
            text, failed = _run_apart(part, arguments.quick)
            status = status or failed
        print(text, end="", flush=True)
        if arguments.output is not None:
            with arguments.output.open("a", encoding="utf-8") as file:
                file.write(text)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
