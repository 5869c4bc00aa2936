# SPDX-License-Identifier: Apache-2.0
"""Every command that a page gives to type is one that there is: its program, options, values, targets and files.

Commands are read by their own parsers and stop there. That those of docs/training.md also run is seen in
tests/training/test_training_page.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomllib

from backend.cli import main

ROOT = Path(__file__).parents[2]
CARD = ROOT / "backend" / "weights" / "mini" / "README.md"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", CARD, *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
OTHERS_PROGRAMS = {"git", "cd", "ls", "cat", "export", "ray", "your-model"}
OUR_FOLDERS = ("backend/", "blender_addon/", "docs/", "scripts/", "tests/", "training/")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


class Understood(Exception):  # noqa: N818 - it tells of an event
    """A parser took all that it was given."""


def blocks(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks, each a command with its options."""
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            block = re.sub(r"^cat > .*?^EOF\n", "", block, flags=re.M | re.S)
            for line in block.replace("\\\n", " ").splitlines():
                words = re.sub(r"(^|\s)#.*", "", line).strip()
                yield from (part.strip() for part in words.split("&&") if part.strip())


def in_sentences(page: Path) -> Iterator[str]:
    """What stands as code in a page's sentences and begins like a command of the project's."""
    for code in re.findall(r"`([^`]+)`", FENCE.sub("", page.read_text(encoding="utf-8"))):
        code = " ".join(code.split())
        if re.match(r"(posellava [a-z]|make [a-z]|(\.venv/bin/)?python -m [a-z])", code):
            yield code


def cases(commands: Callable[[Path], Iterator[str]]) -> list[Any]:
    """Each command once, named after the first page that has it."""
    first: dict[str, str] = {}
    for page in PAGES:
        for command in commands(page):
            first.setdefault(command, page.relative_to(ROOT).as_posix())
    return [pytest.param(command, id=f"{page}: {command}") for command, page in first.items()]


def target_of_make(words: list[str]) -> None:
    for word in words:
        variable, given, _ = word.partition("=")
        pattern = rf"^{re.escape(variable)} :=" if given else rf"^{re.escape(word)}:"
        assert re.search(pattern, MAKEFILE, re.M), f"the Makefile has no {word}"


def package(words: list[str]) -> None:
    for extra in re.findall(r"posellava\[(\w+)\]", " ".join(words)):
        assert extra in PROJECT["optional-dependencies"]


def start(program: str, words: list[str]) -> None:
    """Hands the words to the program's own parser."""
    if program == "posellava":
        main(words)
        return
    module, arguments = words[0], words[1:]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=False)


def of_the_project(words: list[str]) -> tuple[str, list[str]] | None:
    """("posellava" or "python", what it is given), also behind a launcher; None for other programs."""
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    for launcher in ("-m", "--module"):
        if words[0] in {"python", ".venv/bin/python", "torchrun", "deepspeed"} and launcher in words:
            return "python", words[words.index(launcher) + 1 :]
    return ("posellava", words[1:]) if words[0] == "posellava" else None


def without_streams(words: list[str]) -> list[str]:
    return words[: next((at for at, word in enumerate(words) if word in {"<", ">"}), len(words))]


@pytest.fixture
def parsers_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsers end the command once they have read it."""
    read = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: Any, **options: Any) -> None:
        read(self, *given, **options)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.usefixtures("parsers_stop")
@pytest.mark.parametrize("command", cases(blocks))
def test_a_command_in_a_block_can_be_typed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = without_streams(shlex.split(command.replace("…", "")))
    for word in words:
        if word.startswith(OUR_FOLDERS) and "FILE" not in word:
            assert list(ROOT.glob(word)), f"there is no {word}"
    ours = of_the_project(words)
    if ours is not None:
        try:
            with pytest.raises(Understood):
                start(*ours)
        except SystemExit:
            pytest.fail(capsys.readouterr().err)
    elif words[0] == "make":
        target_of_make(words[1:])
    elif words[0] == "pip":
        package(words)
    elif words[0] == "blender":
        source = (ROOT / "blender_addon" / "cli.py").read_text(encoding="utf-8")
        assert words[words.index("--command") + 1] == "posellava"
        for option in words[words.index("--command") + 3 :]:
            assert not option.startswith("--") or f'"{option}"' in source
    else:
        assert words[0] in OTHERS_PROGRAMS


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", cases(in_sentences))
def test_a_command_in_a_sentence_has_the_options_that_it_names(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = command.replace("…", "").split()
    ours = of_the_project(words)
    if ours is None:
        target_of_make(words[1:])
        return
    program, given = ours
    names = [word for word in given[:2] if re.fullmatch(r"[a-z][a-z0-9_.-]*", word)]
    if program == "python" or names[0] not in {"data", "benchmark"}:
        names = names[:1]
    options = [word for word in given if word.startswith("--")]
    if program == "python" and not options:
        assert importlib.util.find_spec(names[0]), f"there is no {names[0]}"
        return
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(SystemExit) as ended:
        start(program, [*names, "--help"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    for option in options:
        assert re.search(rf"{option}\b", said.out), f"{' '.join(names)} has no {option}"
