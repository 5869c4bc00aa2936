# SPDX-License-Identifier: Apache-2.0
"""Draws the same instructions from ten random start poses: does every answer do what the words say?

    python -m training.evaluate.sheet OUT.png [--poses POSES.npz] [--model FOLDER] [--seed N] [--instruction WORDS ...]
    python -m training.evaluate.sheet OUT.png --variants [--model FOLDER] [--instruction WORDS ...]
    python -m training.evaluate.sheet OUT.png --held-out KIND [--poses POSES.npz] [--model FOLDER] [--seed N]

The first row shows the starts, each further row an instruction's answers from them, all turned to face alike. With
``--variants`` each entry shows the four answers that the model has to offer to words that describe a pose. With
``--held-out`` each entry is a sentence of a kind of patterns (contact, correction, followup …) that is never trained
on: the pose before an earlier turn where there was one, the start, the answer, and whether it is done, the rest kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from backend.body.draw import DrawingUnavailableError
from backend.body.pictures import Row, draw_poses, save_sheet
from training.data.pool import with_heading

from .benchmarks import pose_pool
from .sharpness import VARIANTS

if TYPE_CHECKING:
    from backend.query import Answerer
    from training.data.starts import StartPoses

Poses = npt.NDArray[np.float32]

STARTS: Final = 10
SIZE: Final = 128
HELD_OUT_SHOWN: Final = 18
"""Held-out sentences on a sheet."""
INSTRUCTIONS: Final = (
    "Raise the left arm.",
    "Bend the right elbow to ninety degrees.",
    "Put both hands on the hips.",
    "Look over the right shoulder.",
    "Lean forward a little.",
    "Lift the left knee.",
    "Squat down.",
    "Wave with the right hand.",
)
"""What is asked where nothing else is given."""
ACTIVE: Final = (
    "a person running",
    "someone throws a ball",
    "a figure skater glides on one leg",
    "a boxer in the middle of a punch",
    "somebody climbs a ladder",
    "a dancer leaps",
    "a goalkeeper dives for the ball",
    "a person kicks a football",
    "someone swings a golf club",
    "a man pushes a heavy cart",
    "a woman pulls on a rope",
    "a tennis player serves",
    "somebody walks up the stairs",
    "a person jumps for joy",
    "an archer draws the bow",
    "someone sneaks past",
    "a basketball player shoots",
    "somebody crawls under a fence",
    "a fencer lunges",
    "a person does a cartwheel",
)
"""Active poses of which there are many, for the sheet of variants."""


def ten_starts_sheet(engine: Answerer, instructions: Sequence[str], starts_aa: Poses, path: Path) -> None:
    """Draws the sheet to an image file.

    Args:
        engine: the model.
        instructions: one a row.
        starts_aa: (N, 24, 3) axis-angle, radians; they are drawn as they face.
        path: the image file to write.
    """
    from backend.query import Query

    rows = [Row(draw_poses(starts_aa, SIZE), "The start poses")]
    for words in instructions:
        answers = engine.answer([Query("adjust", words, pose) for pose in starts_aa])
        poses = [
            start if one.pose_aa is None else one.pose_aa
            for one, start in zip(answers, starts_aa, strict=True)
        ]
        missing = sum(one.pose_aa is None for one in answers)
        note = f" ({missing} without an answer: the start is shown)" if missing else ""
        rows.append(Row(draw_poses(np.stack(poses), SIZE), words + note))
    save_sheet(rows, path, columns=1)


def variants_sheet(engine: Answerer, descriptions: Sequence[str], path: Path) -> None:
    """Draws all that the model offers to each description to an image file."""
    from backend.query import Query

    rows = []
    for words in descriptions:
        [answer] = engine.answer([Query("generate", words, variants=VARIANTS)])
        if answer.pose_aa is None:
            raise ValueError(f"the model has only words for {words!r}: {answer.text}")
        offered = answer.pose_aa[None] if answer.variants_aa is None else answer.variants_aa
        rows.append(Row(draw_poses(offered, SIZE), words))
    save_sheet(rows, path, columns=2)


def held_out_sheet(
    engine: Answerer, kind: str, starts: StartPoses, rng: np.random.Generator, path: Path
) -> tuple[int, int]:
    """Draws answers to held-out sentences of a kind; returns how many succeed, and of how many.

    Raises:
        ValueError: no patterns are of this kind.
    """
    from backend.query import Query
    from training.data.patterns.loading import default_patterns
    from training.data.patterns.sampler import PatternSampler
    from training.data.sheets import facing

    from .held_out import judge

    patterns = [one for one in default_patterns() if one.kind == kind]
    if not patterns:
        known = ", ".join(sorted({one.kind for one in default_patterns()}))
        raise ValueError(f"no patterns are of the kind {kind!r}; there are {known}")
    cases = PatternSampler(starts, patterns, held_out=True).cases(rng, 3 * HELD_OUT_SHOWN)[:HELD_OUT_SHOWN]
    rows, succeeded = [], 0
    for case in cases:
        sample = case.sample
        history = tuple(sample.history)
        [answer] = engine.answer([Query(sample.task, sample.instruction, sample.pose_aa, history=history)])
        done, kept = judge(case, answer)
        succeeded += done and kept
        start = case.start.pose_aa
        poses = [*(turn.pose for turn in history if turn.pose is not None), start]
        poses.append(start if answer.pose_aa is None else answer.pose_aa)
        said = "".join(f"{turn.instruction} / " for turn in history) + sample.instruction
        told = "done" if done and kept else "not done" if not done else "something else moved"
        words = "" if answer.pose_aa is not None else f" - {answer.text}"
        rows.append(Row(draw_poses(facing(np.stack(poses)), SIZE), f"{said}{words} [{told}]"))
    save_sheet(rows, path, columns=3)
    return succeeded, len(cases)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate.sheet",
        description="Draw the same instructions from ten random start poses.",
    )
    parser.add_argument("output", type=Path, metavar="OUT.png")
    parser.add_argument(
        "--instruction",
        action="append",
        metavar="WORDS",
        help="a row; may be repeated (default: eight common ones)",
    )
    parser.add_argument(
        "--variants", action="store_true", help="the answers that are offered to descriptions"
    )
    parser.add_argument("--held-out", metavar="KIND", help="sentences of a kind that are never trained on")
    parser.add_argument("--poses", type=Path, help="poses (their val split); else they are constructed")
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a saved model (default: the one that ships)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the start poses")
    arguments = parser.parse_args(argv)
    from backend.engines import load_engine

    instructions = arguments.instruction or (ACTIVE if arguments.variants else INSTRUCTIONS)
    try:
        if arguments.variants:
            variants_sheet(load_engine(arguments.model), instructions, arguments.output)
            print(f"what is offered to {len(instructions)} descriptions in {arguments.output}")
            return 0
        if arguments.held_out:
            from training.data.sources.reading import read_poses
            from training.data.starts import StartPoses

            starts = StartPoses(None)
            if arguments.poses is not None:
                recorded = read_poses(arguments.poses, "val")
                starts = StartPoses(recorded.pose_aa, recorded.label_weights())
            rng = np.random.default_rng(arguments.seed)
            engine = load_engine(arguments.model)
            done, of = held_out_sheet(engine, arguments.held_out, starts, rng, arguments.output)
            print(f"{done} of {of} held-out sentences done, the rest kept, in {arguments.output}")
            return 0
        drawn = pose_pool(arguments.poses).draw(np.random.default_rng(arguments.seed), STARTS)
        alike = with_heading(drawn, np.zeros(STARTS))
        engine = load_engine(arguments.model)
        ten_starts_sheet(engine, instructions, alike, arguments.output)
    except (ValueError, OSError, DrawingUnavailableError) as error:
        print(f"sheet: {error}", file=sys.stderr)
        return 1
    print(f"{len(instructions)} instructions from {STARTS} poses in {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
