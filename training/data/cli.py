# SPDX-License-Identifier: Apache-2.0
"""``posellava data build | rewrite | show | stats``: arguments in, exit status out.

A problem that the user can mend ends as one sentence on standard error and status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from backend.arguments import positive
from backend.body.draw import DrawingUnavailableError
from backend.exits import INTERRUPTED, exit_status
from training.writing import require_apart, writing_to

from .build import run
from .options import add_body, add_start
from .registry import SOURCES, TEXT_SOURCES, Build

SHOWN_WORDS: Final = 60
CHAT_KEY: Final = "POSELLAVA_CHAT_KEY"
"""The environment variable that holds the key of the chat model, where it needs one."""
Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What add_subparsers() returns has no public name."""


def data(argv: Sequence[str]) -> int:
    """Runs one of the actions; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return exit_status("posellava data", lambda: arguments.run(arguments), DrawingUnavailableError)
    except KeyboardInterrupt:
        print("posellava data: stopped; a build goes on with the same command", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="posellava data", description="Make and inspect training data.")
    actions = parser.add_subparsers(dest="action", required=True)
    poses = _options_of_poses()
    _add_build(actions, poses)
    _add_rewrite(actions)
    _add_show(actions, poses)
    _add_stats(actions, poses)
    return parser


def _options_of_poses() -> argparse.ArgumentParser:
    """Where samples come from: the same for all actions that draw some."""
    poses = argparse.ArgumentParser(add_help=False)
    poses.add_argument("--seed", type=int, default=0)
    poses.add_argument(
        "--poses",
        type=Path,
        help="a file or folder of poses: AMASS, BVH, SMPL, AIST++, 3DPW and more; without it they are constructed",
    )
    poses.add_argument(
        "--held-out",
        type=Path,
        nargs="+",
        default=(),
        metavar="RELEASE",
        help="folders of PoseScript's or PoseFix's release, whose validation and test poses are left out of --poses",
    )
    poses.add_argument(
        "--annotations",
        type=Path,
        help="released texts or annotations: of PoseScript, PoseFix, LLaVA, 3DPW, Human3.6M",
    )
    poses.add_argument("--images", type=Path, help="the folder of their pictures")
    add_body(poses, "pictures")
    add_start(poses, "pairs of poses")
    poses.add_argument(
        "--noise",
        type=float,
        default=0.0,
        help="degrees of noise on the parts that a PosePart or PoseFix-style pair leaves alone (default: none)",
    )
    poses.add_argument(
        "--split",
        choices=["train", "val", "test"],
        default="train",
        help="which part of the poses or of the annotations (default: %(default)s)",
    )

    return poses


def _add_build(actions: Actions, poses: argparse.ArgumentParser) -> None:
    build = actions.add_parser(
        "build", parents=[poses], help="draw samples into shards for training; goes on where it stopped"
    )
    build.add_argument("source", help="what to draw, such as directives")
    build.add_argument("--output", required=True, help="folder of the shards")
    build.add_argument(
        "--count", type=positive, help="samples, rounded up to whole shards (default, of released data: all)"
    )
    build.add_argument("--workers", type=positive, default=1, help="processes")
    build.add_argument("--shard-size", type=positive, default=4096, help="samples in a shard")
    build.set_defaults(run=_build)


def _add_rewrite(actions: Actions) -> None:
    rewrite = actions.add_parser(
        "rewrite", help="have a chat model reword the instructions of built samples; goes on where it stopped"
    )
    rewrite.add_argument("samples", type=Path, help="a folder of shards, or a .json or .jsonl file")
    rewrite.add_argument("--output", type=Path, required=True, help="folder of the new shards")
    rewrite.add_argument(
        "--url", required=True, help="OpenAI-compatible base address, such as http://127.0.0.1:8000/v1"
    )
    rewrite.add_argument("--model", required=True, help=f"its name there; a key is taken from {CHAT_KEY}")
    rewrite.add_argument(
        "--parallel", type=positive, default=8, help="questions at a time (default: %(default)s)"
    )
    rewrite.add_argument(
        "--as", dest="manner", choices=["instructions", "situations"], default="instructions",
        help="situations: what somebody may be doing who is posed as described, for speculative pose generation "
        "(default: %(default)s)",
    )  # fmt: skip
    rewrite.set_defaults(run=_rewrite)


def _add_show(actions: Actions, poses: argparse.ArgumentParser) -> None:
    show = actions.add_parser("show", parents=[poses], help="a contact sheet of samples: before, after, text")
    show.add_argument(
        "what", help="a data source such as directives, a folder of shards, or a .json or .jsonl file"
    )
    show.add_argument("--count", type=positive, default=60, help="samples (default: %(default)s)")
    show.add_argument("--kind", default="*", help="only samples of this kind, such as root.turn or 'arm*'")
    show.add_argument("--output", type=Path, help="image file (default: data.png, unless --json is given)")
    show.add_argument("--columns", type=positive, default=5)
    show.add_argument(
        "--size", type=positive, default=150, help="pixels of a picture's side (default: %(default)s)"
    )
    show.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write id, kind, pose, target, instruction of each shown sample as a line (default: standard output)",
    )
    show.set_defaults(run=_show)


def _add_stats(actions: Actions, poses: argparse.ArgumentParser) -> None:
    stats = actions.add_parser(
        "stats", parents=[poses], help="sentences, words, kinds and the copy baseline of each kind"
    )
    stats.add_argument("what", nargs="*", default=list(TEXT_SOURCES), help="data sources, folders or files")
    stats.add_argument("--count", type=positive, default=4096, help="samples of each (default: %(default)s)")
    stats.add_argument("--json", action="store_true", help="as one JSON object")
    stats.set_defaults(run=_stats)


def _drawn_from(arguments: argparse.Namespace, source: str = "", folder: str = "") -> Build:
    return Build(
        source,
        Path(folder),
        arguments.count,
        seed=arguments.seed,
        poses=arguments.poses,
        split=arguments.split,
        annotations=arguments.annotations,
        images=arguments.images,
        noise_degrees=arguments.noise,
        body=arguments.body,
        held_out=tuple(arguments.held_out),
        start=arguments.start,
    )


def _build(arguments: argparse.Namespace) -> None:
    build = replace(
        _drawn_from(arguments, arguments.source, arguments.output), shard_size=arguments.shard_size
    )
    if build.poses is None and build.source in SOURCES and not SOURCES[build.source].is_dataset:
        print("no --poses: every pose is constructed")
    require_apart(build.folder, build.poses, build.annotations, build.images)
    if build.poses is not None and build.poses.resolve() in build.folder.resolve().parents:
        raise ValueError(
            f"{build.folder} is in {build.poses}, whose poses are read: choose a folder elsewhere"
        )
    start = time.monotonic()
    before: int | None = None
    with writing_to(build.folder):
        for done in run(build, workers=arguments.workers):
            before = done if before is None else before
            rate = f", {(done - before) / (time.monotonic() - start):.0f} a second" if done > before else ""
            print(f"{done} samples in {build.folder}{rate}", flush=True)


def _rewrite(arguments: argparse.Namespace) -> None:
    from .rewriting.chat import ChatModel
    from .rewriting.rewriter import rewrite

    require_apart(arguments.output, arguments.samples)
    model = ChatModel(arguments.url, arguments.model, os.environ.get(CHAT_KEY))
    for progress in rewrite(
        arguments.samples, arguments.output, model, parallel=arguments.parallel, manner=arguments.manner
    ):
        print(
            f"{progress.done} samples in {arguments.output}; {progress.kept} of this run kept their own words",
            flush=True,
        )


def _show(arguments: argparse.Namespace) -> None:
    from .sheets import contact_sheet
    from .show import take, to_line

    for place in (arguments.output, Path(arguments.json or "-")):
        require_apart(place, arguments.poses, arguments.annotations, arguments.images, Path(arguments.what))
    samples = take(arguments.what, arguments.count, _drawn_from(arguments), arguments.kind)
    if arguments.json is not None:
        lines = "".join(json.dumps(to_line(sample)) + "\n" for sample in samples)
        if arguments.json == "-":
            sys.stdout.write(lines)
        else:
            Path(arguments.json).write_text(lines, encoding="utf-8")
    if arguments.output is not None or arguments.json is None:
        output = arguments.output or Path("data.png")
        contact_sheet(samples, output, columns=arguments.columns, size=arguments.size)
        print(f"{len(samples)} samples in {output}", file=sys.stderr)


def _stats(arguments: argparse.Namespace) -> None:
    from .show import kinds, only_in, take, vocabulary

    words: dict[str, Counter[str]] = {}
    report: dict[str, object] = {}
    for place in arguments.what:
        samples = take(place, arguments.count, _drawn_from(arguments))
        what = Path(place).stem  # a folder of shards goes by its name, as the source that it was drawn from
        words[what] = vocabulary(samples)
        figures = kinds(samples)
        distinct = len({sample.instruction.lower() for sample in samples})
        report[what] = {
            "sentences": len(samples),
            "distinct": distinct,
            "vocabulary": len(words[what]),
            "kinds": {
                name: vars(kind) | {"share": kind.samples / len(samples)} for name, kind in figures.items()
            },
        }
        if arguments.json:
            continue
        print(f"{what}: {len(samples)} sentences, {distinct} distinct, {len(words[what])} words")
        print(f"  {'kind':<24}{'share':>8}{'distinct':>10}{'words':>7}{'copy baseline, mm':>20}")
        for name, kind in figures.items():
            error = "" if kind.copy_mpjpe is None else f"{kind.copy_mpjpe:.1f}"
            share = f"{100 * kind.samples / len(samples):.1f} %"
            print(f"  {name:<24}{share:>8}{kind.distinct:>10}{kind.words:>7.1f}{error:>20}")
    if "directives" in words and len(words) > 1:
        others = sum((count for what, count in words.items() if what != "directives"), Counter[str]())
        missing = {
            "only_directives": only_in(words["directives"], others),
            "only_others": only_in(others, words["directives"]),
        }
        report["words"] = missing
        if not arguments.json:
            for who, found in zip(("directives", "the others"), missing.values(), strict=True):
                print(f"words that only {who} know ({len(found)}): {', '.join(found[:SHOWN_WORDS])}")
    if arguments.json:
        print(json.dumps(report))
