# SPDX-License-Identifier: Apache-2.0
"""Where an edit gets anchors, worked out by hand."""

from __future__ import annotations

import pytest

from blender_addon.rig.anchors import AnchorKind, anchor_frames

FIGURE = [1.0, 40.0]
EVERY: list[float] = [float(frame) for frame in range(1, 41)]


@pytest.mark.parametrize(
    ("chosen", "own", "posed", "kind", "anchors"),
    [
        ([20], [], [], "FRAMES", {}),
        ([20], [20], [20], "FRAMES", {}),
        ([20], [], FIGURE, "FRAMES", {19: -1, 21: 1}),
        ([20], [], FIGURE, "KEYS", {1: -1, 40: 1}),
        ([20], [], FIGURE, "NONE", {}),
        ([20], [1, 40], FIGURE, "FRAMES", {}),
        ([20], [1], FIGURE, "FRAMES", {21: 1}),
        ([20], EVERY, EVERY, "FRAMES", {}),
        ([50], [], FIGURE, "FRAMES", {49: -1}),
        ([50], [1, 40], FIGURE, "FRAMES", {}),
        ([1], [], FIGURE, "FRAMES", {2: 1}),
        ([1, 40], [], FIGURE, "FRAMES", {}),
        ([1, 20, 40], [1, 20, 40], [1, 20, 40, 60], "FRAMES", {41: 1}),
        ([1, 20, 40], [1, 20, 40, 60], [1, 20, 40, 60], "FRAMES", {}),
        ([10, 11, 12], [], FIGURE, "FRAMES", {9: -1, 13: 1}),
        ([10, 11, 12], [1, 40], FIGURE, "FRAMES", {9: -1, 13: 1}),
        ([10, 11, 12], [1, 40], FIGURE, "KEYS", {}),
        ([10, 11, 12], EVERY, EVERY, "FRAMES", {}),
        ([10, 12], [], FIGURE, "FRAMES", {9: -1, 11: 0, 13: 1}),
        ([10, 20], [], FIGURE, "KEYS", {1: -1, 11: 1, 19: -1, 40: 1}),
        ([30], [19, 20, 21], FIGURE, "FRAMES", {29: -1, 31: 1}),
        ([22], [19, 20, 21], FIGURE, "FRAMES", {23: 1}),
        ([10], [19, 20, 21], FIGURE, "KEYS", {1: -1, 40: 1}),
        ([10.5], [], FIGURE, "FRAMES", {9.5: -1, 11.5: 1}),
    ],
)
def test_anchors(
    chosen: list[float], own: list[float], posed: list[float], kind: AnchorKind, anchors: dict[float, int]
) -> None:
    assert anchor_frames(chosen, own, posed, kind) == anchors


def test_a_range_is_edited_between_its_keys_too() -> None:
    keys = [1, 10, 20, 30, 40]
    assert anchor_frames([15, 20, 30, 34], keys, keys, "FRAMES", as_range=True) == {14: -1, 35: 1}
    assert anchor_frames([1, 10, 20, 30, 40], keys, keys, "FRAMES", as_range=True) == {}
