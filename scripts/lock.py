# SPDX-License-Identifier: Apache-2.0
"""``make lock``: writes down the versions that are installed here, and the hashes of their files.

``requirements.lock`` has the versions, for pip's ``--constraint``; ``requirements.hashes`` the same with the hashes of
every file that each release has, for all systems and Pythons, which is what scripts/setup.sh installs.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "requirements.lock"
HASHES: Final = ROOT / "requirements.hashes"
HEAD: Final = "# {what} Made by 'make lock', with Python 3.11.\n"
OF_PYTHONS: Final = {
    "bpy": ("{here} ; python_version < '3.12'", "bpy==5.2.3 ; python_version >= '3.13'"),
    "numpy": ("{here} ; python_version < '3.13'", "numpy==2.3.5 ; python_version >= '3.13'"),
    "mediapipe": ("{here} ; python_version < '3.13'",),
}
"""Where another Python needs another version, or has none."""


def main() -> None:
    """Write both."""
    if sys.version_info[:2] != (3, 11):
        sys.exit("the lock is made with Python 3.11, which the tests run with")
    if find_spec("ray") is not None:
        sys.exit("Ray is installed, which the lock leaves out: rm -r .venv, make setup, then try again")
    frozen = _output(sys.executable, "-m", "pip", "freeze", "--exclude-editable").replace("+cpu\n", "\n")
    lines = [
        line.format(here=here)
        for here in sorted(frozen.splitlines(), key=str.lower)
        for line in OF_PYTHONS.get(here.split("==")[0], ("{here}",))
    ]
    LOCK.write_text(
        HEAD.format(what="The versions that the tests ran with, for pip's --constraint.")
        + "\n".join(lines)
        + "\n"
    )
    hashes = _output(
        Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
        "--no-deps", "--generate-hashes", "--no-header", "--no-annotate", LOCK,
    )  # fmt: skip
    # uv writes the full version, by which Ubuntu 22.04's Python 3.11, a release candidate, is none to its pip.
    hashes = hashes.replace("python_full_version", "python_version")
    HASHES.write_text(
        HEAD.format(what="The same as requirements.lock, with the hashes of the files.") + hashes
    )


def _output(*command: str | Path) -> str:
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
