# SPDX-License-Identifier: Apache-2.0
"""The register of directive kinds: what a kind is, and how geometry and wording meet.

A kind is a function that is given a random generator and a start body and returns the target body with
the words for the slots of its sentences, or None where the request makes no sense from that start. Kinds speak
of ``{L}`` as the body's left and ``{R}`` as its right; the caller mirrors pose and words together, so every
kind is written once and is exactly symmetric.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .posed_body import PosedBody


@dataclass(frozen=True)
class Edit:
    """What a directive asks for.

    Attributes:
        target: the body after the edit.
        slots: words for the slots of the kind's sentences, such as ``{"degrees": "30 degrees"}``.
        variant: selects a group of sentences of the kind, where its sentences depend on what was drawn.
    """

    target: PosedBody
    slots: Mapping[str, str] = field(default_factory=dict)
    variant: str = ""


KindFunction = Callable[[np.random.Generator, PosedBody], Edit | None]


@dataclass(frozen=True)
class Kind:
    """A registered kind: its name, family (arm, leg, …), how often it is drawn, and its geometry.

    ``mirrored`` is false where the words name no side although the target has one (crossed legs, a fighting
    stance): mirroring the target alone would give one sentence two meanings. Such a kind is drawn as written.
    ``borrows`` names the kind whose sentences are used, with "other" in the place of the side.
    """

    name: str
    family: str
    weight: float
    apply: KindFunction
    mirrored: bool = True
    borrows: str = ""


KINDS: Final[dict[str, Kind]] = {}


def kind(
    name: str, *, family: str, weight: float = 1.0, mirrored: bool = True, borrows: str = ""
) -> Callable[[KindFunction], KindFunction]:
    """Registers a kind. Its sentences stand under its name in the family's wording file, or it borrows them."""

    def register(function: KindFunction) -> KindFunction:
        if name in KINDS:
            raise ValueError(f"directive kind {name!r} is registered twice")
        KINDS[name] = Kind(name, family, weight, function, mirrored, borrows)
        return function

    return register


def kinds_by_name() -> list[Kind]:
    """All kinds: in an order that what a seed draws can depend on, whichever module was imported first."""
    return [KINDS[name] for name in sorted(KINDS)]
