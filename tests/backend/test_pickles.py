# SPDX-License-Identifier: Apache-2.0
"""Pickles of arrays are read as pickle itself would read them; whatever else they ask for is refused and never run."""

from __future__ import annotations

import os
import pickle
import random
import struct
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from backend.body.pickles import ForbiddenPickleError, parse_pickle, read_pickle

rng = np.random.default_rng(0)
MATRIX = np.where(rng.random((5, 7)) < 0.3, rng.normal(size=(5, 7)), 0.0)
CONTENT: dict[str, Any] = {
    "plain": [None, True, False, 0, -1, 255, 70_000, 2**40, -(2**70), 0.25, "text", "ä漢🙂", b"bytes", b""],
    "nested": {"a": (1, (2,), [3, {"b": 4}]), 5: (), "pair": (1, 2), "triple": (1, 2, 3)},
    "ordered": OrderedDict([("x", 1), ("y", np.zeros(2))]),
    "fortran": np.asfortranarray(rng.normal(size=(3, 4))),
    "big-endian": rng.normal(size=(2, 3)).astype(">f4"),
    "half": np.arange(4, dtype=np.float16),
    "indices": np.array([[2**32 - 1, 0]], dtype=np.uint32),
    "flags": np.array([True, False]),
    "texts": np.array(["male", "ä"]),
    "letters": np.array([b"ab", b"c"]),
    "none of them": np.zeros((0, 3)),
    "scalar": np.float64(2.5),
    "integer": np.int32(-7),
    "name": np.str_("neutral"),
    "objects": np.array([np.zeros(2), "x", None], dtype=object),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(other, np.ndarray) and other.dtype == object:
        other = list(other)
    if isinstance(other, (np.ndarray, np.generic)):
        return np.asarray(one).dtype == np.asarray(other).dtype.newbyteorder("=") and np.array_equal(
            one, other
        )
    if isinstance(other, dict):
        return (
            isinstance(one, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in other)
        )
    if isinstance(other, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_and_arrays_are_read_as_pickle_reads_them(protocol: int) -> None:
    for name, value in CONTENT.items():
        assert same(parse_pickle(pickle.dumps(value, protocol)), value), name
    assert same(parse_pickle(pickle.dumps(CONTENT, protocol)), CONTENT)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
def test_sparse_matrices_are_written_out(form: str, protocol: int) -> None:
    matrix = getattr(sparse, f"{form}_matrix")(MATRIX)
    np.testing.assert_array_equal(parse_pickle(pickle.dumps({"J": matrix}, protocol))["J"], MATRIX)


def test_python_2s_strings_are_read_as_latin_1() -> None:
    data = np.array([1.5, -2.5]).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS"
        + repr(data)[1:].encode()
        + b"\ntb."
    )
    np.testing.assert_array_equal(parse_pickle(array), [1.5, -2.5])
    assert parse_pickle(b"S'\\xe4'\n.") == "ä"
    assert parse_pickle(b"U\x01\xe4.") == "ä"


class Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_function_is_called(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(ForbiddenPickleError, match="system"):
        parse_pickle(pickle.dumps(Runs(os.system, (f"touch {mark}",)), protocol))
    # Of numpy, too, only what arrays are written with is known.
    with pytest.raises(ForbiddenPickleError, match="numpy"):
        parse_pickle(pickle.dumps(Runs(np.fromfile, ("/etc/passwd", np.uint8)), protocol))
    assert not mark.exists()


def test_an_array_of_objects_whose_state_is_forged_builds_nothing(tmp_path: Path) -> None:
    """With numpy's own __setstate__ this made an array of pointers of the file's choosing."""
    forged = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        b"(I1\n(I1\ntcnumpy\ndtype\n(U\x02O8I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI63\ntbI00\n"
        b"U\x08AAAAAAAAtb."
    )
    with pytest.raises(ValueError, match="array of objects"):
        parse_pickle(forged)


TYPE = b"cnumpy\ndtype\n(U\x02f8I0\nI1\ntR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
CSC = b"cscipy.sparse._csc\ncsc_matrix\n)\x81"
HOSTILE: dict[str, bytes] = {
    "a type as a class": b"cnumpy\ndtype\n)\x81.",
    "a type built twice with itself": TYPE + b"2b.",
    "an array type with fields": b"cnumpy\ndtype\n(U\x05V8,i4I0\nI1\ntR.",
    "a type of a million bytes": b"cnumpy\ndtype\n(U\x09S99999999I0\nI1\ntR.",
    "an array built of a dictionary": ARRAY + b"}b.",
    "an array without values": ARRAY + b".",
    "a shape without end": ARRAY + b"(I1\n(I9999999999\nI9999999999\nt" + TYPE + b"I00\nU\x08AAAAAAAAtb.",
    "a negative shape": ARRAY + b"(I1\n(I-1\nt" + TYPE + b"I00\nU\x08AAAAAAAAtb.",
    "an array as a class": b"cnumpy\nndarray\n(I5\ntR.",
    "an array of another class": (
        b"cnumpy.core.multiarray\n_reconstruct\n(ccollections\nOrderedDict\n(I0\ntU\x01btR."
    ),
    "a function left over": b"cnumpy.core.multiarray\n_reconstruct\n.",
    "a list that holds itself": b"]q\x002a.",
    "a dictionary that holds itself": b"}q\x00U\x01xh\x00s.",
    "lists that hold lists a billion times": (
        b"]p0\n0" + b"".join(b"](" + b"g%d\n" % (n - 1) * 16 + b"ep%d\n0" % n for n in range(1, 13)) + b"g12\n."
    ),
    "brackets without end": b"]" * 100_000 + b"a" * 99_999 + b".",
    "bytes without end": b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a long number of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a place of a million digits": b"Np" + b"9" * 1_000_000 + b"\n.",
    "nothing on the stack": b"0000.",
    "two of nothing": b"\x86.",
    "an open mark": b"((((.",
    "no mark": b"Nt.",
    "a name that is no text": b"I1\nI2\n\x93.",
    "an extension's code": b"\x82\x01.",
    "another process's object": b"U\x01xQ.",
    "an instance of a class": b"(ios\nsystem\n.",
    "a list called": b"])R.",
    "a bad csc matrix": CSC + b"(dU\x06_shape(I5\nI5\ntsU\x06indptrNsb.",
    "a matrix without end": CSC + b"(dU\x06_shape(I99999999\nI99999999\ntsb.",
    "a text of characters that do not exist": (
        ARRAY + b"(I1\n(I1\ntcnumpy\ndtype\n(U\x02U1I0\nI1\ntRI00\nU\x04\xff\xff\xff\xfftb."
    ),
    "nothing": b"",
    "no end": b"N",
    "noise": b"no pickle at all",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_a_value_error_with_a_short_sentence(name: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (two kinds of it, many sentences)
        parse_pickle(HOSTILE[name])
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
    assert "0x" not in str(caught.value)


@pytest.fixture
def unlimited_digits() -> Iterator[None]:
    """As in the release candidates of Python 3.11, which have no limit of their own."""
    if not hasattr(sys, "set_int_max_str_digits"):
        yield
        return
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(limit)


@pytest.mark.usefixtures("unlimited_digits")
def test_how_many_digits_are_read_is_not_left_to_the_python_that_reads() -> None:
    assert parse_pickle(b"L-" + b"9" * 4300 + b"L\n.") == 1 - 10**4300
    for code in (b"I", b"L", b"Np"):
        with pytest.raises(ValueError, match="more than 4300 digits"):
            parse_pickle(code + b"9" * 5000 + b"\n.")


def bad_matrix(**changes: Any) -> bytes:
    matrix = sparse.csc_matrix(MATRIX)
    for name, value in changes.items():
        setattr(matrix, name, value)
    return pickle.dumps(matrix, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.full(np.count_nonzero(MATRIX), 2**30, np.int32)},
        {"indices": np.full(np.count_nonzero(MATRIX), -1, np.int32)},
        {"indptr": np.array([0, 2**30, 3, 3, 3, 3, 3, 3], np.int32)},
        {"indptr": np.array([0, 9, 1, 2, 3, 4, 5, np.count_nonzero(MATRIX)], np.int32)},
        {"indptr": np.zeros(3, np.int32)},
        {"data": np.zeros(1)},
        {"data": np.array(["a"] * np.count_nonzero(MATRIX))},
    ],
)
def test_a_sparse_matrix_that_points_outside_itself_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sparse matrix"):
        parse_pickle(bad_matrix(**changes))


def test_a_far_place_takes_no_memory() -> None:
    assert parse_pickle(b"Nr\xff\xff\xff\xff.") is None  # pickle itself makes a table of four billion places


def test_only_an_ordinary_file_is_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.pkl"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match="no ordinary file"):
            read_pickle(path)
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "nowhere.pkl")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_damaged_pickles_end_in_an_error_or_in_plain_values(protocol: int) -> None:
    whole, dice = pickle.dumps(CONTENT, protocol), random.Random(protocol)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            value = parse_pickle(
                bytes(damaged[: dice.randint(1, len(damaged))] if dice.random() < 0.2 else damaged)
            )
        except ValueError:
            continue
        assert plain(value)


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind != "O"
    return value is None or isinstance(value, (bool, int, float, str, bytes, np.generic))
