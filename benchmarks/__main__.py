# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks one after the other; see the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(module: str, folder: Path) -> int:
    """Run a module; its JSON lines go to standard output, what libraries print there to standard error."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True, file=sys.stdout if line.startswith("{") else sys.stderr)
    return process.returncode


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; the exit status is the number of those that failed."""
    folder = Path(__file__).parent
    known = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))
    unknown = set(names) - set(known)
    if unknown:
        print(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr
        )
        return 1
    failed = 0
    for name in names or known:
        status = run(f"benchmarks.{name}", folder.parent)
        if status:
            print(f"benchmark {name} failed with status {status}", file=sys.stderr)
            failed += 1
    return failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
