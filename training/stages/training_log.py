# SPDX-License-Identifier: Apache-2.0
"""What a run tells: the progress bar, ``metrics.jsonl``, TensorBoard's logs and the curves as a picture."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .curves import draw_curves

SECONDS_BETWEEN_CURVES: Final = 60.0


class TrainingLog:
    """The records of one run; only the first process has one.

    Args:
        folder: the run's output folder.
        step: steps already done; lines of later steps are dropped, so that a resumed run does not tell twice.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._drawn = time.monotonic()
        self._live = sys.stderr.isatty()
        self._bar = tqdm(total=1000, disable=not self._live, bar_format="{percentage:3.0f}%|{bar}| {postfix}")

    def train(self, step: int, values: Mapping[str, float], *, progress: float, seconds_left: float) -> None:
        """One line of the training log."""
        self._write({"step": step, "split": "train", **values})
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        left = (
            f"{seconds_left / 60:.0f} min left"
            if seconds_left < 7200
            else f"{seconds_left / 3600:.1f} h left"
        )
        if self._live:
            self._bar.n = int(1000 * progress)
            self._bar.set_postfix_str(f"step {step} {shown} {left}")
        else:
            print(f"step {step} ({progress:.1%}) {shown} {left}", flush=True)

    def validation(self, step: int, values: Mapping[str, float]) -> None:
        """One line of the validation log, and the curves so far."""
        self._write({"step": step, "split": "validation", **values})
        self.say(
            f"validation at step {step}: " + " ".join(f"{name} {value:.4g}" for name, value in values.items())
        )
        if time.monotonic() - self._drawn > SECONDS_BETWEEN_CURVES:
            self._draw()

    def _draw(self) -> None:
        if importlib.util.find_spec("matplotlib") is not None:  # A bare machine may lack it.
            draw_curves(read_metrics(self.path), self.folder / "curves.png")
        self._drawn = time.monotonic()

    def say(self, sentence: str) -> None:
        """Prints a sentence beside the bar."""
        if self._live:
            self._bar.write(sentence, file=sys.stderr)
        else:
            print(sentence, flush=True)

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in line.items():
            if name not in ("step", "split"):
                self._tensorboard.add_scalar(f"{line['split']}/{name}", value, line["step"])

    def close(self) -> None:
        """Ends the bar and the logs, and draws the curves."""
        self._draw()
        self._bar.close()
        self._tensorboard.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics file; none where there is no file. A last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines
