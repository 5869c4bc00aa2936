# SPDX-License-Identifier: Apache-2.0
"""Slips of the keyboard: which words are taken back to known ones, and which are left as typed."""

from __future__ import annotations

import pytest

from backend.prompt.spelling import Spelling

SPELLING = Spelling(
    ["shoulder", "raise", "hand", "bend", "head", "forward", "left"], {"learn", "banana", "heed"}
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("shuolder", "shoulder"),  # swapped
        ("sholder", "shoulder"),  # left out
        ("shhoulder", "shoulder"),  # put in
        ("shoukder", "shoulder"),  # hit beside
        ("Rasie the left hadn!", "raise the left hand!"),
        ("foward, left", "forward, left"),
    ],
)
def test_a_single_slip_in_a_known_word_is_set_right(typed: str, meant: str) -> None:
    assert SPELLING.correct(typed) == meant


@pytest.mark.parametrize(
    "text",
    [
        "banana",  # a word
        "Raise the LEFT hand",  # known, in the case in which it was typed
        "heed",  # a word, though one letter from a known one
        "hend",  # as near to bend as to hand
        "ha nd lft",  # too short
        "shuoldre",  # two slips
        "r41se",  # not letters
        "",
    ],
)
def test_what_is_a_word_or_could_mean_several_stays_as_typed(text: str) -> None:
    assert SPELLING.correct(text) == text
