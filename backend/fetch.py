# SPDX-License-Identifier: Apache-2.0
"""``posellava fetch-weights``: a model's folder from an address or another folder, each file with its checksum.

The source holds ``SHA256SUMS`` beside the files, as ``sha256sum * > SHA256SUMS`` writes it. An interrupted download
goes on where it stopped. Checksums that come from the same place tell of damage; who wants to know that nobody changed
the files gives the checksum of ``SHA256SUMS`` itself, got from elsewhere.

Written on urllib, so that installing the backend brings no client for HTTP. May import backend.weight_files.
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Final, Protocol
from urllib.parse import quote, urlsplit

from backend.weight_files import checksum

SUMS: Final = "SHA256SUMS"
MAX_SUMS_BYTES: Final = 2**20
TIMEOUT_SECONDS: Final = 30.0
BLOCK_BYTES: Final = 2**20
_LINE: Final = re.compile(r"([0-9a-fA-F]{64}) [ *]([A-Za-z0-9_][A-Za-z0-9_.-]*)")
_PARTIAL: Final = ".partial"

Progress = Callable[[str, int], None]
"""Called with a file's name and the bytes of it that are there."""


class Source(Protocol):
    """Where files come from."""

    def open(self, name: str, start: int) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """A file, and from which byte on it is read: ``start``, or 0 where the source cannot begin there.

        Raises:
            OSError: it is not there, or cannot be reached.
        """
        ...


def fetch_weights(
    source: str, folder: Path, *, sums: str | None = None, on_progress: Progress = lambda name, there: None
) -> list[str]:
    """Brings a model's files into ``folder``; those that are there and right are not fetched again.

    Args:
        source: an ``https://`` or ``http://`` address of a folder, or the path of one.
        folder: where the files go.
        sums: the SHA-256 that ``SHA256SUMS`` must have; None to believe the source.
        on_progress: told how far it is.

    Returns:
        The names of the files.

    Raises:
        ValueError: the source is none, its list is none or not the one meant, or a file is not what the list says.
        OSError: something cannot be reached or written.
    """
    place = _source(source)
    checksums = _read_sums(place, source, sums)
    folder.mkdir(parents=True, exist_ok=True)
    for name, wanted in checksums.items():
        if not (folder / name).is_file() or checksum(folder / name) != wanted:
            _fetch(place, name, wanted, folder, on_progress)
    return list(checksums)


def _source(source: str) -> Source:
    scheme = urlsplit(source).scheme
    if scheme in ("http", "https"):
        return _Web(source.rstrip("/"))
    if "://" in source:
        raise ValueError(f"{source} cannot be fetched from: give an address with https:// or a folder")
    if not Path(source).is_dir():
        raise FileNotFoundError(
            f"{source} is no folder: give an address with https:// or a folder with {SUMS}"
        )
    return _Folder(Path(source))


def _read_sums(place: Source, source: str, sums: str | None) -> dict[str, str]:
    """The names in the source's list, with their checksums."""
    with place.open(SUMS, 0) as (content, _):
        text = content.read(MAX_SUMS_BYTES + 1)
    found = hashlib.sha256(text).hexdigest()
    if sums is not None and found != sums.lower():
        raise ValueError(
            f"{SUMS} of {source} has the checksum {found}, not {sums}: these are not the files meant"
        )
    matches = [_LINE.fullmatch(line) for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
    checksums = {match[2]: match[1].lower() for match in matches if match}
    if len(text) > MAX_SUMS_BYTES or not checksums or len(checksums) < len(matches) or SUMS in checksums:
        raise ValueError(
            f"{SUMS} of {source} is no list of checksums: make it with 'sha256sum * > {SUMS}' in the model's folder"
        )
    return checksums


def _fetch(place: Source, name: str, wanted: str, folder: Path, on_progress: Progress) -> None:
    partial = folder / (name + _PARTIAL)
    there = partial.stat().st_size if partial.is_file() else 0
    with place.open(name, there) as (content, start), partial.open("r+b" if start else "wb") as written:
        written.seek(start)
        while block := content.read(BLOCK_BYTES):
            written.write(block)
            on_progress(name, written.tell())
        written.truncate()
    found = checksum(partial)
    if found != wanted:
        partial.unlink()
        raise ValueError(
            f"{name} is damaged or was changed: its checksum is {found}, not {wanted}; fetch it again"
        )
    partial.replace(folder / name)


class _Folder:
    """Files of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str, start: int) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """See Source."""
        content = (self._folder / name).open("rb")
        content.seek(start)
        return _Opened(content, start)


class _Web:
    """Files below an address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(_SameScheme)

    def open(self, name: str, start: int) -> AbstractContextManager[tuple[IO[bytes], int]]:
        """See Source."""
        address = f"{self._address}/{quote(name)}"
        request = urllib.request.Request(address, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            answer = self._opener.open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            if error.code == 416 and start:  # all of it is there, or more than that
                return self.open(name, 0)
            raise OSError(
                f"{address} is not to be had: the server says {error.code} {error.reason}"
            ) from None
        except (urllib.error.URLError, HTTPException, TimeoutError) as error:
            raise OSError(f"{address} cannot be reached: {getattr(error, 'reason', error)}") from None
        return _Opened(answer, start if answer.status == 206 else 0)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows no way from https to what others can read and change."""

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req: urllib.request.Request, fp, code, msg, headers, newurl: str
    ) -> urllib.request.Request | None:
        """Called for each redirection."""
        if urlsplit(newurl).scheme not in {"https", urlsplit(req.full_url).scheme}:
            raise OSError(f"{req.full_url} leads to {newurl}, which is not protected: it is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Opened(AbstractContextManager[tuple[IO[bytes], int]]):
    """A file that is read, with where it begins; a connection that breaks is an OSError that says what to do."""

    def __init__(self, content: IO[bytes], start: int) -> None:
        self._content, self._start = content, start

    def __enter__(self) -> tuple[IO[bytes], int]:
        return self._content, self._start

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # Where less came than was told, http.client ends without a word.
        missing = getattr(self._content, "length", 0) if error is None else 0
        self._content.close()
        if missing or isinstance(error, HTTPException | TimeoutError | ConnectionError):
            raise OSError("the connection broke: the same command goes on from there") from error
