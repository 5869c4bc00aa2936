# SPDX-License-Identifier: Apache-2.0
"""Tries patterns: that they can be read, that poses meet their conditions, and that the solver meets what they ask for.

    python -m training.data.patterns.check                            # all files
    python -m training.data.patterns.check FILE.yaml … --poses POSES  # some, from recorded starts too
    python -m training.data.patterns.check --postures | --words       # names for ``set: pose``; measures, places, terms
    python -m training.data.patterns.check FILE.yaml --sheet OUT.png  # draws before, after and words of each

Bad patterns are named in a sentence each, with status 1; then there is one line a kind: sentences, patterns, and how
many of the tries were met; and one for all, with how many a core solves in a second.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from blender_addon.contract.skeleton import STANDING_POSE
from training.data.constraints.measures import MEASURES
from training.data.constraints.points import POINT_NAMES
from training.data.samples import Sample
from training.data.starts import StartPoses

from .drafts import Asked, Draft, State, solve_drafts, state_of
from .language import GROUPS, PatternError, Side, terms
from .loading import SENTENCES, Pattern, pattern_files, read_file
from .postures import posture_names
from .saying import drawn, say
from .starts import StartPool, draw_poses

if TYPE_CHECKING:
    from .drafts import Outcome

POOL: Final = 1500
AT_ONCE: Final = 1024
TRIES: Final = 12
LEAST_MET: Final = 0.5
"""A pattern that is met from fewer of its starts is bad."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="pattern files (default: all)")
    parser.add_argument("--poses", type=Path, help="recorded poses to start from as well")
    parser.add_argument("--postures", action="store_true", help="list the postures that can be named")
    parser.add_argument("--words", action="store_true", help="list measures, places, groups and terms")
    parser.add_argument("--sheet", type=Path, help="draw a sample of each pattern to this image")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    if arguments.postures:
        print(" ".join(posture_names()))
        return 0
    if arguments.words:
        print("measures: " + ", ".join(f"{name}/{count}" for name, (count, _) in sorted(MEASURES.items())))
        print("places: " + " ".join(name for name in POINT_NAMES if "." not in name) + " floor")
        print("groups: " + " ".join(GROUPS))
        print("terms: " + " ".join(terms()))
        return 0
    known = {path.resolve(): kind for kind, path in pattern_files()}
    chosen = (
        [(known.get(path.resolve(), path.stem), path) for path in arguments.files]
        if arguments.files
        else list(pattern_files(SENTENCES))
    )
    patterns: list[Pattern] = []
    faults: list[str] = []
    for kind, path in chosen:
        found, wrong = read_file(kind, path)
        patterns += found
        faults += wrong
    rng = np.random.default_rng(arguments.seed)
    recorded = StartPoses(None)
    if arguments.poses is not None:
        from training.data.sources.reading import read_poses

        poses = read_poses(arguments.poses, "train")
        recorded = StartPoses(poses.pose_aa, poses.label_weights())
    pool = StartPool(draw_poses(rng, POOL, recorded))
    tried, seconds = _tried(rng, pool, patterns, faults)
    for fault in faults:
        print(fault)
    sentences, counts = Counter[str](), Counter[str]()
    for pattern in patterns:
        sentences[pattern.kind] += len(pattern.sentences)
        counts[pattern.kind] += 1
    for kind, count in sorted(sentences.items()):
        mets = [met for pattern, mets, _ in tried if pattern.kind == kind for met in mets]
        share = f"{100 * np.mean(mets):.0f} % of {len(mets)} tries met" if mets else "nothing to solve"
        print(f"{kind}: {count} sentences in {counts[kind]} patterns; {share}")
    solved = sum(len(mets) for _, mets, _ in tried)
    speed = f"; {solved / seconds:.0f} tries a second of one core" if solved else ""
    print(f"all: {sentences.total():,} sentences in {counts.total():,} patterns{speed}")
    if arguments.sheet is not None:
        from training.data.sheets import contact_sheet

        contact_sheet([sample for _, _, samples in tried for sample in samples[:1]], arguments.sheet)
    return 1 if faults else 0


def _tried(
    rng: np.random.Generator, pool: StartPool, patterns: Sequence[Pattern], faults: list[str]
) -> tuple[list[tuple[Pattern, list[bool], list[Sample]]], float]:
    """Each pattern with whether each try was met, and samples of it, and the seconds of processor time that solving
    took; adds what is wrong to the faults."""
    drafts: list[Draft] = []
    texts: list[str] = []
    owners: list[int] = []
    for number, pattern in enumerate(patterns):
        try:
            said = [_ask(rng, pattern, one.text) for one in pattern.sentences for _ in range(3)]
            for attempt in range(TRIES):
                asked, text = said[attempt % len(said)]
                side: Side = ("L", "R")[attempt % 2] if pattern.sided else "L"
                asked, text = _ask(
                    rng, pattern, pattern.sentences[attempt % len(pattern.sentences)].text, side
                )
                draft = _start(rng, pool, asked)
                if draft is not None and pattern.reply is None:
                    drafts.append(draft)
                    texts.append(text)
                    owners.append(number)
        except (PatternError, KeyError, ValueError) as error:
            faults.append(f"{pattern.name}: {error}")
            continue
        if number not in owners and pattern.reply is None:
            faults.append(f"{pattern.name}: no start of {len(pool)} meets {' and '.join(pattern.when)}")
    outcomes: list[Outcome] = []
    begun = time.process_time()
    for first in range(0, len(drafts), AT_ONCE):
        outcomes += solve_drafts(drafts[first : first + AT_ONCE])
    seconds = time.process_time() - begun
    results = []
    for number, pattern in enumerate(patterns):
        rows = [row for row, owner in enumerate(owners) if owner == number]
        mets = [outcomes[row].met for row in rows]
        samples = [
            Sample(
                "", "adjust", pattern.name, texts[row], drafts[row].start.pose_aa, outcomes[row].state.pose_aa
            )
            for row in sorted(rows, key=lambda row: not outcomes[row].met)
        ]
        results.append((pattern, mets, samples))
        if mets and np.mean(mets) < LEAST_MET:
            faults.append(
                f"{pattern.name} ({pattern.sentences[0].text!r}): "
                f"what it wants is met from {sum(mets)} of {len(mets)} starts"
            )
        elif (
            pattern.task != "generate"
            and mets
            and not any(outcomes[row].moved(drafts[row].start).any() for row in rows)
        ):
            faults.append(f"{pattern.name} ({pattern.sentences[0].text!r}): nothing ever moves")
    return results, seconds


def _ask(rng: np.random.Generator, pattern: Pattern, text: str, side: Side = "L") -> tuple[Asked, str]:
    values, words = drawn(rng, pattern)
    asked = Asked(pattern, side, values)
    asked.constraints()
    asked.free()
    return asked, say(rng, pattern, text, side, words)


def _start(rng: np.random.Generator, pool: StartPool, asked: Asked) -> Draft | None:
    """A draft from a start that meets the pattern's conditions, after what was asked first; None where none does."""
    pattern = asked.pattern
    if pattern.task == "generate":
        return Draft(state_of(STANDING_POSE), [asked])
    lines = pattern.when if pattern.first is None else pattern.first.when
    rows = pool.meeting(lines, asked.side)
    if not len(rows):
        return None
    row = int(rows[rng.integers(len(rows))])
    state = State(pool.poses[row], pool.local[row], float(pool.yaw[row]))
    if pattern.first is None:
        return Draft(state, [asked])
    values, _ = drawn(rng, pattern.first)
    [done] = solve_drafts([Draft(state, [Asked(pattern.first, asked.side, values)])])
    return Draft(done.state, [asked], before=state)


if __name__ == "__main__":
    sys.exit(main())
