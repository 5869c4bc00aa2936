# SPDX-License-Identifier: Apache-2.0
"""Reads plain values, numpy arrays and scipy's sparse matrices out of pickles without running anything in them.

A pickle is a program for a stack machine, two of whose instructions call whatever function the file names. Body models
and most recorded poses are handed around as pickles, so this module is a machine of its own that reads the program and
makes nothing but plain containers: a name of a function or class is kept as text, and the few combinations with which
numpy and scipy write arrays are recognised and read as bytes, shape and type. No object of the file is ever created,
called or filled, by pickle or by numpy.

Arrays of objects come out as lists, sparse matrices as dense arrays. Strings of Python 2 are read as latin-1. Needs
numpy and the standard library only.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

MAX_FILE_BYTES: Final = 2**31
MAX_SPARSE_NUMBERS: Final = 2**25
"""Of a sparse matrix that is written out: 268 MB of float64. SMPL-X's joint regressor has half a million."""
MAX_VALUES: Final = 2**26
"""In all lists and dictionaries together, a list that stands in several places counted in each."""
MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 4300
"""Of a number that is written out. Python reads as many itself; its release candidates of 3.11 have no limit, and the
time that they take grows with the square."""

_CORE: Final = ("numpy.core", "numpy._core")
_RECONSTRUCT: Final = {(f"{core}.multiarray", "_reconstruct") for core in _CORE}
_SCALAR: Final = {(f"{core}.multiarray", "scalar") for core in _CORE}
_FROM_BUFFER: Final = {(f"{core}.numeric", "_frombuffer") for core in _CORE}
_NDARRAY: Final = ("numpy", "ndarray")
_DTYPE: Final = ("numpy", "dtype")
_ENCODE: Final = ("_codecs", "encode")  # how newer Pythons write the bytes of an array for older ones
_BYTES: Final = {("__builtin__", "bytes"), ("builtins", "bytes")}  # and empty ones
_ORDERED: Final = ("collections", "OrderedDict")
_OBJECT: Final = {("__builtin__", "object"), ("builtins", "object")}
_RECONSTRUCTOR: Final = {("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor")}
_SPARSE: Final = {
    (f"scipy.sparse.{module}", f"{form}_matrix"): form
    for form in ("csc", "csr", "coo")
    for module in (form, f"_{form}")
}
_KNOWN: Final = {
    *_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER, _NDARRAY, _DTYPE, _ENCODE, *_BYTES, _ORDERED, *_OBJECT, *_RECONSTRUCTOR,
    *_SPARSE,
}  # fmt: skip

_INSTRUCTIONS: Final = {item.code.encode("latin-1"): item for item in pickletools.opcodes}

_NUMBERS: Final = re.compile(r"[iu][1248]|f[248]|b1")
_DECIMALS: Final = (pickletools.decimalnl_short, pickletools.decimalnl_long)
_TEXTS: Final = re.compile(r"[SU][1-9]\d{0,3}")

_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES: Final = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_EMPTY: Final[Mapping[str, Callable[[], Any]]] = {
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
}


class ForbiddenPickleError(ValueError):
    """The pickle asks for more than arrays.

    Attributes:
        module: where what it asks for is.
        name: what it asks for.
    """

    def __init__(self, module: str, name: str) -> None:
        super().__init__(f"it asks for {ascii(module)[1:-1][:100]}.{ascii(name)[1:-1][:100]}")
        self.module = module
        self.name = name


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names; never looked up."""

    module: str
    name: str

    @property
    def pair(self) -> tuple[str, str]:
        return self.module, self.name


@dataclass
class _Type:
    """A numpy type in the making: ``f8`` and such, and its byte order."""

    code: str
    order: str = "|"

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(("<" if self.order in "=|" else self.order) + self.code)


@dataclass
class _Array:
    """A numpy array in the making: what the file says about it."""

    state: tuple[Any, ...] | None = None


@dataclass
class _Sparse:
    """A sparse matrix in the making."""

    form: str
    state: dict[Any, Any] = field(default_factory=dict)


def read_pickle(path: Path) -> Any:
    """What the file holds.

    Raises:
        ForbiddenPickleError: it asks for anything but containers and arrays.
        ValueError: it is no pickle, a damaged one, or one that would take too much memory.
        OSError: the file cannot be read.
    """
    if path.exists() and not path.is_file():  # a device or a pipe may never end
        raise ValueError("it is no readable pickle (no ordinary file)")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES >> 30} GiB")
    return parse_pickle(path.read_bytes())


def parse_pickle(data: bytes) -> Any:
    """What the bytes hold; see read_pickle, also for what is raised."""
    try:
        return _Result().plain(_Machine().run(data))
    except ForbiddenPickleError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise ValueError(f"it is no readable pickle ({str(error)[:200] or type(error).__name__})") from error


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each instruction."""
    file = io.BytesIO(data)
    while True:
        code = file.read(1)
        instruction = _INSTRUCTIONS.get(code)
        if instruction is None:
            raise ValueError("it ends too early" if not code else f"unknown instruction {code!r}")
        if instruction.name == "STRING":  # pickletools takes ASCII only
            line = file.readline()
            yield "STRING", codecs.escape_decode(line.strip()[1:-1])[0].decode("latin-1")
        elif instruction.arg in _DECIMALS and _is_long(file):
            raise ValueError(f"a number has more than {MAX_DIGITS} digits")
        else:
            yield instruction.name, None if instruction.arg is None else instruction.arg.reader(file)
        if instruction.name == "STOP":
            return


def _is_long(file: io.BytesIO) -> bool:
    """Whether more digits than MAX_DIGITS come next in the file, which stays where it is."""
    place = file.tell()
    longest = MAX_DIGITS + 3  # with a sign, the letter that ends a long number, and the end of the line
    line = file.readline(longest)
    file.seek(place)
    return len(line) == longest and not line.endswith(b"\n")


class _Machine:
    """What a pickle is a program for: a stack, stacks that MARK puts aside, and numbered values to come back to.

    Arrays stay in the making. Only instructions that build containers and arrays are known.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """The value that the program leaves on its stack."""
        for name, argument in _instructions(data):
            if name == "STOP":
                return self.stack.pop()
            self._step(name, argument)
        raise ValueError("it ends too early")

    def _step(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK" | "POP" | "POP_MARK" | "DUP":
                self._move(name)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "LIST" | "TUPLE" | "DICT" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                made = self._container(name)  # first, as it may put another stack in this one's place
                self.stack.append(made)
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS" | "BUILD":
                self._fill(name)
            case "GLOBAL" | "INST" | "STACK_GLOBAL" | "REDUCE" | "NEWOBJ":
                self.stack.append(self._called(name, argument))
            case _:
                self.stack.append(_constant(name, argument))

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items

    def _move(self, name: str) -> None:
        """What puts stacks aside, takes them back, drops the last value or doubles it."""
        if name == "MARK":
            self._below.append(self.stack)
            self.stack = []
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "POP" and self.stack:
            self.stack.pop()
        else:
            self._since_mark()

    def _container(self, name: str) -> Any:
        """Of all values since the mark, or of as many as the name of a tuple's instruction says."""
        match name:
            case "LIST":
                return self._since_mark()
            case "TUPLE":
                return tuple(self._since_mark())
            case "DICT":
                return _pairs(self._since_mark())
        count = int(name.removeprefix("TUPLE"))
        if len(self.stack) < count:
            raise ValueError("a tuple lacks its values")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def _fill(self, name: str) -> None:
        """What puts into the container below that which lies above it."""
        match name:
            case "APPEND":
                item = self.stack.pop()
                _list(self.stack[-1]).append(item)
            case "APPENDS":
                items = self._since_mark()
                _list(self.stack[-1]).extend(items)
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                _dict(self.stack[-1]).update(_pairs([key, value]))
            case "SETITEMS":
                items = self._since_mark()
                _dict(self.stack[-1]).update(_pairs(items))
            case "BUILD":
                state = self.stack.pop()
                _filled(self.stack[-1], state)

    def _called(self, name: str, argument: Any) -> Any:
        """One of the known names, or what a call of one stands for."""
        if name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            return _made(function, arguments)
        if name == "STACK_GLOBAL":
            named, module = self.stack.pop(), self.stack.pop()
            return _named(module, named)
        module, _, named = argument.partition(" ")
        if name == "INST":
            raise ForbiddenPickleError(module, named)
        return _named(module, named)


def _constant(name: str, argument: Any) -> Any:
    """A text, a number or an empty container that stands in the file as it is."""
    if name in _VALUES:
        return bytes(argument) if isinstance(argument, bytearray) else argument
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name in _EMPTY:
        return _EMPTY[name]()
    raise ForbiddenPickleError("pickle", name)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError("it appends to what is no list")
    return value


def _dict(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise ValueError("it sets items of what is no dictionary")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2 or not all(isinstance(key, (str, int, float, bytes, type(None))) for key in items[::2]):
        raise ValueError("a dictionary's keys must be texts or numbers")
    return dict(zip(items[::2], items[1::2], strict=True))


def _named(module: Any, name: Any) -> _Name:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name is no text")
    if (module, name) not in _KNOWN:
        raise ForbiddenPickleError(module, name)
    return _Name(module, name)


def _made(function: Any, arguments: Any) -> Any:
    """What a call of one of the known names stands for; a call of anything else is refused."""
    if not isinstance(function, _Name) or type(arguments) is not tuple:
        raise ValueError("it calls what is no function")
    pair = function.pair
    match arguments:
        case (_Name(pair=of), *_) if pair in _RECONSTRUCT and of == _NDARRAY:
            return _Array()
        case (str(code), *_) if pair == _DTYPE:
            if not (_NUMBERS.fullmatch(code) or _TEXTS.fullmatch(code) or code in ("O", "O4", "O8")):
                raise ValueError(f"an array has the type {code[:20]!r}")
            return _Type(code)
        case (_Type() as kind, bytes() | str() as data) if pair in _SCALAR:
            return _Array((1, (), kind, False, data))
        case (bytes() as data, _Type() as kind, tuple(shape), str(order)) if pair in _FROM_BUFFER:
            return _Array((1, shape, kind, order == "F", data))
        case (str(text), "latin1" | "latin-1") if pair == _ENCODE:
            return text.encode("latin-1")
        case () if pair in _BYTES:
            return b""
        case () if pair == _ORDERED:
            return {}
        case (list(items),) if pair == _ORDERED and all(
            isinstance(i, (list, tuple)) and len(i) == 2 for i in items
        ):
            return _pairs([part for item in items for part in item])
        case () if pair in _SPARSE:
            return _Sparse(_SPARSE[pair])
        case (_Name(pair=of), _Name(pair=base), None) if (
            pair in _RECONSTRUCTOR and base in _OBJECT and of in _SPARSE
        ):
            return _Sparse(_SPARSE[of])
    raise ForbiddenPickleError(*pair)


def _filled(target: Any, state: Any) -> None:
    match target, state:
        case _Array(state=None), (int(), tuple(), _Type(), bool(), bytes() | str() | list()):
            target.state = state
        case _Type(), (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_):
            target.order = order
        case _Sparse(), dict():
            target.state = state
        case _:
            raise ValueError("it fills in what is no array")


class _Result:
    """Turns what a program leaves into plain values; every container once, however often it stands in the file."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._kept: list[Any] = []  # so that no id is used twice
        self._open: set[int] = set()

    def plain(self, value: Any) -> Any:
        """The value with arrays as numpy arrays."""
        return self._counted(value, 0)[0]

    def _counted(self, value: Any, depth: int) -> tuple[Any, int]:
        """The value, and how many values it holds when all of it is written out."""
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return value, 1
        if id(value) in self._done:
            return self._done[id(value)]
        if id(value) in self._open or depth > MAX_DEPTH:
            raise ValueError("its lists contain each other without end")
        self._open.add(id(value))
        result, count = self._container(value, depth)
        self._open.discard(id(value))
        if count > MAX_VALUES:
            raise ValueError("its lists contain each other too often")
        self._kept.append(value)
        self._done[id(value)] = result, count
        return result, count

    def _container(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, _Array):
            return self._array(value, depth)
        if isinstance(value, _Sparse):
            fields = {name: self.plain_at(item, depth) for name, item in value.state.items()}
            return _dense(value.form, fields), 1
        if isinstance(value, dict):
            items = {key: self._counted(item, depth + 1) for key, item in value.items()}
            return {key: item for key, (item, _) in items.items()}, 1 + sum(n for _, n in items.values())
        if isinstance(value, (list, tuple)):
            parts = [self._counted(item, depth + 1) for item in value]
            return type(value)(item for item, _ in parts), 1 + sum(count for _, count in parts)
        raise ValueError("it holds a function instead of values")

    def plain_at(self, value: Any, depth: int) -> Any:
        return self._counted(value, depth + 1)[0]

    def _array(self, array: _Array, depth: int) -> tuple[Any, int]:
        if array.state is None:
            raise ValueError("an array has no values")
        _, shape, kind, fortran, data = array.state
        if len(shape) > 8 or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
            raise ValueError("an array has an impossible shape")
        count = math.prod(shape)
        if kind.code.startswith("O"):
            if not isinstance(data, list) or len(data) != count or len(shape) > 1:
                raise ValueError("an array of objects does not fit its shape")
            plain, number = self._counted(data, depth + 1)
            return (plain if shape else plain[0]), number
        dtype = kind.numpy()
        raw = data.encode("latin-1") if isinstance(data, str) else data
        if not isinstance(raw, bytes) or len(raw) != count * dtype.itemsize:
            raise ValueError("an array has not as many bytes as its shape says")
        if kind.code == "b1":
            # A bool of any byte but 0 and 1 confuses numpy.
            flat: npt.NDArray[Any] = np.frombuffer(raw, np.uint8) != 0
        else:
            flat = np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))
        if dtype.kind == "U" and (flat.view(np.uint32) > 0x10FFFF).any():
            raise ValueError("an array of texts has characters that do not exist")
        values = flat.reshape(shape, order="F" if fortran else "C")
        return (np.ascontiguousarray(values) if shape else values[()]), 1


def _dense(form: str, state: Mapping[Any, Any]) -> npt.NDArray[Any]:
    """The sparse matrix that scipy's attributes describe, written out; every index is checked first."""
    shape = state.get("_shape", state.get("shape"))
    match shape:
        case (int(rows), int(columns)) if rows >= 0 and columns >= 0 and rows * columns <= MAX_SPARSE_NUMBERS:
            pass
        case _:
            raise ValueError("a sparse matrix has an impossible shape")
    data = state.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 1 or data.dtype.kind not in "fiub":
        raise ValueError("a sparse matrix has no numbers")
    if form == "coo":
        row, column = state.get("coords") or (state.get("row"), state.get("col"))
        row, column = _indices(row, rows, len(data)), _indices(column, columns, len(data))
    else:
        major, minor = (columns, rows) if form == "csc" else (rows, columns)
        starts = _indices(state.get("indptr"), len(data) + 1, major + 1)
        if starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
            raise ValueError("a sparse matrix's rows do not fit its numbers")
        inner = _indices(state.get("indices"), minor, len(data))
        outer = np.repeat(np.arange(major), np.diff(starts))
        row, column = (inner, outer) if form == "csc" else (outer, inner)
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (row, column), data)  # numbers at the same place add up, as in scipy
    return dense


def _indices(value: Any, end: int, count: int) -> npt.NDArray[np.int64]:
    """``count`` whole numbers from 0 to below ``end``."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.shape != (count,):
        raise ValueError("a sparse matrix's indices do not fit its numbers")
    indices = value.astype(np.int64)
    if count and not 0 <= indices.min() <= indices.max() < end:
        raise ValueError("a sparse matrix's indices point outside of it")
    return indices
