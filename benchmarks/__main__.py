# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks one after the other; see the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=folder.parent, check=False)
        if done.returncode:
            print(f"benchmark {name} failed with status {done.returncode}", file=sys.stderr)
            failed += 1
    return failed


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
