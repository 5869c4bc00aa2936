# SPDX-License-Identifier: Apache-2.0
"""Stage 3 of ``mini`` on a bare machine with one GPU: data drawn by all cores while it trains, weights in pieces.

    python -m training.on_gpu --poses FILE --output FOLDER [--minutes 9] [--quick]

It goes on from the weights that ship, without network, DeepSpeed or a renderer. ``FOLDER/pieces`` then holds the run
with its newest checkpoint, weights in float16, in files of at most 16 MB with a script that checks them and puts them
together; ``posellava export`` makes the model of it, here or elsewhere. Other answers, weights for words about the
camera, the head that hears when nothing is asked and the voice fit the weights that the run began with and are left
out: ``training.variants``, ``training.view``, ``training.wish`` and ``posellava train-speech`` teach the new model
them, on a CPU.

May import the rest of training and backend.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from backend.arguments import above_zero, positive
from training.data.shards import INDEX
from training.recipe import CONFIGS, load_recipe, under
from training.stages.plain import STATES_FILE
from training.stages.settings import SETTINGS_FILE, TrainSettings, load_settings

CONFIG: Final = CONFIGS / "mini_stage3_gpu.yaml"
PIECE_BYTES: Final = 15_000_000
SHARD: Final = 2048
ENOUGH: Final = 10**8
"""Samples that nobody waits for: the builders are ended with the training."""
BUILDERS: Final = {"patterns": 8, "directives": 2}
"""Processes that draw a source for as long as it trains; every other source is drawn once, in one process."""
LAST_SECONDS: Final = 25.0
"""Of the minutes, for the last checkpoint and the pieces."""
_JOIN: Final = """#!/bin/sh
# Puts the pieces together: sh join.sh RUN; then posellava export RUN MODEL --checkpoint latest --lean
set -e
cd "$(dirname "$0")"
sha256sum --quiet --check SHA256SUMS
mkdir -p "$1"
cat run.tar.* | tar -x -C "$1"
"""


@dataclass(frozen=True)
class Sizes:
    """How much of everything: the whole, or a little of it on a CPU to see that it runs."""

    minutes: float
    builders: dict[str, int]
    counts: dict[str, int]
    shard: int
    changes: tuple[str, ...] = ()


def sizes_of(*, minutes: float, quick: bool) -> Sizes:
    """Sizes of a run; the sources are those of the configuration, their numbers the recipe's."""
    recipe = load_recipe()
    names = list(load_settings(CONFIG).data.sources)
    if quick:
        changes = ("run.micro_batch=4", "run.log_steps=1", "run.steps=2", "data.workers=1", "data.bucket_batches=1",
                   "data.validation_samples=4")  # fmt: skip
        return Sizes(0.0, dict.fromkeys(BUILDERS, 1), dict.fromkeys(names, 16), 16, changes)
    counts = {name: recipe.data[name].count for name in names}
    return Sizes(minutes, BUILDERS, counts | dict.fromkeys(BUILDERS, ENOUGH), SHARD)


def run(output: Path, poses: Path, sizes: Sizes) -> Path:
    """Draws, trains and packs; returns the folder of the pieces.

    Raises:
        RuntimeError: a process that draws data failed.
        TrainingStopped: training ended before it had a checkpoint.
    """
    from training.stages.checkpoints import TrainingStopped
    from training.stages.loop import train

    begun = time.monotonic()
    settings = settings_of(output, sizes)
    builders = start_builders(output, poses, sizes, list(settings.data.sources))
    try:
        settings = with_data(settings, builders)
        if sizes.minutes:
            left = 60 * sizes.minutes - LAST_SECONDS - (time.monotonic() - begun)
            settings = replace(settings, run=replace(settings.run, max_minutes=max(left, 1.0) / 60))
        train(settings, resume=True)
    except TrainingStopped as stopped:
        if not any((settings.output / "checkpoints").glob("step-*")):
            raise
        print(f"on_gpu: {stopped}", file=sys.stderr)
    finally:
        for builder in builders.values():
            builder.terminate()
        for builder in builders.values():
            builder.wait()
    return pack(settings.output, output / "pieces")


def settings_of(output: Path, sizes: Sizes) -> TrainSettings:
    """The configuration with its paths under ``output``; several processes that draw one source have a folder each."""
    settings = load_settings(CONFIG, sizes.changes)
    sources = {}
    for name, source in settings.data.sources.items():
        count = sizes.builders.get(name, 1)
        for number in range(count):
            folder = f"{name}-{number}" if count > 1 else name
            sources[folder] = replace(source, path=output / "data" / folder, weight=source.weight / count)
    data = replace(settings.data, sources=sources, validation=output / "data" / "directives-val")
    return replace(settings, output=under(settings.output, output), data=data)


def start_builders(
    output: Path, poses: Path, sizes: Sizes, folders: Sequence[str]
) -> dict[str, subprocess.Popen[bytes]]:
    """Processes that draw, by their folder; the last one draws what is validated on."""
    recipe = load_recipe()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    started = {}
    for number, folder in enumerate([*folders, "directives-val"]):
        name = folder if folder in recipe.data else folder.rsplit("-", 1)[0]
        size = recipe.data[name]
        count = sizes.counts.get(name, sizes.shard)
        command = [
            *(sys.executable, "-m", "training", "data", "build", size.source),
            *("--output", str(output / "data" / folder), "--count", str(count)),
            *("--seed", str(size.seed + 1000 * (number + 1)), "--split", size.split),
            *("--shard-size", str(sizes.shard), "--workers", "1"),
            *([] if size.source in ("descriptions", "situations") else ["--poses", str(poses)]),
        ]
        started[folder] = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    return started


def with_data(settings: TrainSettings, builders: dict[str, subprocess.Popen[bytes]]) -> TrainSettings:
    """The settings once every source has a shard, without those that the recipe can do without and that get none.

    Raises:
        RuntimeError: another one gets none.
    """
    recipe, sources = load_recipe(), dict(settings.data.sources)
    waiting = list(builders)
    while waiting:
        time.sleep(0.5)
        waiting = [name for name in waiting if not _has_shard(settings, name)]
        for name in [name for name in waiting if builders[name].poll() not in (None, 0)]:
            if name not in recipe.data or not recipe.data[name].optional:
                raise RuntimeError(f"no data of {name}: what its builder said above tells why")
            waiting.remove(name)
            del sources[name]
    return replace(settings, data=replace(settings.data, sources=sources))


def _has_shard(settings: TrainSettings, name: str) -> bool:
    source = settings.data.sources.get(name)
    folder = settings.data.validation if source is None else source.path
    assert folder is not None
    return (folder / INDEX).is_file() and any(folder.glob("shard-*.npz"))


def pack(run: Path, pieces: Path) -> Path:
    """Writes a run into pieces of at most PIECE_BYTES, with their checksums and ``join.sh``: its settings, its metrics
    and the weights of its newest checkpoint in float16."""
    import torch

    checkpoint = sorted((run / "checkpoints").glob("step-*"))[-1]
    states = torch.load(checkpoint / STATES_FILE, map_location="cpu", weights_only=False)
    kept = Path("checkpoints") / checkpoint.name
    pieces.mkdir(parents=True, exist_ok=True)
    halves = pieces / "weights"
    torch.save({"module": {name: tensor.half() for name, tensor in states["module"].items()}}, halves)
    whole = pieces / "run.tar"
    with tarfile.open(whole, "w") as archive:
        archive.add(halves, str(kept / STATES_FILE))
        archive.add(checkpoint / "progress.json", str(kept / "progress.json"))
        for name in (SETTINGS_FILE, "metrics.jsonl"):
            archive.add(run / name, name)
    halves.unlink()
    sums = []
    with whole.open("rb") as opened:
        for number, part in enumerate(iter(lambda: opened.read(PIECE_BYTES), b"")):
            name = f"run.tar.{number:02d}"
            (pieces / name).write_bytes(part)
            sums.append(f"{hashlib.sha256(part).hexdigest()}  {name}\n")
    whole.unlink()
    (pieces / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    (pieces / "join.sh").write_text(_JOIN, encoding="utf-8")
    return pieces


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.on_gpu", description="Train mini on one GPU.")
    parser.add_argument("--poses", type=Path, required=True, help="a file or folder of poses")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=above_zero, default=9.0, help="of everything (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=positive, help="processes that lay out batches (default: the recipe's)"
    )
    parser.add_argument("--quick", action="store_true", help="a few samples and steps: does it run?")
    arguments = parser.parse_args(argv)
    sizes = sizes_of(minutes=arguments.minutes, quick=arguments.quick)
    if arguments.workers:
        sizes = replace(sizes, changes=(*sizes.changes, f"data.workers={arguments.workers}"))
    from training.stages.checkpoints import TrainingStopped

    try:
        pieces = run(arguments.output, arguments.poses, sizes)
    except (TrainingStopped, RuntimeError, ValueError, OSError) as error:
        print(f"on_gpu: {error}", file=sys.stderr)
        return 1
    print(
        f"done: the run in pieces in {pieces}; once it is exported, python -m training.variants, then "
        "python -m training.view, python -m training.wish and posellava train-speech give the model the rest of its "
        "parts"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
