# SPDX-License-Identifier: Apache-2.0
"""Which engine answers with the model in a folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final, Protocol

from backend.graph_files import has_graphs
from backend.query import Answerer

SHIPPED_MODEL: Final = Path(__file__).parents[1] / "weights" / "mini"
ENGINES: Final = ("auto", "onnx", "torch")


class Engine(Answerer, Protocol):
    """An Answerer that can say what it answers with."""

    def describe(self) -> dict[str, Any]:
        """Name, sizes and tasks, for ``posellava info``."""
        ...


def load_engine(
    folder: Path | None = None, *, engine: str = "auto", device: str = "cpu", threads: int | None = None
) -> Engine:
    """Load a model.

    Args:
        folder: a saved model; None for the one that ships.
        engine: ``onnx``, ``torch``, or ``auto``: ONNX on a CPU where the model has graphs, torch otherwise.
        device: a torch device; anything but ``cpu`` is for torch.
        threads: CPU threads; None for as many as help.

    Raises:
        FileNotFoundError: no model in that folder, or a file of it is missing.
        ValueError: a file of the model is damaged, the engine is not installed, or it has no such device.
    """
    folder = SHIPPED_MODEL if folder is None else folder
    if engine == "auto":
        fits_onnx = device == "cpu" and has_graphs(folder) and _is_installed("onnxruntime")
        engine = "onnx" if fits_onnx else "torch"
    if engine == "onnx":
        if device != "cpu":
            raise ValueError(f"the engine onnx answers on the CPU, not on {device!r}; take --engine torch")
        if not _is_installed("onnxruntime"):
            raise ValueError("onnxruntime is not installed; run: pip install posellava")
        from .onnx import OnnxEngine

        return OnnxEngine.load(folder, threads=threads)
    if not (_is_installed("torch") and _is_installed("transformers")):
        raise ValueError(
            f"the model in {folder} needs torch here, which is not installed; run: pip install 'posellava[torch]'"
        )
    from .torch import TorchEngine

    return TorchEngine.load(folder, device=device, threads=threads)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
