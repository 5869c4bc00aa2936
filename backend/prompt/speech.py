# SPDX-License-Identifier: Apache-2.0
"""How a small model that was trained to pose also speaks: a voice beside its weights.

A voice is copies of the language model's last layers that were taught to speak, a head for the tokens that they say,
and what reads facts of poses for them. It answers the tasks that are answered in the model's own words; all other
answers stay the same to the bit. ``speech.json`` says how these tasks are asked, which tokens may be said, how many
facts each token of a pose tells of, and which weights the voice was taught on: on others it would say anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from backend.weight_files import checksum, held_in

from .templates import Templates

SPEECH_FILE: Final = "speech.json"
VOICE_FILE: Final = "voice.safetensors"
NOT_THE_TRUNKS: Final = ("pose_reader.", "variants.", "view.", "voice.", "wish.")
"""Weights whose names begin so have no part in what is said."""


@dataclass(frozen=True)
class Speech:
    """What ``speech.json`` holds.

    Attributes:
        templates: of the tasks that it answers.
        tokens: all that may be said, in the order of the head's rows.
        trunk: name and SHA-256 of each file of weights that the voice was taught on.
        facts: of each token of a pose how many facts it tells of.
        changes: the same of a pose with the one that follows it.
    """

    templates: Templates
    tokens: tuple[int, ...]
    trunk: Mapping[str, str]
    facts: tuple[int, ...]
    changes: tuple[int, ...]

    def write(self, folder: Path) -> None:
        """Write it into a folder."""
        (folder / SPEECH_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def read_speech(model: Path) -> Speech | None:
    """The speech of the model in a folder; None where it has no voice.

    Raises:
        ValueError: the file is damaged, or the voice was taught on other weights.
    """
    file = model / SPEECH_FILE
    if not file.is_file():
        return None
    try:
        held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        tokens, facts, changes = (tuple(map(int, held[name])) for name in ("tokens", "facts", "changes"))
        speech = Speech(dict(held["templates"]), tokens, dict(held["trunk"]), facts, changes)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error!r}): copy or download the model again") from None
    if trunk_of(model) != speech.trunk:
        raise ValueError(
            f"the voice in {model} was taught on other weights than those there: teach one on these with "
            f"'posellava train-speech', or delete {SPEECH_FILE}, and the model does not speak"
        )
    return speech


def trunk_of(model: Path) -> dict[str, str]:
    """Name and SHA-256 of each file of weights in a folder that what is said depends on."""
    return {
        file.name: checksum(file)
        for file in sorted(model.glob("*.safetensors"))
        if any(not name.startswith(NOT_THE_TRUNKS) for name in held_in(file))
    }
