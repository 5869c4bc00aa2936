# SPDX-License-Identifier: Apache-2.0
"""``posellava train-speech`` and ``posellava measure-speech``: arguments in, exit status out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.arguments import positive
from backend.exits import exit_status
from backend.prompt.speech import read_speech


def train_speech(argv: Sequence[str]) -> int:
    """``posellava train-speech``: teach a voice on a model that stays as it is."""
    parser = argparse.ArgumentParser(
        prog="posellava train-speech",
        description="Teach a small model to say what it sees of poses. The model itself stays as it is.",
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="such as training/configs/mini_speech.yaml"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="overlay a value, such as minutes=10",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="write the model with its voice there; may be the model's own folder",
    )
    arguments = parser.parse_args(argv)
    from training.added_part import write_with_voice

    from .teaching import Progress, load_speech_settings
    from .teaching import train_speech as run

    def report(progress: Progress) -> None:
        print(progress, flush=True)

    def work() -> None:
        settings = load_speech_settings(arguments.config, arguments.set)
        run(settings, resume=arguments.resume, report=report)
        voice = settings.output
        if arguments.into is None:
            print(f"wrote a voice to {voice}; with --into FOLDER the same command writes the model with it")
        else:
            write_with_voice(settings.model, arguments.into, voice)
            print(f"wrote {arguments.into}, which speaks")

    return exit_status("posellava train-speech", work)


def measure_speech(argv: Sequence[str]) -> int:
    """``posellava measure-speech``: facts right and wrong of what a model says."""
    parser = argparse.ArgumentParser(
        prog="posellava measure-speech",
        description="Hold what a model says of poses against the poses, by the captioner's rules.",
    )
    parser.add_argument("model", type=Path, metavar="FOLDER", help="a model with a voice")
    parser.add_argument(
        "--poses", type=Path, help="a pose file or folder (default: constructed poses); its split 'val'"
    )
    parser.add_argument("--count", type=positive, default=300, help="poses, and pairs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--engine", choices=["auto", "onnx", "torch"], default="auto")
    parser.add_argument("--examples", type=int, default=0, metavar="N", help="print N of its texts, too")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="draw twenty poses with its words to a picture"
    )
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object")
    arguments = parser.parse_args(argv)
    from backend.body.draw import DrawingUnavailableError

    return exit_status("posellava measure-speech", lambda: _measure(arguments), DrawingUnavailableError)


def _measure(arguments: argparse.Namespace) -> None:
    from backend.engines import load_engine
    from training.evaluate.benchmarks import pose_pool

    from .measure import TIMED, WORDS, judge, said_by, seconds_for_words, taught
    from .pictures import SHOWN, draw_sheet
    from .samples import SpeechSampler

    if read_speech(arguments.model) is None:
        raise ValueError(
            f"the model in {arguments.model} has no voice: teach one with 'posellava train-speech'"
        )
    sampler = SpeechSampler(pose_pool(arguments.poses, "val"))
    rng = np.random.default_rng(arguments.seed)
    poses = sampler.descriptions(rng, arguments.count)
    pairs = sampler.differences(rng, arguments.count)
    engine = load_engine(arguments.model, engine=arguments.engine)
    of_poses, of_pairs = said_by(engine, poses), said_by(engine, pairs)
    seconds = seconds_for_words(engine, poses[:TIMED])
    if arguments.sheet is not None:
        draw_sheet(poses[:SHOWN], of_poses[:SHOWN], arguments.sheet)
    rows = {"said": judge(poses, of_poses, pairs, of_pairs), "taught": taught(poses, pairs)}
    if arguments.json:
        figures = {name: row.as_dict() for name, row in rows.items()}
        print(json.dumps({**figures, "seconds_for_40_words": seconds}))
        return
    print(f"{'':8}{'poses right':>13}{'facts':>7}{'pairs right':>13}{'facts':>7}{'unread':>8}{'found':>8}")
    for name, row in rows.items():
        print(
            f"{name:8}{row.right_of_poses:>13.1%}{row.facts_of_poses:>7.1f}{row.right_of_pairs:>13.1%}"
            f"{row.facts_of_pairs:>7.1f}{row.unread:>8.1%}{row.found:>8.1%}"
        )
    print(f"{WORDS} words, one question at a time: {seconds:.2f} s")
    for text in [*of_poses[: arguments.examples], *of_pairs[: arguments.examples]]:
        print(f"- {text}")
