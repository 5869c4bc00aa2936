# SPDX-License-Identifier: Apache-2.0
"""Teaches a model to hear when nothing is asked for that a body can do; every pose that it answers with stays the same.

    python -m training.wish MODEL OUTPUT --data FOLDER [--sentences N]

A head beside frozen weights (``backend.model.text_head``) tells from the text encoder's states which sentences the
patterns answer in words (unclear, no request, impossible) from wishes: those of the patterns, and of the other sources
in the data. Above its threshold, which at most one of 200 held-out wishes passes, an edit is answered in words, as the
first token alone has answers be. May import what ``training.variants`` may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from backend.arguments import positive
from backend.exits import exit_status, print_each
from backend.model import PoseLlavaForConditionalGeneration, PoseLlavaProcessor
from backend.model.llava import load_whole
from backend.model.storage import WISH_IN_INT8
from blender_addon.contract.skeleton import NUM_JOINTS
from training.added_part import parser_of, write_with_part
from training.data.directives.slips import type_in
from training.data.patterns.loading import Pattern, default_patterns
from training.data.patterns.sampler import Weighted
from training.data.patterns.viewing import view_patterns
from training.data.patterns.wrapping import wrapped
from training.text_heads import ReadTexts, chances, fit, instructions, said, weighted

WIDTH: Final = 24
BATCH: Final = (48, 96)
"""Sentences that ask for nothing, and wishes."""
NOTHING: Final = ("unclear", "no_request", "impossible")
"""Replies of the patterns that do so. Where it is so already, the words alone do not tell it."""
PLAIN_SHARE: Final = 0.5
"""Of sentences that are typed as they stand; the others are wrapped."""
WISHES_PASS: Final = 0.005
"""Of held-out wishes so many may be taken for nothing."""


def sentences(rng: np.random.Generator, count: int, *, wishes: bool, held_out: bool) -> list[str]:
    """So many sentences of the patterns as people type them, without poses. Held-out wishes are of what the head is
    asked about: edits, without turns before them."""
    own = weighted(_patterns(wishes, held_out), held_out)
    return [_sentence(rng, own, held_out) for _ in range(count)]


def _patterns(wishes: bool, held_out: bool) -> list[Pattern]:
    if not wishes:
        return [one for one in default_patterns() if one.reply in NOTHING and one.first is None]
    every = [one for one in (*default_patterns(), *view_patterns()) if one.reply is None]
    return [one for one in every if not held_out or (one.first is None and one.task != "generate")]


def _sentence(rng: np.random.Generator, own: Weighted, held_out: bool) -> str:
    pattern = own.draw(rng)
    assert pattern is not None
    text, imperative = said(rng, pattern, held_out)
    if pattern.lang != "en" or rng.random() < PLAIN_SHARE:
        return type_in(rng, text, slip_share=0.08)
    unmoved = np.zeros(NUM_JOINTS, dtype=bool)
    return wrapped(rng, text, imperative=imperative, side=None, unmoved=unmoved)


def teach_head(
    model: PoseLlavaForConditionalGeneration,
    processor: PoseLlavaProcessor,
    data: Path,
    *,
    count: int,
    steps: int,
    held_out: int,
    seed: int,
) -> Iterator[str]:
    """Trains the head on so many sentences that ask for nothing, twice as many wishes of the patterns and up to as many
    of the other sources; sets the processor's threshold by ``held_out`` wishes and says what it tells apart."""
    assert model.wish is not None
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)

    def read(wishes: bool, number: int, held: bool, more: Sequence[str] = ()) -> ReadTexts:
        texts = sentences(rng, number, wishes=wishes, held_out=held)
        return ReadTexts(model, processor, [*texts, *more])

    nothing = read(False, count, False)
    wishes = read(True, 2 * count, False, instructions(data, count, rng, with_a_pose=True))
    yield f"read {len(nothing.states)} sentences that ask for nothing and {len(wishes.states)} wishes"
    fit(model.wish, nothing, wishes, shares=BATCH, steps=steps, rng=rng)
    unseen_wishes = chances(model.wish, read(True, held_out, True))
    unseen_nothing = chances(model.wish, read(False, held_out // 4, True))
    threshold = _threshold(unseen_wishes)
    processor.wish_threshold = processor.prompter.wish_threshold = threshold
    yield (
        f"at {threshold:.3f} it hears {np.mean(unseen_nothing >= threshold):.1%} of held-out sentences that ask for "
        f"nothing and takes {np.mean(unseen_wishes >= threshold):.2%} of {held_out} held-out wishes for one"
    )


def _threshold(unseen_wishes: npt.NDArray[np.float64]) -> float:
    """The least one, in thousandths and from a half on, that so few wishes pass."""
    passing = np.sort(unseen_wishes)[::-1][int(WISHES_PASS * len(unseen_wishes))]
    return float(np.clip(math.floor(1000 * passing + 1) / 1000, 0.5, 1.0))


def give_wish(
    source: Path,
    output: Path,
    data: Path,
    *,
    count: int = 10000,
    steps: int = 3000,
    held_out: int = 2000,
    seed: int = 0,
) -> Iterator[str]:
    """Writes the model in ``source``, which learns to hear when nothing is asked, to ``output``; yields how far it is.

    Raises:
        FileNotFoundError: no model there, or no folder of data.
        ValueError: the model has no text encoder or always answers with a pose, or ``output`` holds something else.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"there is no folder {data}: build data there with posellava data build")
    torch.manual_seed(seed)
    model, processor = load_whole(source, {"wish_width": WIDTH}, dtype=torch.float32)
    if model.model.text_encoder is None or model.wish is None:
        raise ValueError(f"{source} has no text encoder: that nothing is asked is told from what that says")
    if not processor.verbal_answers:
        raise ValueError(f"{source} has no verbal_answers: it could not say that nothing is asked")
    model.eval().requires_grad_(False)
    yield from teach_head(model, processor, data, count=count, steps=steps, held_out=held_out, seed=seed)
    write_with_part(
        source,
        output,
        "wish",
        model.wish,
        config={"wish_width": WIDTH},
        processor={"wish_threshold": processor.wish_threshold},
        in_int8=WISH_IN_INT8,
    )
    yield f"wrote {output}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = parser_of(
        "training.wish",
        "Teach a model to hear when nothing is asked; every pose that it answers with stays the same.",
        model="a saved model with a text encoder",
    )
    parser.add_argument(
        "--sentences", type=positive, default=10000, help="that ask for nothing (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    lines = give_wish(
        arguments.model, arguments.output, arguments.data, count=arguments.sentences, seed=arguments.seed
    )
    return exit_status("wish", lambda: print_each(lines))


if __name__ == "__main__":
    raise SystemExit(main())
