# SPDX-License-Identifier: Apache-2.0
"""How well a model does what hand-written sentences ask for that were never trained on.

    python -m training.evaluate.held_out --poses POSES [--model FOLDER] [--count N] [--trained] [--failures]

A fifth of the pattern sentences is held out of every data set (``training.data.patterns.loading.is_held_out``). Here
they are asked, plainly said, of poses of the val split, and the answers are tried on the constraints themselves.
*Done*: every constraint is met within 10 degrees or 5 cm, and what is set by name (a posture, a mirrored arm) is
within 25 degrees; where words are the right answer, words. *Kept*: no joint turned by more than 8 degrees that the
pattern does not let turn. *Success* is both. ``--trained`` measures the sentences that are trained on instead.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from backend.query import Answer, Query
from blender_addon.contract.skeleton import NUM_JOINTS
from training.data.patterns.drafts import holds, state_of
from training.data.patterns.sampler import Case, PatternSampler
from training.data.sources.reading import read_poses
from training.data.starts import StartPoses

KEPT_DEGREES: Final = 8.0
SET_DEGREES: Final = 25.0
_AT_ONCE: Final = 64


def turned_degrees(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """(24,) by how much each joint turned, of local rotations (24, 3, 3)."""
    trace = (before.transpose(-1, -2) @ after).diagonal(dim1=-2, dim2=-1).sum(-1)
    degrees: torch.Tensor = torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos())
    return degrees


def judge(case: Case, answer: Answer) -> tuple[bool, bool]:
    """Whether what is asked is done, and whether the rest is kept."""
    start = case.start
    after = start if answer.pose_aa is None else state_of(answer.pose_aa)
    turned = turned_degrees(start.local, after.local)
    heading = abs((np.degrees(after.yaw - start.yaw) + 180) % 360 - 180)
    others = [joint for joint in range(NUM_JOINTS) if joint not in case.may_move]
    kept = bool((turned[others] <= KEPT_DEGREES).all()) and (0 in case.may_move or heading <= KEPT_DEGREES)
    if case.sample.target_aa is None:
        return answer.pose_aa is None or (
            bool(turned.max() <= KEPT_DEGREES) and heading <= KEPT_DEGREES
        ), kept
    done = all(
        met
        for one, met in zip(
            case.asked.constraints(),
            holds(case.asked.constraints(), start.local, after.local),
            strict=True,
        )
        if one.weight >= 1
    )
    target = state_of(case.sample.target_aa)
    if case.sample.task != "generate":
        off = abs((np.degrees(after.yaw - target.yaw) + 180) % 360 - 180)
        done = done and off <= SET_DEGREES
    is_set = sorted(case.may_move - case.asked.free() if case.asked.pattern.want else case.may_move)
    done = done and bool((turned_degrees(target.local, after.local)[is_set] <= SET_DEGREES).all())
    return done, kept


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a table by kind; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--poses", type=Path, help="recorded poses: their val split is started from")
    parser.add_argument("--model", type=Path, help="a saved model (default: the one that ships)")
    parser.add_argument(
        "--count", type=int, default=600, help="sentences that are drawn (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", action="store_true", help="sentences that are trained on instead")
    parser.add_argument("--failures", action="store_true", help="print what failed")
    arguments = parser.parse_args(argv)

    from backend.engines import SHIPPED_MODEL
    from backend.engines.torch import TorchEngine

    starts = StartPoses(None)
    if arguments.poses is not None:
        recorded = read_poses(arguments.poses, "val")
        starts = StartPoses(recorded.pose_aa, recorded.label_weights())
    sampler = PatternSampler(starts, held_out=not arguments.trained)
    cases = sampler.cases(np.random.default_rng(arguments.seed), arguments.count)
    engine = TorchEngine.load(arguments.model or SHIPPED_MODEL, threads=1)
    table: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for first in range(0, len(cases), _AT_ONCE):
        some = cases[first : first + _AT_ONCE]
        queries = [
            Query(
                one.sample.task, one.sample.instruction, one.sample.pose_aa, history=tuple(one.sample.history)
            )
            for one in some
        ]
        for case, answer in zip(some, engine.answer(queries), strict=True):
            done, kept = judge(case, answer)
            kind = case.asked.pattern.kind
            for name in ("all", kind):
                table[name].append((done, kept))
            if arguments.failures and not (done and kept):
                print(f"{kind}: {'not done' if not done else 'moved more'}: {case.sample.instruction}")
    print(f"{'':14s}{'cases':>6s}{'success':>9s}{'done':>7s}{'kept':>7s}")
    for name, results in sorted(table.items(), key=lambda pair: (pair[0] != "all", pair[0])):
        both = 100 * np.mean([done and kept for done, kept in results])
        done_share, kept_share = 100 * np.mean(np.array(results), axis=0)
        print(f"{name:14s}{len(results):6d}{both:8.1f}%{done_share:6.1f}%{kept_share:6.1f}%")
    return 0


if __name__ == "__main__":
    sys.exit(main())
