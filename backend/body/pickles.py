# SPDX-License-Identifier: Apache-2.0
"""Opens pickles without letting them run code: plain containers, numpy arrays and scipy sparse matrices come through.

Body models and most recorded poses are handed around as pickles, and a pickle opened with full powers can do anything.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final

_ALLOWED: Final = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # how newer Pythons write the bytes of an array for older ones
    ("__builtin__", "bytes"),  # and empty ones
    ("builtins", "bytes"),
    ("collections", "OrderedDict"),
    *((f"scipy.sparse.{module}", "csc_matrix") for module in ("csc", "_csc")),
    *((f"scipy.sparse.{module}", "csr_matrix") for module in ("csr", "_csr")),
    *((f"scipy.sparse.{module}", "coo_matrix") for module in ("coo", "_coo")),
}


class ForbiddenPickleError(ValueError):
    """The pickle asks for more than arrays.

    Attributes:
        module: where what it asks for is.
        name: what it asks for.
    """

    def __init__(self, module: str, name: str) -> None:
        super().__init__(f"it asks for {module}.{name}")
        self.module = module
        self.name = name


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise ForbiddenPickleError(module, name)


def read_pickle(path: Path) -> Any:
    """What the file holds; strings of Python 2 are read as latin-1.

    Raises:
        ForbiddenPickleError: it asks for anything but containers and arrays.
        ValueError: it is no pickle, or a damaged one.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _ArraysOnly(file, encoding="latin1").load()
    except (ForbiddenPickleError, OSError):
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"it is no readable pickle ({error})") from error
