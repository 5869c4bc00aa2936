# SPDX-License-Identifier: Apache-2.0
"""The chaos, and a share of the fuzzing for every run of the tests; the whole of it in ``make test-all``."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.robustness import chaos, fuzz


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to stop gracefully on")
def test_chaos_mixes_nothing_up_and_stops_nothing() -> None:
    requests = 10_000
    figures = asyncio.run(chaos.run(requests, seed=1))
    assert figures["wrong"] == []
    assert figures["counts"]["answered"] > requests / 4
    assert figures["counts"]["bad"] >= 0.3 * requests
    assert figures["end_s"] <= 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.02, pytest.param(1.0, marks=[pytest.mark.full, pytest.mark.slow])])
def test_damaged_messages_pictures_and_pickles_end_in_errors(share: float) -> None:
    assert fuzz.run(int(200_000 * share), int(5000 * share), int(5000 * share), seed=int(share * 100)) == []


def test_the_fuzzing_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes) -> None:
        raise KeyError("not what was promised")

    monkeypatch.setattr(fuzz, "parse_pickle", careless)
    assert len(fuzz.run(0, 0, 3)) == 3
