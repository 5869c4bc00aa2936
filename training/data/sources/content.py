# SPDX-License-Identifier: Apache-2.0
"""Opens a file by what is in it, not by its name: npz, npy, pickle, JSON or BVH. Nothing in a file is ever run."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from backend.body.pickles import ForbiddenPickleError, read_pickle

from .clip import Content, PoseFileError, UnknownFormatError

_UNUSABLE: Final = (
    BadZipFile, zlib.error, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, NotImplementedError,
)  # fmt: skip
"""What reading a damaged file, or one that is not as its format says, ends with."""


@contextmanager
def open_content(path: Path) -> Iterator[Content]:
    """The content of a file; arrays of an npz are read when they are asked for.

    Raises:
        FileNotFoundError: no such file.
        PoseFileError: the file is damaged, or of no kind that is known here. Also where an array, read inside the
            ``with``, turns out to be damaged.
    """
    with path.open("rb") as file:
        head = file.read(64)
    try:
        if head.startswith(b"PK\x03\x04"):
            with np.load(path, allow_pickle=False) as arrays:
                if not isinstance(arrays, Mapping):
                    raise UnknownFormatError(f"{path} is a zip file, but none of arrays")
                if set(arrays) == {"results"}:
                    raise PoseFileError(f"{path} was not opened: {_ROMP}")
                yield arrays
        elif head.startswith(b"\x93NUMPY"):
            yield {"poses": np.load(path, allow_pickle=False)}
        elif head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"HIERARCHY"):
            yield path.read_text(encoding="utf-8-sig", errors="replace")
        elif head.lstrip().startswith((b"{", b"[")):
            yield _named(path, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix.lower() == ".bvh":
            raise PoseFileError(f"{path} cannot be read: a BVH file begins with the word HIERARCHY")
        else:
            yield _named(path, read_pickle(path))
    except PoseFileError:
        raise
    except ForbiddenPickleError as error:
        foreign = error.module.startswith(("torch", "joblib"))
        hint = "save its values as numpy arrays in an npz" if foreign else "only arrays may be in it"
        raise PoseFileError(f"{path} was not opened: {error}; {hint}") from None
    except _UNUSABLE as error:
        raise PoseFileError(f"{path} cannot be read: {_reason(error)}") from error


_ROMP: Final = (
    "it is ROMP's output, a pickled dictionary inside an npz; save its poses as an array: "
    "numpy.savez('poses.npz', poses=numpy.load(FILE, allow_pickle=True)['results'][()]['smpl_thetas'])"
)
_GLAMR: Final = (
    "it is GLAMR's output, with several people; save one of them as an npz: numpy.savez('poses.npz', "
    "global_orient=person['smpl_orient_world'], body_pose=person['smpl_pose'])"
)


def _named(path: Path, value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict) and "person_data" in value:
        raise PoseFileError(f"{path} was not opened: {_GLAMR}")
    if not isinstance(value, dict):
        raise UnknownFormatError(f"{path} holds a {type(value).__name__}, not named poses")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]!r}"
    return str(error) or type(error).__name__
