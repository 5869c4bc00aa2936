# SPDX-License-Identifier: Apache-2.0
"""Run the demo: ``python demo/run.py``. Writes out/demo.blend and out/demo.png, and prints what moved and how fast."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import build_addon  # noqa: E402
from demo.sheet import compose  # noqa: E402

BLENDER_SECONDS: Final = 480
"""Blender's module can hang when the process ends; then it is killed."""


@contextlib.contextmanager
def backend(model: str | None) -> Iterator[tuple[str, str]]:
    """``posellava serve`` on a free loopback port: its URL and token. Stopped on leaving.

    Args:
        model: folder of a model; None for the one that ships.
    """
    command = [str(Path(sys.executable).parent / "posellava"), "serve", "--port", "0"]
    command += ["--model", model] if model else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        if not line or line[0] != "listening":
            raise SystemExit("demo: the backend did not start; what it says is above.")
        yield line[1], line[2].removeprefix("token=")
    finally:
        process.terminate()
        process.wait(timeout=60)


def main() -> None:
    """Build, serve, pose, render."""
    parser = argparse.ArgumentParser(description="The main job from end to end, in headless Blender.")
    parser.add_argument(
        "--model", help="folder of a saved model for a backend of its own (default: the extension's backend)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out", help="folder for demo.blend and demo.png")
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    (extension,) = build_addon.build()
    print(f"Built {extension.relative_to(ROOT)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="posellava-demo-") as folder, contextlib.ExitStack() as stack:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSELLAVA_")}
        environment["BLENDER_USER_RESOURCES"] = folder
        if options.model:
            url, token = stack.enter_context(backend(options.model))
            environment |= {"POSELLAVA_URL": url, "POSELLAVA_TOKEN": token}
        print(f"Backend: {options.model or 'the one that the extension carries'}", flush=True)
        command = [
            sys.executable,
            str(ROOT / "demo" / "scene.py"),
            str(extension),
            folder,
            str(out / "demo.blend"),
        ]
        subprocess.run(command, env=environment, check=True, timeout=BLENDER_SECONDS)
        reports = json.loads((Path(folder) / "reports.json").read_text())
        compose(reports, Path(folder), out / "demo.png")
    print(f"Saved {out / 'demo.blend'} and {out / 'demo.png'}")


if __name__ == "__main__":
    main()
