# SPDX-License-Identifier: Apache-2.0
"""The files of a model's ONNX graphs, beside its weights, and the checksums that say that they belong together.

A graph holds no weights: its initialisers lie in the safetensors files (ONNX's external data), so that the model is
there once. ``backend.model.graphs`` writes all this. May import backend.weight_files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from backend.weight_files import checksum

ANSWER_GRAPH: Final = "answer.onnx"
"""From words and poses to poses."""
VARIANTS_GRAPH: Final = "variants.onnx"
"""From what the answer's graph thought to other poses; only where the model offers any."""
VARIANTS_INPUTS: Final = ("thoughts", "state", "moves")
"""What that graph takes of the answer's outputs, beside the matrices."""
VIEW_GRAPH: Final = "view.onnx"
"""The answer's graph for what is asked as the camera sees it; only where the model has weights for that."""
VIEW_OUTPUT: Final = "view_logits"
"""What the answer's graph puts out beside the rest where there is that one: how surely each text is tied to the
camera."""
WISH_OUTPUT: Final = "wish_logits"
"""The same where the model has a head for that: how surely each text asks for nothing."""
PICTURE_GRAPH: Final = "picture.onnx"
"""From pictures to poses; only where the model has a pose reader."""
PICTURE_OUTPUTS: Final = ("sums", "spread", "places", "first_spread")
"""What that graph sees; see ``backend.model.pose_reader.CloseLook``."""
PROMPT_GRAPH: Final = "prompt.onnx"
"""From a question to its first word and what the next ones need; only where the model speaks, as the next."""
WORD_GRAPH: Final = "word.onnx"
"""From a word to the next."""
SPEAKING_OUTPUTS: Final = ("logits", "all_keys", "all_values")
"""Of both of these: what may follow, and the cache with all so far. Outputs cannot have the names of inputs."""
CHECKSUMS_FILE: Final = "graphs.json"
"""``{"sha256": {file name: checksum}}`` of the graphs and of the weights that they were written for."""


def has_graphs(folder: Path) -> bool:
    """Whether graphs were written for the model in a folder."""
    return (folder / CHECKSUMS_FILE).is_file()


def write_checksums(folder: Path, files: list[str]) -> None:
    """Note what the files are now."""
    sums = {name: checksum(folder / name) for name in files}
    (folder / CHECKSUMS_FILE).write_text(json.dumps({"sha256": sums}, indent=1) + "\n", encoding="utf-8")


def check_weights(folder: Path) -> None:
    """See to it that the weights are whole, where there are checksums of them; for an engine without graphs.

    Raises:
        FileNotFoundError, ValueError: as check_files does.
    """
    if has_graphs(folder):
        _check(folder, {name: one for name, one in _checksums(folder).items() if not name.endswith(".onnx")})


def check_files(folder: Path) -> None:
    """See to it that graphs and weights are there, whole, and belong together.

    Raises:
        FileNotFoundError: the model has no graphs, or a file of it is missing.
        ValueError: a file is damaged, or the weights are not those that the graphs were written for.
    """
    if not has_graphs(folder):
        raise FileNotFoundError(
            f"there are no ONNX graphs in {folder}; write them with: posellava graphs {folder}, or take --engine torch"
        )
    _check(folder, _checksums(folder))


def _checksums(folder: Path) -> dict[str, str]:
    try:
        sums: dict[str, str] = json.loads((folder / CHECKSUMS_FILE).read_text(encoding="utf-8"))["sha256"]
        return dict(sums)
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / CHECKSUMS_FILE} is damaged: copy or download the model again") from None


def _check(folder: Path, sums: dict[str, str]) -> None:
    for name in sums:
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: copy or download the model again")
        if checksum(file) != sums[name]:
            raise ValueError(
                f"{file} is damaged, or newer than the graphs: copy or download the model again, or write its graphs "
                f"with: posellava graphs {folder}"
            )
