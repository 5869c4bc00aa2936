# SPDX-License-Identifier: Apache-2.0
"""``posellava serve``: its options, and what happens in which order: first everything that can be wrong is found, then
the model is loaded. backend.server is imported when it is called, so that ``posellava --help`` answers at once."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from backend.arguments import above_zero, positive
from backend.image_weights import check_weights, control_folder
from backend.memory import reuse
from backend.query import Answerer
from blender_addon.contract.loopback import is_loopback
from blender_addon.contract.messages import DEFAULT_PORT

if TYPE_CHECKING:
    from ssl import SSLContext

    from backend.replicas import Replicas
    from backend.server import PaintOptions, ServerOptions

TOKEN_VARIABLE: Final = "POSELLAVA_TOKEN"
MAX_IMAGE_SIZE: Final = 2048
"""Pixels a side: any picture of so many fits into an answer."""
Group: TypeAlias = "argparse._ArgumentGroup"
"""What add_argument_group() returns has no public name."""

log = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options beside those of the engine."""
    _add_address(parser)
    _add_limits(parser.add_argument_group("limits"))
    _add_replicas(
        parser.add_argument_group("many engines", "with Ray Serve, of the extra [ray]; see docs/serving.md")
    )
    _add_pictures(
        parser.add_argument_group(
            "pictures", "with diffusers, of the extra [images], and your own weights; see docs/serving.md"
        )
    )
    _add_log(parser.add_argument_group("log"))


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--no-token",
        action="store_true",
        help="let every program on this machine in; otherwise a token is asked for: "
        f"${TOKEN_VARIABLE}, or a random one",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="speak TLS with this certificate")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its key, if not in the same file")
    parser.add_argument(
        "--outer-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which a proxy on this machine offers the backend; may be repeated",
    )


def _add_limits(group: Group) -> None:
    for name, default, what in (
        ("--max-waiting", 1024, "requests of all clients that may wait"),
        ("--max-waiting-per-client", 64, "requests of one client that may wait"),
        ("--max-connections", 512, "connections"),
        ("--max-connections-per-address", 128, "connections from one address"),
    ):
        group.add_argument(
            name, type=positive, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    _add_seconds(group, "--deadline", 600.0, "seconds that a request may take")
    _add_seconds(
        group,
        "--engine-deadline",
        120.0,
        "seconds after which an engine that does not come back is loaded anew",
    )


def _add_seconds(group: Group, name: str, default: float, what: str) -> None:
    group.add_argument(
        name, type=above_zero, default=default, metavar="S", help=f"{what} (default: {default:g})"
    )


def _add_replicas(group: Group) -> None:
    group.add_argument("--ray", action="store_true", help="answer with replicas of the engine")
    group.add_argument(
        "--replicas", type=_replicas, default=(1, 4), metavar="N:M", help="from N to M of them (default: 1:4)"
    )
    group.add_argument(
        "--replica-cpus", type=above_zero, default=1.0, metavar="N", help="of each (default: %(default)g)"
    )
    group.add_argument(
        "--replica-gpus",
        type=float,
        default=0.0,
        metavar="N",
        help="of each, 0.5 for two on a card (default: 0)",
    )
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="of a cluster that runs, or auto (default: start one here)"
    )


def _add_pictures(group: Group) -> None:
    group.add_argument(
        "--images", type=Path, metavar="FOLDER", help="paint pictures with this Stable Diffusion"
    )
    group.add_argument(
        "--control", nargs="+", default=[], metavar="KIND=FOLDER",
        help="a ControlNet for openpose, depth or normal; one at least",
    )  # fmt: skip
    group.add_argument("--image-device", default="cpu", help="torch device (default: %(default)s)")
    group.add_argument("--image-steps", type=positive, default=30, metavar="N", help="default: %(default)s")
    group.add_argument(
        "--image-size", type=_image_size, default=512, metavar="N",
        help=f"pixels of the longer side of what is repainted, at most {MAX_IMAGE_SIZE} (default: %(default)s)",
    )  # fmt: skip
    _add_seconds(group, "--image-deadline", 600.0, "seconds that a picture may take")


def _add_log(group: Group) -> None:
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), default="warning",
        help="a line for each connection from info on (default: %(default)s)",
    )  # fmt: skip
    group.add_argument("--log-format", choices=("text", "json"), default="text", help="default: %(default)s")
    group.add_argument("--log-requests", action="store_true", help="instructions too, at info")


def run(
    options: argparse.Namespace,
    load_engine: Callable[[], Answerer],
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Serve until a signal; returns the exit status.

    Raises:
        AccessError, OSError, ValueError: what is wrong with the options, in a sentence.
    """
    from backend.server import check_options, new_token, run_until_signal, tls_context
    from backend.server.logs import set_up

    set_up(options.log_level, options.log_format)
    reuse()
    token = None if options.no_token else environment.get(TOKEN_VARIABLE) or new_token()
    check_options(options.host, token)
    tls = None if options.tls_cert is None else tls_context(options.tls_cert, options.tls_key)
    if tls is None and not is_loopback(options.host):
        print(
            "posellava serve: without TLS anyone on the way reads the token, the poses and the pictures; give "
            "--tls-cert, or put a proxy in front (docs/security.md)",
            file=sys.stderr,
        )
    settings = _settings(options, token, tls)
    sockets = _listen(settings)
    with contextlib.ExitStack() as stack:
        for listening in sockets:
            stack.callback(listening.close)
        if options.ray:
            replicas = stack.enter_context(_replicas_of(options, load_engine))
            engine: Answerer = replicas
            reload: Callable[[], Answerer] = lambda: replicas  # noqa: E731
        else:
            engine, reload = load_engine(), load_engine

        def announce(url: str) -> None:
            print(f"listening {url}" + (f" token={token}" if token else ""), flush=True)

        asyncio.run(run_until_signal(engine, settings, announce, sockets=sockets, reload=reload))
    return 0


def _settings(options: argparse.Namespace, token: str | None, tls: SSLContext | None) -> ServerOptions:
    """What the server is told."""
    from backend.server import ServerOptions

    return ServerOptions(
        host=options.host,
        port=options.port,
        token=token,
        batch_size=options.batch_size,
        max_waiting=options.max_waiting,
        max_waiting_per_client=options.max_waiting_per_client,
        max_connections=options.max_connections,
        max_connections_per_address=options.max_connections_per_address,
        deadline_seconds=options.deadline,
        engine_seconds=options.engine_deadline,
        outer_hosts=tuple(options.outer_host),
        tls=tls,
        lanes=options.replicas[1] if options.ray else 1,
        warm_up=True,
        log_requests=options.log_requests,
        images=_images_of(options),
    )


def _listen(settings: ServerOptions) -> list[socket.socket]:
    """The address, held before the engine is loaded. Raises OSError with what is wrong with it, in a sentence."""
    from backend.server import listen

    try:
        return listen(settings)
    except socket.gaierror as error:
        raise OSError(f"there is no host {settings.host!r}: {error.strerror}") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise OSError(
            f"port {settings.port} is in use; give another with --port, or 0 for a free one"
        ) from None


def _images_of(options: argparse.Namespace) -> PaintOptions | None:
    """What paints pictures, where the options name something. Raises ValueError where that cannot paint."""
    from backend.server import PaintOptions

    if options.images is None:
        if options.control:
            raise ValueError("--control is of --images; name the folder of a Stable Diffusion too")
        return None
    given = dict(control_folder(text) for text in options.control)
    controls = {kind: folder for kind, folder in given.items() if folder is not None}
    if not given or controls.keys() != given.keys():
        raise ValueError("--images needs a ControlNet for each map: --control openpose=FOLDER")
    check_weights(options.images, controls)
    return PaintOptions(
        options.images,
        controls,
        options.image_device,
        options.image_steps,
        options.image_size,
        options.image_deadline,
    )


def _replicas_of(options: argparse.Namespace, load_engine: Callable[[], Answerer]) -> Replicas:
    from backend.replicas import ReplicaOptions, Replicas

    least, most = options.replicas
    try:
        return Replicas(
            load_engine,
            ReplicaOptions(
                least,
                most,
                options.replica_cpus,
                options.replica_gpus,
                options.ray_address,
                options.engine_deadline,
            ),
        )
    except ModuleNotFoundError:
        raise OSError("Ray is not installed; run: pip install 'posellava[ray]'") from None


def _replicas(text: str) -> tuple[int, int]:
    least, _, most = text.partition(":")
    numbers = int(least), int(most or least)
    if not 1 <= numbers[0] <= numbers[1]:
        raise argparse.ArgumentTypeError(f"{text} is no range such as 1:4")
    return numbers


def _image_size(text: str) -> int:
    value = positive(text)
    if value > MAX_IMAGE_SIZE:
        raise argparse.ArgumentTypeError(
            f"pictures of {value} pixels a side are too large for an answer; give at most {MAX_IMAGE_SIZE}"
        )
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} is no port; give one from 0 to 65535")
    return value
