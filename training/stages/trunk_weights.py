# SPDX-License-Identifier: Apache-2.0
"""The published weights of BlazePose's full model (Apache-2.0), read from the TFLite file that comes with the Python
package MediaPipe. Nothing of the package is run. May import the trunk only.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import tflite
import torch
from torch import nn

from backend.model.blazepose import BlazePoseTrunk

Array = npt.NDArray[np.float32]

WORLD_LANDMARK_NUMBERS: Final = 117
"""Of the output with the landmarks in the world; the trunk holds the first of the convolutions that lead to it."""


@dataclass(frozen=True)
class PublishedConvolution:
    """Weight (out, in or 1, height, width) and bias (out,)."""

    weight: Array
    bias: Array


def published_file() -> Path:
    """Where the installed package has the file.

    Raises:
        FileNotFoundError: it is not installed, or a later version is, which has no weights.
    """
    package = importlib.util.find_spec("mediapipe")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    for folder in folders:
        file = Path(folder, "modules", "pose_landmark", "pose_landmark_full.tflite")
        if file.is_file():
            return file
    raise FileNotFoundError(
        "the weights of the pose reader's trunk are a file of MediaPipe 0.10.14: pip install --no-deps"
        " mediapipe==0.10.14"
    )


def load_trunk(trunk: BlazePoseTrunk, file: Path) -> None:
    """Gives the trunk the weights of ``pose_landmark_full.tflite``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds another network.
    """
    layers = [module for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    shapes = [tuple(layer.weight.shape) for layer in layers]
    published = read_convolutions(file, WORLD_LANDMARK_NUMBERS)[: len(layers)]
    if shapes != [convolution.weight.shape for convolution in published]:
        raise ValueError(f"{file} is not BlazePose's full landmark model: its convolutions have other shapes")
    with torch.no_grad():
        for layer, convolution in zip(layers, published, strict=True):
            assert layer.bias is not None
            layer.weight.copy_(torch.from_numpy(convolution.weight))
            layer.bias.copy_(torch.from_numpy(convolution.bias))


def read_convolutions(file: Path, numbers: int) -> list[PublishedConvolution]:
    """The convolutions that the output of so many numbers depends on, in the order in which they are applied."""
    return _Reader(tflite.Model.GetRootAsModel(file.read_bytes(), 0)).convolutions(numbers)


class _Reader:
    """Reads constants and operators of a TFLite model's only graph."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._graph = model.Subgraphs(0)
        self._operators = [self._graph.Operators(row) for row in range(self._graph.OperatorsLength())]
        self._made_by = {
            int(tensor): row
            for row, operator in enumerate(self._operators)
            for tensor in operator.OutputsAsNumpy()
        }

    def convolutions(self, numbers: int) -> list[PublishedConvolution]:
        """See ``read_convolutions``."""
        outputs = (int(tensor) for tensor in self._graph.OutputsAsNumpy())
        waiting = [self._made_by[tensor] for tensor in outputs if self._shape(tensor)[-1] == numbers]
        needed: set[int] = set()
        while waiting:
            row = waiting.pop()
            if row not in needed:
                needed.add(row)
                inputs = self._operators[row].InputsAsNumpy()
                waiting += [self._made_by[int(tensor)] for tensor in inputs if int(tensor) in self._made_by]
        return [self._convolution(row) for row in sorted(needed) if self._is_convolution(row)]

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(int(size) for size in self._graph.Tensors(tensor).ShapeAsNumpy())

    def _code(self, row: int) -> int:
        code = self._model.OperatorCodes(self._operators[row].OpcodeIndex())
        return max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))

    def _is_convolution(self, row: int) -> bool:
        return self._code(row) in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D)

    def _convolution(self, row: int) -> PublishedConvolution:
        _, weight, bias = (int(tensor) for tensor in self._operators[row].InputsAsNumpy())
        # A depthwise weight is (1, height, width, out), any other (out, height, width, in).
        depthwise = self._code(row) == tflite.BuiltinOperator.DEPTHWISE_CONV_2D
        order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        return PublishedConvolution(self._constant(weight).transpose(order), self._constant(bias))

    def _constant(self, number: int) -> Array:
        if number in self._made_by:  # half floats are stored, and made whole by an operator
            (number,) = (int(tensor) for tensor in self._operators[self._made_by[number]].InputsAsNumpy())
        tensor = self._graph.Tensors(number)
        stored = np.float16 if tensor.Type() == tflite.TensorType.FLOAT16 else np.float32
        values = self._model.Buffers(tensor.Buffer()).DataAsNumpy().view(stored)
        return np.ascontiguousarray(values.reshape(self._shape(number)), dtype=np.float32)
