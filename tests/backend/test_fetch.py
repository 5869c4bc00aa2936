# SPDX-License-Identifier: Apache-2.0
"""``posellava fetch-weights``: files arrive whole, or a sentence says why not; from loopback only, here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from backend.cli import main
from backend.fetch import SUMS, fetch_weights
from backend.weight_files import checksum

WEIGHTS = bytes(range(256)) * 20_000


@dataclass
class Web:
    """A server of a folder.

    Attributes:
        breaks_at: after how many bytes of a file a connection breaks, once.
        has_ranges: whether it can begin in the middle of a file.
        leads_to: where it sends everybody, instead of answering.
        asked: path and first byte of each request.
    """

    folder: Path
    url: str = ""
    breaks_at: int | None = None
    has_ranges: bool = True
    leads_to: str | None = None
    asked: list[tuple[str, int]] = field(default_factory=list)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    served = Web(tmp_path / "source")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(re.findall(r"\d+", self.headers.get("Range", "0"))[0])
            served.asked.append((self.path, start))
            file = served.folder / self.path.removeprefix("/model/")
            if served.leads_to is not None:
                self.send_response(302)
                self.send_header("Location", served.leads_to)
                self.end_headers()
                return
            if not file.is_file():
                self.send_error(404)
                return
            content = file.read_bytes()
            start = start if served.has_ranges else 0
            if start >= len(content) and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            content = content[start:]
            if served.breaks_at is not None and len(content) > served.breaks_at:
                content, served.breaks_at = content[: served.breaks_at], None
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        served.url = f"http://127.0.0.1:{server.server_port}/model/"
        served.folder.mkdir()
        for name, content in {"config.json": b"{}", "model.safetensors": WEIGHTS}.items():
            (served.folder / name).write_bytes(content)
        write_sums(served.folder)
        yield served
        server.shutdown()


def write_sums(folder: Path) -> None:
    lines = [f"{checksum(file)}  {file.name}\n" for file in sorted(folder.iterdir()) if file.name != SUMS]
    (folder / SUMS).write_text("".join(lines))


def test_all_that_is_dataset_arrives(web: Web, tmp_path: Path) -> None:
    assert main(["fetch-weights", web.url, str(tmp_path / "model")]) == 0
    assert {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
    }


def test_a_folder_does_as_well_and_nothing_is_fetched_twice(web: Web, tmp_path: Path) -> None:
    fetch_weights(str(web.folder), tmp_path / "model")
    fetch_weights(web.url, tmp_path / "model")
    assert web.asked == [("/model/SHA256SUMS", 0)]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_what_broke_off_goes_on(web: Web, tmp_path: Path, has_ranges: bool) -> None:
    web.has_ranges, web.breaks_at = has_ranges, 1_000_000
    with pytest.raises(OSError, match="the same command goes on from there"):
        fetch_weights(web.url, tmp_path / "model")
    assert not (tmp_path / "model" / "model.safetensors").exists()
    fetch_weights(web.url, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == WEIGHTS
    assert ("/model/model.safetensors", 1_000_000) in web.asked


def test_more_than_there_is_begins_anew(web: Web, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors.partial").write_bytes(WEIGHTS + b"more")
    fetch_weights(web.url, tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_damaged_file_is_told_and_not_kept(
    web: Web, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (web.folder / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"x")
    assert main(["fetch-weights", web.url, str(tmp_path / "model")]) == 1
    assert "model.safetensors is damaged or was changed" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "model").iterdir()] == ["config.json"]


def test_a_list_that_is_not_the_one_meant_is_refused(web: Web, tmp_path: Path) -> None:
    meant = hashlib.sha256((web.folder / SUMS).read_bytes()).hexdigest()
    fetch_weights(web.url, tmp_path / "model", sums=meant.upper())
    (web.folder / "config.json").write_text('{"changed": true}')
    write_sums(web.folder)
    with pytest.raises(ValueError, match="these are not the files meant"):
        fetch_weights(web.url, tmp_path / "other", sums=meant)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/model", "a/b", ".hidden", SUMS, ""])
def test_a_list_that_names_other_places_is_refused(web: Web, tmp_path: Path, name: str) -> None:
    (web.folder / SUMS).write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(ValueError, match="is no list of checksums: make it with"):
        fetch_weights(web.url, tmp_path / "model")


@pytest.mark.parametrize("text", ["", "<html>not here</html>", "0123  model.safetensors", "\xff\xfe"])
def test_what_is_no_list_is_refused(web: Web, tmp_path: Path, text: str) -> None:
    (web.folder / SUMS).write_text(text)
    with pytest.raises(ValueError, match="is no list of checksums"):
        fetch_weights(web.url, tmp_path / "model")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("ftp://127.0.0.1/model", "cannot be fetched from"),
        ("file:///etc", "cannot be fetched from"),
        ("nowhere", "is no folder"),
        ("http://127.0.0.1:1/model", "cannot be reached"),
    ],
)
def test_a_source_that_is_none_is_told(
    source: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch-weights", source, str(tmp_path / "model")]) == 1
    assert told in capsys.readouterr().err


def test_a_file_that_the_server_lacks_is_told(web: Web, tmp_path: Path) -> None:
    (web.folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model.safetensors is not to be had: the server says 404"):
        fetch_weights(web.url, tmp_path / "model")


def test_no_way_out_of_the_web_is_followed(web: Web, tmp_path: Path) -> None:
    web.leads_to = "ftp://127.0.0.1/model"
    with pytest.raises(OSError, match="it is not followed"):
        fetch_weights(web.url, tmp_path / "model")
