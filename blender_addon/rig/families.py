# SPDX-License-Identifier: GPL-3.0-or-later
"""Armatures known by the names of their bones: the files in ``bone_maps/``, one a family. Pure Python.

A file is JSON. To know another kind of armature, add one; no code is needed. The simplest is what Export Bone Map
writes. One that serves a whole family has:

- ``family``: what users call it.
- ``sides``: pairs of what stands for left and right, put in the place of ``{side}``.
- ``bones``: names by SMPL's joints. Joints of both sides go without ``left_`` and ``right_``. Several names that a bone
  may have are parted by ``|``. ``spine`` lists the bones from the pelvis up, as many as there can be; ``index`` and
  ``little`` are the first bones of these fingers.
- ``markers``: bones that only this family has; all must be there.
- ``prefixes``: what may stand before the names; without it anything may, as long as it is the same for all.
- ``shown``: in control rigs, the bones whose pose shows, where those are not the ones that are keyed.
- ``switches``: in control rigs, ``bone`` and ``property`` that hand ``joints`` to the keyed bones when set to ``fk``;
  ``target`` is the control that the limb's end follows otherwise; ``pole`` the one that the limb bends towards, or
  ``base`` the one whose rotation says which way it bends.
- ``zero_at_rest``: true where the rest pose is SMPL's zero by definition.

Case does not matter, nor do spaces, dots, hyphens and underscores, which exporters change. A running number that
Blender (``.001``) or an exporter (``_12``) put after every name is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from ..contract.skeleton import JOINT_INDEX, JOINT_NAMES
from .bone_map import FINGERS, SPINE, BoneMap, RigError, Skeleton, Switch, missing_needs
from .spine import joints_of_spine

FOLDER: Final = Path(__file__).parent / "bone_maps"

MOST_LACKING: Final = 3
"""An armature that lacks more of the bones that are needed is no damaged body but something else."""

_SEPARATORS: Final = re.compile(r"[\s._\-]+")
_NUMBERS: Final = (None, re.compile(r"\.\d{3,}$"), re.compile(r"[._]\d+$"))
"""Running numbers after names, which are taken off where the names are not known with them."""

_CHAINS: Final = (
    ("neck", "head"),
    *((f"{side}_hip", f"{side}_knee", f"{side}_ankle", f"{side}_foot") for side in ("left", "right")),
    *((f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist") for side in ("left", "right")),
)
"""Joints whose bones descend from each other in every armature, from the body outwards."""


@dataclass(frozen=True)
class Family:
    """What one file says, with both sides written out and names made plain.

    Attributes:
        family: what users call it.
        names: joint or finger -> the names it may have, for each pair of ``sides``.
        spine: names of the spine's bones, upwards.
        markers: names, one of each must be there, for each pair of ``sides``.
        prefixes: what may stand before the names; None for anything.
        source: the file's content, for what is written out only when the family is found.
    """

    family: str
    names: tuple[dict[str, tuple[str, ...]], ...]
    spine: tuple[tuple[str, ...], ...]
    markers: tuple[tuple[tuple[str, ...], ...], ...]
    prefixes: tuple[str, ...] | None
    source: dict[str, Any]


@dataclass(frozen=True)
class _Match:
    """Bones found for one family: ``bones`` by joint or finger, ``spine`` upwards; the larger ``score`` is better."""

    family: Family
    bones: dict[str, str]
    spine: tuple[str, ...]
    score: tuple[int, int, int]


def plain(name: str) -> str:
    """A name without case and without what parts its words."""
    return _SEPARATORS.sub("", name.casefold())


def _options(text: str, pair: tuple[str, str], side: int) -> tuple[str, ...]:
    return tuple(plain(option.replace("{side}", pair[side])) for option in text.split("|"))


def family_from(content: dict[str, Any]) -> Family:
    """A family from the content of its file.

    Raises:
        KeyError: the file names a joint that there is not.
    """
    pairs = [tuple(pair) for pair in content.get("sides", [["", ""]])]
    names, markers = [], []
    for pair in pairs:
        by_joint: dict[str, tuple[str, ...]] = {}
        for key, text in content["bones"].items():
            if key == "spine":
                continue
            if key in JOINT_INDEX or key in FINGERS:
                by_joint[key] = _options(text, pair, 0)
            else:
                for side, word in enumerate(("left", "right")):
                    by_joint[f"{word}_{key}"] = _options(text, pair, side)
        unknown = by_joint.keys() - JOINT_INDEX.keys() - set(FINGERS)
        if unknown:
            raise KeyError(f"{content['family']}: no joint is called {', '.join(sorted(unknown))}")
        names.append(by_joint)
        markers.append(
            tuple(
                _options(text, pair, side)
                for text in content.get("markers", ())
                for side in range(2 if "{side}" in text else 1)
            )
        )
    prefixes = content.get("prefixes")
    return Family(
        family=content["family"],
        names=tuple(names),
        spine=tuple(_options(text, ("", ""), 0) for text in content["bones"].get("spine", ())),
        markers=tuple(markers),
        prefixes=None if prefixes is None else tuple(map(plain, prefixes)),
        source=content,
    )


@cache
def families() -> tuple[Family, ...]:
    """All the files of ``bone_maps/``."""
    return tuple(family_from(json.loads(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*.json")))


def by_names(skeleton: Skeleton) -> BoneMap | None:
    """The map of an armature whose names are known, or None.

    Raises:
        RigError: the names are known, but of a bone that cannot be done without there is none.
    """
    partly: _Match | None = None
    for number in _NUMBERS:
        spelt: dict[str, str] = {}
        for name in skeleton.names:
            spelt.setdefault(plain(number.sub("", name) if number else name), name)
        matches = [match for family in families() for match in _matches(family, spelt)]
        whole = [match for match in matches if not _lacks(match) and _descend(match, skeleton)]
        if whole:
            return _to_map(max(whole, key=lambda match: match.score), skeleton)
        partly = max((*matches, *([partly] if partly else [])), key=lambda match: match.score, default=None)
    if partly is not None and len(partly.bones) >= len(JOINT_NAMES) // 2 and _descend(partly, skeleton):
        lacks = _lacks(partly)
        if 0 < len(lacks) <= MOST_LACKING:
            raise RigError(
                f"This {partly.family.family} armature lacks {len(lacks)} of its bones ({', '.join(lacks)}); "
                "restore them, or say under Bone Map which bones to take instead."
            )
    return None


def _matches(family: Family, spelt: dict[str, str]) -> Iterator[_Match]:
    """What fits a family, for each way its sides and prefixes may be written."""
    for names, markers in zip(family.names, family.markers, strict=True):
        affixes = set()
        for anchor in {*names.get("left_knee", ()), *names.get("left_elbow", ())}:
            for name in spelt:
                at = name.find(anchor) if anchor else -1
                if at >= 0:
                    affixes.add((name[:at], name[at + len(anchor) :]))
        for prefix, suffix in sorted(affixes):
            if family.prefixes is not None and (prefix not in family.prefixes or suffix):
                continue

            def find(options: tuple[str, ...], prefix: str = prefix, suffix: str = suffix) -> str | None:
                return next(
                    (spelt[name] for name in (prefix + one + suffix for one in options) if name in spelt),
                    None,
                )

            found = {key: find(options) for key, options in names.items()}
            bones = {key: name for key, name in found.items() if name is not None}
            spine = tuple(name for name in map(find, family.spine) if name is not None)
            marked = sum(find(options) is not None for options in markers)
            if marked < len(markers):
                continue
            wanted = len(names) + len(family.spine)
            known = len(bones) + len(spine)
            yield _Match(family, bones, spine, (known + marked, known - wanted, -len(prefix + suffix)))


def _lacks(match: _Match) -> list[str]:
    """Usual names of the bones that are needed and were not found."""
    bones = {JOINT_INDEX[key]: name for key, name in match.bones.items() if key in JOINT_INDEX}
    if match.spine:
        bones[SPINE[0]] = match.spine[0]
    return missing_needs(bones)


def _descend(match: _Match, skeleton: Skeleton) -> bool:
    """Whether the bones of each limb descend from each other, as those of a body do. Controls need not."""
    if "shown" in match.family.source:
        return True
    index = {name: bone for bone, name in enumerate(skeleton.names)}
    for chain in _CHAINS:
        limb = [index[match.bones[name]] for name in chain if name in match.bones]
        if any(upper not in skeleton.lineage(lower)[1:] for upper, lower in pairwise(limb)):
            return False
    return True


def _to_map(match: _Match, skeleton: Skeleton) -> BoneMap:
    content = match.family.source
    bones = {JOINT_INDEX[key]: name for key, name in match.bones.items() if key in JOINT_INDEX}
    bones |= joints_of_spine(match.spine, bones, skeleton)
    pairs = [tuple(pair) for pair in content.get("sides", [["", ""]])]
    there = set(skeleton.names)
    shown: dict[int, str] = {}
    switches: list[Switch] = []
    for pair in pairs:
        for side, word in enumerate(("left", "right")):
            for key, text in content.get("shown", {}).items():
                joint = JOINT_INDEX.get(key, JOINT_INDEX.get(f"{word}_{key}"))
                name = text.replace("{side}", pair[side])
                if joint in bones and name in there:
                    shown[joint] = name
            for one in content.get("switches", ()):
                name = one["bone"].replace("{side}", pair[side])
                if name in there and (side == 0 or "{side}" in one["bone"]):
                    joints = (JOINT_INDEX.get(key, JOINT_INDEX.get(f"{word}_{key}")) for key in one["joints"])
                    limb = tuple(joint for joint in joints if joint is not None)
                    controls = (
                        one.get(key, "").replace("{side}", pair[side]) for key in ("target", "base", "pole")
                    )
                    switches.append(Switch(limb, name, one["property"], float(one["fk"]), *controls))
    return BoneMap(
        family=match.family.family,
        bones=dict(sorted(bones.items())),
        shown=shown,
        fingers={key: name for key, name in match.bones.items() if key in FINGERS},
        switches=tuple(switches),
        zero_at_rest=bool(content.get("zero_at_rest", False)),
    )
