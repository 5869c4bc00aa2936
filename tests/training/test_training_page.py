# SPDX-License-Identifier: Apache-2.0
"""Every command of docs/training.md runs, on small stand-ins in the raw release formats: so the page cannot rot."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from backend.cli import main
from training.recipe import load_recipe

from . import released_files
from .conftest import not_launched
from .test_adapters import llava  # noqa: F401 - a fixture
from .test_released import Release

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "training.md"
SMALL_RUN = (
    "run.steps=2", "run.micro_batch=2", "run.accumulation=1", "run.checkpoint_steps=2", "run.log_steps=1",
    "run.threads=1", "run.max_minutes=0", "run.keep=1", "data.validation_samples=2", "data.bucket_batches=1",
    "data.workers=1",
)  # fmt: skip
ELSEWHERE = {
    "make train-mini": "test_recipe.py",
    "python -m training.on_gpu ": "test_on_gpu.py",
    "python -m training.on_gpu_7b": "test_on_gpu_7b.py",
    "deepspeed --hostfile hosts": "test_processes.py",
}
"""Beginnings of commands that other tests beside this file try: a recipe of many processes, or one for several hosts,
which are started by DeepSpeed's launcher on the one that there is."""


def commands_of(page: Path) -> list[str]:
    """The commands of a page's shell blocks, without comments, what is fed to ``cat`` left out."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
        block = re.sub(r"^cat > .*?^EOF\n", "", block, flags=re.M | re.S).replace("\\\n", " ")
        for line in block.splitlines():
            command, _, comment = line.partition(" #") if not line.startswith("#") else ("", "", "")
            if command.strip():
                found.append(" ".join(command.split()))
                if "and -val" in comment:
                    found.append(re.sub(r"--output (\S+)", r"--split val --output \1-val", found[-1]))
    return found


def small(command: str) -> list[str]:
    """The same with few samples and steps."""
    words = shlex.split(command)
    names = {"RUN": "runs/mini/stage3", "FOLDER": f"runs/exported-{len(command)}", "OUT": "runs/on-gpu"}
    words = [names.get(word, word) for word in words]
    for option, value in (
        ("--count", "8"), ("--shard-size", "8"), ("--workers", "1"), ("--minutes", "1"), ("--num_gpus", "2"),
        ("--device", "cpu"),
    ):  # fmt: skip
        if option in words:
            words[words.index(option) + 1] = value
    words = [
        {"--nproc_per_node=8": "--nproc_per_node=2", "--nnodes=2": "--nnodes=1",
         "--rdzv_endpoint=node1:29500": "--rdzv_endpoint=127.0.0.1:0"}.get(word, word)
        for word in words
    ]  # fmt: skip
    if "build" in words and "--shard-size" not in words:
        words += ["--shard-size", "8"]
    if "train" in words and "--estimate-memory" not in words:
        words += [part for change in SMALL_RUN for part in ("--set", change)]
        if words[0] in ("torchrun", "deepspeed"):
            words += ["--set", f"output=runs/launched-{words[0]}-{len(command)}"]
    if "training.variants" in words:
        words += ["--steps", "2", "--samples", "16"]
    if "training.view" in words:
        words += ["--minutes", "0.05", "--sentences", "48"]
    if "training.wish" in words:
        words += ["--sentences", "48"]
    if "eval" in words:
        words += ["--count", "2", "--threads", "1"]
    if "train-retrieval" in words:
        words += ["--steps", "2", "--threads", "1"]
    return words


def order(command: str) -> int:
    """Data first, then what trains on them in the order of the page, what measures, and the launchers."""
    if "data build" in command:
        return 0
    measures = ("train-retrieval", "posellava eval", "torchrun", "deepspeed")
    return next((place for place, words in enumerate(measures, 2) if words in command), 1)


def run(words: list[str], folder: Path) -> None:
    """Runs one command in the folder, a training in a process of its own; what fails tells its own words."""
    if words[0] == "posellava" and words[1] not in ("serve", "train"):
        assert main(words[1:]) == 0, words
        return
    words = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    environment = not_launched() | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "DS_ACCELERATOR": "cpu",
    }
    if words[1] == "serve":
        serving = subprocess.Popen(
            [*words, "--port", "0"], cwd=folder, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert serving.stdout is not None
        said = next((line for line in serving.stdout if "ws://" in line), None)
        serving.terminate()
        serving.wait(600)
        assert said
        return
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{words}: {done.stderr[-3000:]}"


@pytest.fixture
def checkout(tmp_path: Path, llava: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder in which the page's commands find what they name."""
    for folder in ("training", "backend"):  # the configurations, and the weights that the reader goes on from
        (tmp_path / folder).symlink_to(REPOSITORY / folder)
    llava.rename(tmp_path / "llava-v1.6-mistral-7b-hf")
    Release().save(tmp_path / "Posellava")
    released_files.amass(tmp_path / "AMASS")
    released_files.one_recording(tmp_path / "POSES.npz")
    released_files.labelled_recordings(tmp_path / "LABELLED.npz")
    released_files.posescript(tmp_path / "POSESCRIPT")
    released_files.posefix(tmp_path / "POSEFIX")
    released_files.human36m(tmp_path / "HUMAN36M.npz", tmp_path / "HUMAN36M")
    released_files.threedpw(tmp_path / "3DPW")
    released_files.llava_instructions(tmp_path / "llava_instruct_150k.json", tmp_path / "COCO" / "train2017")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page_are_found_and_made_small() -> None:
    commands = commands_of(PAGE)
    assert len(commands) > 35
    assert all(
        command.split()[0] in ("make", "posellava", "python", "torchrun", "deepspeed") for command in commands
    )
    assert any("--split val --output data/posescript-val" in command for command in commands)
    for beginning, file in ELSEWHERE.items():
        assert any(command.startswith(beginning) for command in commands)
        assert (Path(__file__).parent / file).is_file()
    assert small("posellava data build x --count 131072 --output y # z")[:6] == [
        "posellava", "data", "build", "x", "--count", "8",
    ]  # fmt: skip


def of_mini(command: str) -> bool:
    return any(name in command for name in ("POSES.npz", "mini", "RUN FOLDER"))


def run_all(folder: Path, commands: list[str]) -> None:
    here = [command for command in commands if not command.startswith(tuple(ELSEWHERE))]
    assert len(here) > 10
    for command in sorted(here, key=order):
        run(small(command), folder)


@pytest.mark.full
def test_released_files_are_built_as_the_page_says(checkout: Path) -> None:
    for command in commands_of(PAGE):
        if "data build" in command:
            run(small(command), checkout)


@pytest.mark.full
def test_the_pages_commands_for_mini_run(checkout: Path) -> None:
    for name, size in load_recipe().data.items():  # those that the page leaves to the reader
        file = "LABELLED.npz" if size.source == "actions" else "POSES.npz"
        poses = [] if size.source in ("descriptions", "situations") else ["--poses", file]
        command = ["posellava", "data", "build", size.source, *poses, "--output", f"runs/data/{name}"]
        command += ["--seed", str(size.seed), "--split", size.split]
        run([*command, "--count", "8", "--shard-size", "8"], checkout)
    run_all(checkout, [command for command in commands_of(PAGE) if of_mini(command)])


@pytest.mark.full
def test_the_pages_commands_for_7b_run(checkout: Path) -> None:
    run_all(checkout, [command for command in commands_of(PAGE) if not of_mini(command)])
