# SPDX-License-Identifier: Apache-2.0
"""Reads the YAML files of sentences and words. Imports nothing of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, which is about ten times as fast, where PyYAML was built with it."""


def read_yaml(path: Path) -> Any:
    """What the file holds.

    Raises:
        yaml.YAMLError: it cannot be read; the message names line and column.
    """
    return yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
