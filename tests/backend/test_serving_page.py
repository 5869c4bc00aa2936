# SPDX-License-Identifier: Apache-2.0
"""What the page about serving gives to copy: the unit is one that systemd reads, the container is of what there is."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import tomllib

from backend import serve

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
COMMAND = "/opt/posellava/.venv/bin/posellava"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze reads the unit")
def test_systemd_finds_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    unit = block("ini")
    assert COMMAND in unit
    file = tmp_path / "posellava.service"
    file.write_text(unit.replace(COMMAND, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, check=False
    )
    # What it says of other units of this machine is no matter here.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "posellava" in line]
    assert (done.returncode, said) == (0, [])


def test_systemd_is_asked_only_for_options_that_there_are() -> None:
    (command,) = re.findall(r"^ExecStart=(.*)$", block("ini"), re.MULTILINE)
    program, name, *options = shlex.split(command)
    assert (program, name) == (COMMAND, "serve")
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    parser.parse_args(options)


def test_the_container_is_made_of_what_there_is() -> None:
    lines = [line.split(maxsplit=1) for line in block("dockerfile").splitlines()]
    assert [name for name, _ in lines] == [
        "FROM", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"
    ]  # fmt: skip
    given = dict(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "metrics" in project["optional-dependencies"]
    assert "/src[metrics]" in given["RUN"]
    assert "/src/requirements.lock" in given["RUN"]
    assert (ROOT / "requirements.lock").is_file()
    assert f"useradd --system --uid {given['USER']} posellava" in given["RUN"]
    entry = json.loads(given["ENTRYPOINT"])
    assert entry[:2] == [next(iter(project["scripts"])), "serve"]
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    assert f":{parser.parse_args(entry[2:]).port}/healthz" in given["HEALTHCHECK"]
    assert given["EXPOSE"] == str(parser.parse_args([]).port)
