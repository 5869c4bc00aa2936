# SPDX-License-Identifier: Apache-2.0
"""What is installed is locked: versions in requirements.lock, the files' hashes in requirements.hashes, alike."""

from __future__ import annotations

import re
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
NOT_SET_UP = {"ray"}
"""Extras that scripts/setup.sh does not install."""


def listed(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if line and not line.startswith(("#", " "))]


def pins(file: str) -> dict[str, set[str]]:
    """The versions of each package, by its name."""
    found: dict[str, set[str]] = {}
    for pin in listed(file):
        found.setdefault(canonicalize_name(pin.name), set()).add(str(pin.specifier))
    return found


def test_a_python_that_is_a_release_candidate_gets_all_packages_of_its_version() -> None:
    """Ubuntu 22.04 has 3.11.0rc1, and the pip of that time takes it for none where full versions are compared."""
    for file in ("requirements.lock", "requirements.hashes"):
        assert not [str(pin) for pin in listed(file) if "python_full_version" in str(pin.marker)]


def test_versions_and_hashes_are_of_one_making() -> None:
    assert pins("requirements.hashes") == pins("requirements.lock"), "run: make lock"
    blocks = re.split(r"\n(?=[^\s#])", (ROOT / "requirements.hashes").read_text("utf-8"))
    assert all("--hash=sha256:" in block for block in blocks[1:])


def test_all_that_the_project_asks_for_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra, needs in project["optional-dependencies"].items():
        wanted += [] if extra in NOT_SET_UP else needs
    locked = pins("requirements.lock")
    for need in map(Requirement, wanted):
        name = canonicalize_name(need.name)
        if name == "posellava":
            continue
        assert name in locked, f"{need} is not locked: install it, then make lock"
        assert any(need.specifier.contains(version.removeprefix("==")) for version in locked[name]), (
            f"{need} is locked to {locked[name]}: make lock"
        )


def test_what_is_not_set_up_is_not_locked() -> None:
    assert not NOT_SET_UP & pins("requirements.lock").keys(), "make it without them, in a new .venv"
