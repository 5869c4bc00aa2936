# SPDX-License-Identifier: Apache-2.0
"""Where commands write: nothing that is read or that is not ours is overwritten, and a full disk is told with its path.

May import nothing of the project.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MODEL_CARD: Final = "README.md"
"""What people wrote about a model; a new model of the same place keeps it."""
_OURS: Final = ("config.json", "base.json")
"""A folder that holds one of these is a model or an adapter, and may be replaced by another."""


def require_apart(output: Path | None, *inputs: Path | None) -> None:
    """Raises ValueError where writing ``output`` would overwrite one of the inputs, or a folder that it is in."""
    if output is None:
        return
    for given in inputs:
        if given is not None and given.exists():
            place, written = given.resolve(), output.resolve()
            if place == written or written in place.parents:
                raise ValueError(f"{output} would overwrite {given}, which is read: write somewhere else")


def require_replaceable(output: Path, *inputs: Path) -> None:
    """Raises ValueError where a model written to ``output`` would overwrite an input, or anything but a model."""
    require_apart(output, *inputs)
    if output.is_file() or output.is_symlink():
        raise ValueError(f"{output} is a file or a link: give a folder for the model")
    if output.is_dir() and any(output.iterdir()) and not any((output / name).is_file() for name in _OURS):
        raise ValueError(
            f"{output} holds other files, and no model that might be replaced: give another folder"
        )


@contextmanager
def model_folder(output: Path, *inputs: Path) -> Iterator[Path]:
    """Yields a new folder to write a model to, which takes the place of ``output`` when the block has succeeded, but
    for the model card that was there.

    Raises:
        ValueError: that would overwrite one of the inputs, or anything but a model.
        OSError: the disk is full.
    """
    require_replaceable(output, *inputs)
    partial, old = (output.with_name(f"{output.name}.{word}") for word in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing_to(output):
            partial.mkdir(parents=True)
            yield partial
            if (output / MODEL_CARD).is_file() and not (partial / MODEL_CARD).exists():
                shutil.copy(output / MODEL_CARD, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    partial.rename(output)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Raises OSError, which names the place, where the block fails because no space is left."""
    try:
        yield
    except Exception as error:
        if is_disk_full(error):
            raise OSError(
                f"the disk of {place.absolute()} is full: free some space, or write elsewhere"
            ) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, means that no space is left.

    torch and safetensors report a failed write as errors of their own.
    """
    while True:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        said = str(error)
        if isinstance(error, RuntimeError) and ("file write failed" in said or "unexpected pos" in said):
            return True
        if "No space left on device" in said:
            return True
        following = error.__cause__ or error.__context__
        if following is None:
            return False
        error = following
