# SPDX-License-Identifier: Apache-2.0
"""Sentences around a sentence: requests, pleases, and what is to stay as it is."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from blender_addon.contract.skeleton import BODY_PARTS

REQUESTS: Final = (
    "can you {}", "can you {}?", "could you {}?", "could you please {}", "would you {}?", "i want you to {}",
    "i need you to {}", "i'd like you to {}", "you should {}", "try to {}", "now {}", "ok now {}", "next, {}",
    "then {}", "and {}", "let's {}", "go ahead and {}", "make the character {}", "have the character {}",
    "the character should {}", "make her {}", "have him {}", "let the body {}", "get them to {}",
    "the person should {}", "she should {}", "he needs to {}", "make sure to {}", "remember to {}",
    "the model should {}", "have the actor {}", "just {}", "simply {}", "i would like the person to {}",
    "{} now", "{} for me", "{} a.s.a.p", "hey, {}", "{} thanks",
)  # fmt: skip
POLITELY: Final = ("please {}", "please {}", "please, {}", "pls {}", "plz {}")
THANKS: Final = (
    "{} please", "{} please", "{}, please", "{}, please", "{} pls", "{} pls", "{} plz", "{}, pls", "{} thanks",
    "{}, thank you", "{} if you can", "{} if possible",
)  # fmt: skip
_ONLY: Final = (
    "only {}", "just {}, nothing else", "{}, nothing else", "{} without moving anything else", "{}, leave the rest",
    "{} and keep everything else as it is", "{}, don't move anything else", "{} but keep the rest of the body still",
    "{}, rest stays the same", "{} only", "{} while the rest of the body stays put", "without changing the rest, {}",
    "{}. everything else stays where it is", "keep the rest of the pose and {}", "{} (nothing else)",
)  # fmt: skip
_KEEP: Final = (
    "{} but keep {part} still", "{} but keep {part} where {it_is}", "{}, keep {part} still", "keep {part} still and {}",
    "{} without moving {part}", "{}, don't move {part}", "{} but leave {part} alone", "{} and leave {part} as {it_is}",
    "{} while keeping {part} in place", "without moving {part}, {}", "{}, but not {part}", "don't touch {part}, {}",
    "{} - {part} {stays} put", "{} with {part} unchanged", "{}; {part} should not move",
)  # fmt: skip
PART_NAMES: Final = {
    "trunk": ("the torso", "the trunk", "your upper body", "the back", "the spine", "the chest"),
    "head": ("the head", "your head", "the neck"),
    "left_arm": ("the left arm", "your left arm", "the l arm", "the left hand"),
    "right_arm": ("the right arm", "your right arm", "the r arm", "the right hand"),
    "left_leg": ("the left leg", "your left leg", "the left foot"),
    "right_leg": ("the right leg", "your right leg", "the right foot"),
}
_JOINED_PARTS: Final = {
    ("left_leg", "right_leg"): ("the legs", "your legs", "both legs", "the lower body", "the feet"),
    ("left_arm", "right_arm"): ("the arms", "your arms", "both arms", "the hands"),
}


def with_keep(rng: np.random.Generator, text: str, still: set[str]) -> str:
    """An imperative that says too what is to stay: one of the parts that do, or all the rest."""
    names = [name for part, names in PART_NAMES.items() if part in still for name in names]
    for parts, joined in _JOINED_PARTS.items():
        if still.issuperset(parts):
            names += joined * 2
    if not names or rng.random() < 0.45:
        return _ONLY[rng.integers(len(_ONLY))].replace("{}", text)
    name = names[rng.integers(len(names))]
    plural = name.split()[-1] in ("legs", "arms", "feet", "hands")
    words = {
        "{part}": name,
        "{it_is}": "they are" if plural else "it is",
        "{stays}": "stay" if plural else "stays",
    }
    sentence = _KEEP[rng.integers(len(_KEEP))].replace("{}", text)
    for slot, word in words.items():
        sentence = sentence.replace(slot, word)
    return sentence


def still_parts(unmoved: npt.NDArray[np.bool_]) -> set[str]:
    """Names of the body parts none of whose joints moved."""
    return {part for part, joints in BODY_PARTS.items() if unmoved[list(joints)].all()}
