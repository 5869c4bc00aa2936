# SPDX-License-Identifier: Apache-2.0
"""What the loop needs of DeepSpeed, without DeepSpeed: for one GPU or a few CPU processes, where it is not installed.

The same steps as ZeRO stage 0, and checkpoints that either goes on from. Weights in bfloat16 that learn are kept in
float32 as well, and the steps are taken there: most steps are smaller than what bfloat16 can tell apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

STATES_FILE: Final = "mp_rank_00_model_states.pt"
"""DeepSpeed's name for the weights of a checkpoint of ZeRO stage 0."""


class PlainEngine:
    """Drives a model and its optimiser as ``deepspeed.initialize`` would.

    Args:
        model: all of whose parameters that require gradients learn.
        optimizer: of these.
        accumulation: passes to a step.
        clip: the largest norm of a step's gradients.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, accumulation: int, clip: float
    ) -> None:
        self.module = model
        self.optimizer = optimizer
        self._accumulation = accumulation
        self._clip = clip
        self._passes = 0
        self._learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._norm: float | None = None
        if _world() > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor.data, 0)
        self._stepped = {parameter: _in_float32(parameter) for parameter in self._learning}
        for group in optimizer.param_groups:
            group["params"] = [self._stepped[parameter] for parameter in group["params"]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass."""
        return self.module(*args, **kwargs)

    def train(self) -> None:
        """The model is to learn."""
        self.module.train()

    def eval(self) -> None:
        """The model is to be measured."""
        self.module.eval()

    def parameters(self) -> Any:
        """The model's."""
        return self.module.parameters()

    def backward(self, loss: Tensor) -> None:
        """Adds a pass's share of the step's gradients."""
        (loss / self._accumulation).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Counts a pass; after the last of a step, updates the weights."""
        self._passes += 1
        if self._passes % self._accumulation:
            return
        if _world() > 1:
            self._share_gradients()
        for parameter, stepped in self._stepped.items():
            if stepped is not parameter and parameter.grad is not None:
                stepped.grad, parameter.grad = parameter.grad.float(), None
        gradients = [stepped.grad for stepped in self._stepped.values() if stepped.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        self._norm = float(norm)
        nn.utils.clip_grads_with_norm_(list(self._stepped.values()), self._clip, norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._write_back()

    def _write_back(self) -> None:
        """What was stepped in float32 becomes what the model computes with."""
        for parameter, stepped in self._stepped.items():
            if stepped is not parameter:
                parameter.data.copy_(stepped.data)

    def get_global_grad_norm(self) -> float | None:
        """The norm of the last step's gradients before they were clipped."""
        return self._norm

    def _share_gradients(self) -> None:
        """The mean over the processes, in one message."""
        for parameter in self._learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat(
            [parameter.grad.flatten() for parameter in self._learning if parameter.grad is not None]
        )
        dist.all_reduce(flat)
        flat /= _world()
        sizes = [parameter.numel() for parameter in self._learning]
        for parameter, mean in zip(self._learning, torch.split(flat, sizes), strict=True):
            parameter.grad = mean.view_as(parameter)

    def save_checkpoint(self, folder: str, *, tag: str, **_: Any) -> None:
        """Writes the weights that learn and the optimiser's state."""
        if _rank() == 0:
            named = self.module.named_parameters()
            module = {name: self._stepped[one].detach() for name, one in named if one in self._stepped}
            states = {"module": module, "optimizer": self.optimizer.state_dict()}
            (Path(folder) / tag).mkdir(parents=True, exist_ok=True)
            torch.save(states, Path(folder) / tag / STATES_FILE)

    def load_checkpoint(self, folder: str, *, tag: str, **_: Any) -> None:
        """Goes on from a checkpoint.

        Raises:
            FileNotFoundError: it was written by DeepSpeed in another form than ZeRO stage 0.
        """
        file = Path(folder) / tag / STATES_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: only DeepSpeed goes on from this checkpoint")
        states = torch.load(file, map_location=self._learning[0].device, weights_only=False)
        with torch.no_grad():
            for name, parameter in self.module.named_parameters():
                if parameter in self._stepped:
                    self._stepped[parameter].copy_(states["module"][name])
        self._write_back()
        self.optimizer.load_state_dict(states["optimizer"])


def _in_float32(parameter: nn.Parameter) -> nn.Parameter:
    """The parameter itself, or its copy where it is in fewer bits."""
    return parameter if parameter.dtype == torch.float32 else nn.Parameter(parameter.detach().float())


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0
