# SPDX-License-Identifier: Apache-2.0
"""Every benchmark runs to its end and prints figures; the counts are cut down, so the figures mean nothing here."""

from __future__ import annotations

import json
from types import ModuleType

import pytest

from benchmarks import addon, data, engines, server, training


@pytest.mark.parametrize(
    ("benchmark", "counts", "names"),
    [
        (data, {"BATCH": 32, "ROUNDS": 1, "WARM_UP": 0}, {"posepart_triplets_per_s", "captions_per_s"}),
        pytest.param(
            addon,
            {
                "ROUNDS": 2,
                "WARM_UP": 1,
                "RANGE_FRAMES": 3,
                "BATCH_FRAMES": 3,
                "READ_FRAMES": 5,
                "READ_BONES": 40,
            },
            {
                "edit_round_trip_ms",
                "addon_block_ms",
                "addon_block_view_ms",
                "read_1000_s",
                "batch_250_keys_s",
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            engines,
            {"ROUNDS": 4, "BATCHES": 1, "POSES": 3, "STARTS": 1},
            {
                "edit_ms",
                "edit_under_load_ratio",
                "edit_with_turns_ms",
                "estimate_ms",
                "start_s",
                "batch_250_s",
                "rss_mb",
                "install_mb",
                "zip_mb",
                "first_edit_s",
                "load_average",
            },
            marks=pytest.mark.full,
        ),
        pytest.param(
            server,
            {
                "SECONDS": 1,
                "WARM_UP": 8,
                "GROWTH_EDITS": 64,
                "PICTURES": 2,
                "PICTURE_SIDE": 300,
                "PEAK_POSES": 8,
                "MANY_POSES": 16,
            },
            {"edits_per_s", "fairness_edit", "fairness_picture", "rss_growth_mb", "rss_peak_mb"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            training,
            {"STEPS": 3, "WARM_STEPS": 1, "SAMPLES": 64},
            {"train_samples_per_s"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_benchmark_prints_its_figures(
    benchmark: ModuleType,
    counts: dict[str, int],
    names: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, count in counts.items():
        assert isinstance(getattr(benchmark, name), int)
        monkeypatch.setattr(benchmark, name, count)
    benchmark.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    figures = {line["name"]: line["value"] for line in lines}
    assert set(figures) == names
    assert min(value for name, value in figures.items() if name != "rss_growth_mb") > 0
