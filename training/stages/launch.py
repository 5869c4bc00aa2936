# SPDX-License-Identifier: Apache-2.0
"""Processes and DeepSpeed: the same code under ``deepspeed``, ``torchrun`` or plain ``python``, and without DeepSpeed
where it is not installed."""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .parts import parameter_groups
from .plain import PlainEngine
from .settings import TrainSettings


def uses_deepspeed(settings: TrainSettings) -> bool:
    """Whether DeepSpeed drives the run: where it is installed, unless the run is to do without."""
    return settings.run.deepspeed and importlib.util.find_spec("deepspeed") is not None


def join_processes(settings: TrainSettings) -> torch.device:
    """Joins this process to the run's others, if a launcher started several, and returns its device.

    Must come before anything imports DeepSpeed, which reads the environment once.
    """
    cuda = torch.cuda.is_available()
    name_accelerator()
    os.environ.setdefault("DS_IGNORE_CUDA_DETECTION", "1")
    alone = "RANK" not in os.environ
    if alone:
        own = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {**own, "MASTER_PORT": str(_free_port())}
    if settings.run.threads:
        torch.set_num_threads(settings.run.threads)
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    backend = "nccl" if cuda else "gloo"
    if uses_deepspeed(settings):
        import deepspeed

        # The shared-memory operator would be compiled at the first start, and serves inference alone.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        if not dist.is_initialized():
            deepspeed.init_distributed(dist_backend=backend, verbose=False)
    elif not dist.is_initialized():
        if alone:  # without a port, which another process could have taken meanwhile
            own_store: Any = dist.HashStore()  # type: ignore[attr-defined]
            dist.init_process_group(backend, store=own_store, rank=0, world_size=1)
        else:
            dist.init_process_group(backend)
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices faster in bfloat16 than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def in_bfloat16(device: torch.device) -> ExitStack:
    """A context whose matrix products take bfloat16."""
    stack = ExitStack()
    stack.enter_context(torch.autocast(device.type, torch.bfloat16))
    if device.type == "cpu":
        # The fused attention's backward pass in bfloat16 takes four times the plain one's time there.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
    return stack


def in_processor_precision() -> AbstractContextManager[object]:
    """bfloat16 where the processor is faster with it."""
    cpu = torch.device("cpu")
    return in_bfloat16(cpu) if has_bfloat16(cpu) else nullcontext()


def name_accelerator() -> None:
    """Tells DeepSpeed, which reads the environment once, where there is no GPU: it would warn of that, in training and
    wherever a model is saved."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"


def leave_processes() -> None:
    """Ends the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def rank() -> int:
    """This process's number."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes the run has."""
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """The sum over all processes."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def union(names: Iterable[str]) -> list[str]:
    """Every process's names, in the order of the first process that has them."""
    own = list(names)
    everyone = [own] * world()
    if world() > 1:
        dist.all_gather_object(everyone, own)
    return list(dict.fromkeys(name for one in everyone for name in one))


def wait_for_all() -> None:
    """Returns once every process is here."""
    if world() > 1:
        dist.barrier()


def deepspeed_config(settings: TrainSettings) -> dict[str, Any]:
    """DeepSpeed's own configuration for a run."""
    run = settings.run
    zero: dict[str, Any] = {"stage": run.zero}
    if run.zero >= 2:
        zero |= {"overlap_comm": torch.cuda.is_available(), "contiguous_gradients": True}
    if run.zero == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True}
    return {
        "train_micro_batch_size_per_gpu": run.micro_batch,
        "gradient_accumulation_steps": run.accumulation,
        "gradient_clipping": settings.optimiser.clip,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": run.precision == "bf16"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def start_engine(model: nn.Module, settings: TrainSettings) -> Any:
    """An engine that trains the parameters of ``model`` which require gradients.

    Raises:
        ValueError: without DeepSpeed, what only DeepSpeed does.
    """
    optimiser = torch.optim.AdamW(
        parameter_groups(model, settings.optimiser),
        lr=settings.optimiser.learning_rate,
        betas=(0.9, settings.optimiser.beta2),
        fused=True,
    )
    run = settings.run
    if not uses_deepspeed(settings):
        if run.zero:
            raise ValueError(
                "run: zero is DeepSpeed's, which does not drive this run: take zero 0, or install posellava[train]"
            )
        return PlainEngine(model, optimiser, accumulation=run.accumulation, clip=settings.optimiser.clip)
    import deepspeed

    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=[parameter for parameter in model.parameters() if parameter.requires_grad],
        optimizer=optimiser,
        config=deepspeed_config(settings),
    )
    return engine


def norm_before_step(engine: Any) -> float | None:
    """The norm of gradients that lie whole in their parameters, as with ZeRO stage 0, of which DeepSpeed tells none."""
    gradients = [parameter.grad for parameter in engine.module.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients)) if gradients else None


def gradient_norm(engine: Any) -> float | None:
    """The norm of the last step's gradients before they were clipped; None where the engine does not tell."""
    tell = getattr(engine, "get_global_grad_norm", None)
    norm = None if tell is None else tell()
    return None if norm is None else float(norm)
