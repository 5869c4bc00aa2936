# SPDX-License-Identifier: Apache-2.0
"""Writes a finished model that was given one part more beside its weights, which stay the same byte for byte; and the
arguments that the commands for it share.

May import backend and training.writing.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from backend.model.graphs import write_graphs
from backend.model.storage import add_weights
from backend.prompt.prompter import PROCESSOR_FILE
from backend.prompt.speech import SPEECH_FILE, VOICE_FILE

from .writing import model_folder


def parser_of(
    module: str, description: str, *, model: str, data: str = "folders of shards by name"
) -> argparse.ArgumentParser:
    """What the commands that give a part to a model have in common; ``model`` and ``data`` say which ones they take."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("model", type=Path, help=model)
    parser.add_argument("output", type=Path, help="where the model goes; may be the same folder")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help=data)
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser


def write_with_part(
    source: Path,
    output: Path,
    name: str,
    part: nn.Module,
    *,
    config: Mapping[str, Any],
    processor: Mapping[str, Any] | None = None,
    in_int8: tuple[str, ...] = (),
) -> None:
    """Writes the model in ``source`` with a part to ``output``, which may be the same folder; its graphs anew.

    Args:
        source: a saved model.
        output: where it goes.
        name: of the part, and of the file that it lies in.
        part: its weights.
        config: what the model's configuration says of it.
        processor: what the processor's does.
        in_int8: endings of its matrices that are kept in int8.

    Raises:
        ValueError: ``output`` holds something else than a model.
    """
    with model_folder(output, *(() if output == source else (source,))) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        _set(partial / "config.json", config)
        _set(partial / PROCESSOR_FILE, processor or {})
        add_weights(partial, name, part.state_dict(), in_int8=in_int8)
        write_graphs(partial)


def write_with_voice(source: Path, output: Path, voice: Path) -> None:
    """Writes the model in ``source`` with a voice that was taught beside it to ``output``, which may be the same
    folder; its graphs anew. ``voice`` is the folder that its own two files are in.

    Raises:
        ValueError: ``output`` holds something else than a model, or the voice was taught on other weights.
    """
    with model_folder(output, *(() if output == source else (source,))) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)
        for name in (SPEECH_FILE, VOICE_FILE):
            shutil.copy(voice / name, partial)
        write_graphs(partial)


def _set(file: Path, values: Mapping[str, Any]) -> None:
    """Sets values in a JSON file."""
    if values:
        held = json.loads(file.read_text(encoding="utf-8")) | values
        file.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
