# SPDX-License-Identifier: Apache-2.0
"""``posellava``: serve, batch and info, and whatever else is installed.

A command from elsewhere (training's) is an entry point of the group ``posellava.commands``: its name is the
subcommand, its object a function that takes the remaining arguments and returns the exit status. It is imported only
when it is called, as torch is, so that ``posellava --help`` answers at once.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import logging
import os
import platform
import socket
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blender_addon.contract.messages import DEFAULT_PORT

from .arguments import positive

if TYPE_CHECKING:
    from backend.engine import Engine

COMMAND_GROUP: Final = "posellava.commands"
TOKEN_VARIABLE: Final = "POSELLAVA_TOKEN"
OWN_COMMANDS: Final = ("serve", "batch", "info")
USAGE: Final = 2
"""The exit status of a command line that cannot be read, as argparse has it."""
INTERRUPTED: Final = 130
"""The exit status after Ctrl-C, as shells have it."""


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
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    others = sorted(entry.name for entry in metadata.entry_points(group=COMMAND_GROUP))
    parser = argparse.ArgumentParser(
        prog="posellava",
        description="Pose editing by language: the backend of the PoseLLaVA add-on for Blender.",
        epilog=f"further commands: {', '.join(others)} (see posellava COMMAND --help)" if others else None,
    )
    parser.add_argument("--version", action="version", version=f"posellava {metadata.version('posellava')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument("--model", metavar="FOLDER", help="a saved model (default: the one that ships)")
    engine.add_argument(
        "--device", default="cpu", help="torch device, such as cpu or cuda (default: %(default)s)"
    )
    engine.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: torch's choice)")
    engine.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="poses per model call (default: %(default)s)",
    )

    serve = commands.add_parser("serve", parents=[engine], help="answer the add-on over a websocket")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    serve.add_argument(
        "--no-token",
        action="store_true",
        help="let every program on this machine in; otherwise a token is asked for: "
        f"${TOKEN_VARIABLE}, or a random one",
    )
    serve.set_defaults(run=_serve)

    batch = commands.add_parser("batch", parents=[engine], help="answer a file of requests")
    batch.add_argument(
        "input", type=Path, metavar="IN.jsonl", help="id, task, instruction, pose?, image? a line"
    )
    batch.add_argument("output", type=Path, metavar="OUT.jsonl", help="id, pose, text or id, error a line")
    batch.set_defaults(run=_batch)

    info = commands.add_parser("info", parents=[engine], help="say what model and versions are installed")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)
    return parser


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is no port; give one from 0 to 65535")
    return value


def _load_engine(options: argparse.Namespace) -> Engine:
    from backend.engine import Engine

    return Engine.load(options.model, device=options.device, threads=options.threads)


def _serve(options: argparse.Namespace) -> int:
    from backend.server import ServerOptions, check_options, new_token, run_until_signal

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    token = None if options.no_token else os.environ.get(TOKEN_VARIABLE) or new_token()
    check_options(options.host, token)

    engine = _load_engine(options)

    def announce(url: str) -> None:
        print(f"listening {url}" + (f" token={token}" if token else ""), flush=True)

    settings = ServerOptions(options.host, options.port, token, options.batch_size)
    try:
        asyncio.run(run_until_signal(engine, settings, announce))
    except socket.gaierror as error:
        raise OSError(f"there is no host {options.host!r}: {error.strerror}") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            f"port {options.port} is in use; give another with --port, or 0 for a free one"
        ) from None
    return 0


def _batch(options: argparse.Namespace) -> int:
    if not options.input.is_file():
        raise FileNotFoundError(f"there is no file {options.input}")

    from backend.batch import answer_file

    engine = _load_engine(options)
    answered, failed = answer_file(engine, options.input, options.output, batch_size=options.batch_size)
    print(f"{answered} answered, {failed} failed; see {options.output}", file=sys.stderr)
    return 0


def _info(options: argparse.Namespace) -> int:
    from backend.engine import SHIPPED_MODEL, describe_model

    engine = _load_engine(options)
    folder = SHIPPED_MODEL if options.model is None else Path(options.model)
    weights = sorted(folder.glob("*.safetensors"))
    record = {
        **describe_model(engine),
        "weights": str(folder.resolve()),
        "weights_mb": round(sum(file.stat().st_size for file in weights) / 1e6, 1),
        "device": options.device,
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("posellava", "torch", "transformers", "websockets")},
        },
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


if __name__ == "__main__":
    sys.exit(main())
