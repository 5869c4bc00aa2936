# SPDX-License-Identifier: Apache-2.0
"""Every benchmark runs to its end and prints figures; the counts are cut down, so the figures mean nothing here."""

from __future__ import annotations

import json

import pytest

from benchmarks import addon, data, training


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return {line["name"]: line["value"] for line in lines}


def test_pairs_and_captions_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in {"BATCH": 32, "ROUNDS": 1, "WARM_UP": 0}.items():
        monkeypatch.setattr(data, name, count)
    data.main()
    figures = printed(capsys)
    assert set(figures) == {"posepart_triplets_per_s", "captions_per_s"}
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_the_extensions_edits_and_blocking_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in {"ROUNDS": 2, "WARM_UP": 1, "RANGE_FRAMES": 3}.items():
        monkeypatch.setattr(addon, name, count)
    addon.main()
    figures = printed(capsys)
    assert set(figures) == {"edit_round_trip_ms", "addon_block_ms", "addon_block_view_ms"}
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_training_is_timed_beside_a_plain_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in {"STEPS": 3, "WARM_STEPS": 1, "SAMPLES": 64}.items():
        monkeypatch.setattr(training, name, count)
    training.main()
    assert printed(capsys)["train_samples_per_s"] > 0
