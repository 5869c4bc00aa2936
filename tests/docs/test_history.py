# SPDX-License-Identifier: Apache-2.0
"""The history stays small, as docs/contributing.md promises: nothing large but weights that ship, and those once."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = Path("backend/weights/mini")
LARGE = 1_000_000
ALL_WEIGHTS = 256_000_000
"""Bytes that all weights of the history may take together, as git packs them."""
NOTEWORTHY = 65_536


def git(*arguments: str, told: str | None = None) -> str:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def large_blobs() -> list[tuple[str, int]]:
    """The path, and the bytes on disk, of each large file of the history that leads here."""
    objects = git("rev-list", "--objects", "HEAD")
    form = "%(objecttype) %(objectsize) %(objectsize:disk) %(rest)"
    found = []
    for line in git("cat-file", f"--batch-check={form}", told=objects).splitlines():
        kind, size, packed, path = (line + " ").split(" ", 3)
        if kind == "blob" and int(size) > LARGE:
            found.append((path.strip(), int(packed)))
    return found


def test_nothing_large_is_in_the_history_but_weights() -> None:
    assert [path for path, _ in large_blobs() if Path(path).parent != WEIGHTS] == []


def test_all_weights_of_the_history_stay_within_their_budget() -> None:
    assert sum(packed for _, packed in large_blobs()) < ALL_WEIGHTS


def test_the_weights_that_ship_are_there_once() -> None:
    seen: dict[str, str] = {}
    for file in sorted((ROOT / WEIGHTS).glob("*.safetensors")):
        content = file.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        for name, entry in json.loads(content[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            if end - start < NOTEWORTHY:
                continue
            tensor = hashlib.sha256(content[8 + length + start : 8 + length + end]).hexdigest()
            assert tensor not in seen, f"{name} of {file.name} is {seen[tensor]} once more"
            seen[tensor] = name
    assert seen


def test_graphs_hold_no_weights() -> None:
    graphs = list((ROOT / WEIGHTS).glob("*.onnx"))
    assert graphs
    assert all(graph.stat().st_size < LARGE for graph in graphs)
