# SPDX-License-Identifier: Apache-2.0
"""Fuzzing by coverage, with atheris installed: python -m tests.robustness.guided messages [libFuzzer's options]

Runs until Ctrl-C, or until something ends in another error than its reader promises. ``messages``, ``pictures`` or
``pickles``; fuzz.py says what is wrong with each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["blender_addon", "backend"]):
    from tests.robustness import fuzz


def messages(data: bytes) -> None:
    """A text and a frame on one of the versions of the protocol."""
    version, text = fuzz.SUBPROTOCOLS[data[0] % 2 if data else 0], data[1:]
    fuzz.read_message(version, [text.decode("utf-8", "replace"), text])


READERS: dict[str, Callable[[bytes], None]] = {
    "messages": messages,
    "pictures": fuzz.read_picture,
    "pickles": fuzz.read_pickle,
}

if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind not in READERS:
        sys.exit(f"guided: name one of {', '.join(READERS)}")
    atheris.Setup([sys.argv[0], *sys.argv[2:]], READERS[kind])
    atheris.Fuzz()
