# SPDX-License-Identifier: Apache-2.0
"""``posellava``: serve, batch, info and fetch-weights, and whatever else is installed.

A command from elsewhere (training's) is an entry point of the group ``posellava.commands``: its name is the
subcommand, its object a function that takes the remaining arguments and returns the exit status. It is imported only
when it is called, as the engine is, so that ``posellava --help`` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import serve as server_command
from .arguments import positive
from .exits import FAILED, INTERRUPTED, USAGE
from .memory import reuse
from .serve import TOKEN_VARIABLE

if TYPE_CHECKING:
    from backend.engines import Engine

COMMAND_GROUP: Final = "posellava.commands"
PROGRESS_SECONDS: Final = 5.0
OWN_COMMANDS: Final = ("serve", "batch", "info", "fetch-weights")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print(f"posellava {arguments[0]}: stopped", file=sys.stderr)
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        for entry in metadata.entry_points(group=COMMAND_GROUP, name=arguments[0]):
            command: Callable[[list[str]], int] = entry.load()
            return command(arguments[1:])
        known = sorted({*OWN_COMMANDS, *(entry.name for entry in metadata.entry_points(group=COMMAND_GROUP))})
        if arguments[0] not in known:
            near = get_close_matches(arguments[0], known, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            print(
                f"posellava: there is no command {arguments[0]!r}.{meant} The commands are {', '.join(known)}.",
                file=sys.stderr,
            )
            return USAGE
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (OSError, ValueError) as error:
        print(f"posellava {options.command}: {error}", file=sys.stderr)
        return FAILED
    return status


def _parser() -> argparse.ArgumentParser:
    others = sorted(entry.name for entry in metadata.entry_points(group=COMMAND_GROUP))
    parser = argparse.ArgumentParser(
        prog="posellava",
        description="Pose editing by language: the backend of the PoseLLaVA add-on for Blender.",
        epilog=f"further commands: {', '.join(others)} (see posellava COMMAND --help)" if others else None,
    )
    version = _installed_versions().get("posellava", "that is not installed")
    parser.add_argument("--version", action="version", version=f"posellava {version}")

    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    engine = _options_of_engine()
    serve = commands.add_parser("serve", parents=[engine], help="answer the add-on over a websocket")
    server_command.add_options(serve)
    serve.set_defaults(run=_serve)

    batch = commands.add_parser("batch", parents=[engine], help="answer a file of requests")
    batch.add_argument(
        "input", type=Path, metavar="IN.jsonl", help="id, task, instruction, pose?, image? a line"
    )
    batch.add_argument(
        "--server",
        metavar="URL",
        help=f"let a backend answer, such as ws://127.0.0.1:8765; its token in ${TOKEN_VARIABLE} or behind the URL",
    )
    batch.add_argument("output", type=Path, metavar="OUT.jsonl", help="id, pose, text or id, error a line")
    batch.set_defaults(run=_batch)

    info = commands.add_parser("info", parents=[engine], help="say what model and versions are installed")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)

    fetch = commands.add_parser(
        "fetch-weights", help="bring a model's files here, with their checksums seen to"
    )
    fetch.add_argument(
        "source", metavar="SOURCE", help="an https:// address of a folder with SHA256SUMS, or a folder"
    )
    fetch.add_argument(
        "folder", type=Path, metavar="FOLDER", help="where the files go; an interrupted one goes on"
    )
    fetch.add_argument("--sums", metavar="SHA256", help="the checksum that SHA256SUMS itself must have")
    fetch.set_defaults(run=_fetch_weights)
    return parser


def _options_of_engine() -> argparse.ArgumentParser:
    """Which model answers, and with what: the same for all commands that ask one."""
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a saved model (default: the one that ships)"
    )
    engine.add_argument(
        "--engine",
        choices=["auto", "onnx", "torch"],
        default="auto",
        help="what answers: onnx on a CPU, torch on a CPU or GPU (default: onnx where it can)",
    )
    engine.add_argument(
        "--device", default="cpu", help="torch device, such as cpu or cuda (default: %(default)s)"
    )
    engine.add_argument(
        "--threads", type=positive, metavar="N", help="CPU threads (default: as many as help)"
    )
    engine.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="poses per model call (default: %(default)s)",
    )
    return engine


def _load_engine(options: argparse.Namespace) -> Engine:
    from backend.engines import load_engine

    return load_engine(options.model, engine=options.engine, device=options.device, threads=options.threads)


def _serve(options: argparse.Namespace) -> int:
    return server_command.run(options, lambda: _load_engine(options))


def _batch(options: argparse.Namespace) -> int:
    from backend.batch import Here, There, answer_file, check_files
    from blender_addon.contract.address import Address

    check_files(options.input, options.output)
    reuse()
    progress = _Progress()
    with contextlib.ExitStack() as stack:
        if options.server is not None:
            address = Address.parse(options.server, os.environ.get(TOKEN_VARIABLE, ""))
            asker: Here | There = stack.enter_context(There(address))
        else:
            asker = Here(_load_engine(options))
        answered, failed = answer_file(
            asker, options.input, options.output, batch_size=options.batch_size, on_progress=progress
        )
    print(f"{answered} answered, {failed} failed; see {options.output}", file=sys.stderr)
    return 1 if failed and not answered else 0


class _Progress:
    """Says now and then how far a file is; a line each, for logs too, without tqdm in every backend."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()

    def __call__(self, lines: int, share: float) -> None:
        now = time.monotonic()
        if now - self._said < PROGRESS_SECONDS:
            return
        self._said = now
        left = (now - self._began) * (1 / share - 1)
        print(f"{lines} lines, {share:.0%}, about {left:.0f} s left", file=sys.stderr, flush=True)


def _info(options: argparse.Namespace) -> int:
    from backend.engines import SHIPPED_MODEL

    engine = _load_engine(options)
    folder = SHIPPED_MODEL if options.model is None else options.model
    weights = sorted(folder.glob("*.safetensors"))
    record = {
        **engine.describe(),
        "weights": str(folder.resolve()),
        "weights_mb": round(sum(file.stat().st_size for file in weights) / 1e6, 1),
        "device": options.device,
        "versions": {"python": platform.python_version(), **_installed_versions()},
    }
    if options.json:
        print(json.dumps(record))
        return 0
    for name, value in record.items():
        shown = value
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {number}" for key, number in value.items())
        elif isinstance(value, list):
            shown = ", ".join(map(str, value))
        elif isinstance(value, int):
            shown = f"{value:,}"
        print(f"{name.replace('_', ' '):<14} {shown}")
    return 0


def _fetch_weights(options: argparse.Namespace) -> int:
    from .fetch import fetch_weights

    said = time.monotonic()

    def tell(name: str, there: int) -> None:
        nonlocal said
        if time.monotonic() - said >= PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"{name}: {there / 1e6:.0f} MB", file=sys.stderr, flush=True)

    names = fetch_weights(options.source, options.folder, sums=options.sums, on_progress=tell)
    print(f"{len(names)} files in {options.folder}; use them with --model {options.folder}", file=sys.stderr)
    return 0


def _installed_versions() -> dict[str, str]:
    """Of the project and of what it may need."""
    versions = {}
    for name in ("posellava", "onnxruntime", "torch", "transformers", "websockets"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


if __name__ == "__main__":
    sys.exit(main())
