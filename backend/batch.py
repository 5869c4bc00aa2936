# SPDX-License-Identifier: Apache-2.0
"""``posellava batch``: answers a file of requests, many lines at a time, with a model here or a backend elsewhere.

A line is ``{"id", "task", "instruction", "pose"?, "image"?, "history"?, "view"?, "variants"?}``. A pose is 24 triples
of axis-angle in radians; the image is the path of a PNG, JPEG or WebP, relative to the file of requests; the history is
a list of ``{"instruction", "pose"?, "words"?, "poses"?}``, oldest first; the view is ``{"yaw", "pitch"}`` in radians.

Its answer, in the same order, is ``{"id", "pose", "text"}``, with ``"variants"`` where several were asked for and
given, and ``"confidence"``, a number from 0 to 1 for each joint, where the pose was read off a picture; ``{"id",
"text"}`` where the model answers in words only; or ``{"id", "error"}``. A line that cannot be answered does not stop
the others.
May import backend.query, backend.images and blender_addon.contract; who answers is handed in.
"""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import numpy as np

from backend.images import check_image, decode_image, read_photograph
from backend.query import Answer, Answerer, Query, queries_of
from blender_addon.contract.messages import (
    PAINTED_TASKS,
    Limits,
    PoseArray,
    ProtocolError,
    Request,
    Result,
    Turn,
    View,
    check_request,
    new_request_id,
    no_poses,
)
from blender_addon.contract.records import check_encodable

if TYPE_CHECKING:
    from blender_addon.contract.address import Address
    from blender_addon.contract.client import Client

log = logging.getLogger(__name__)

MAX_LINE_BYTES: Final = 16 * 2**20
BUSY_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses after which a busy backend is asked again: too few for a library of retries in every backend."""


class Asker(Protocol):
    """Who answers: a model of this process, or a backend.

    Attributes:
        tasks: what it does.
        limits: what a request may hold.
    """

    tasks: tuple[str, ...]
    limits: Limits

    def ask(self, requests: Sequence[Request]) -> list[Answer | str]:
        """For each request its answer, or the sentence that says why there is none.

        Raises:
            OSError: nobody can be asked any more; the sentence says why.
        """
        ...


def check_files(source: Path, target: Path) -> None:
    """Raise for files that could not be read and written, before a model is loaded for them.

    Raises:
        OSError: one of the files cannot be opened.
        ValueError: both are the same file, which writing would empty; or the requests are not one JSON object a line.
    """
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    if target.exists() and source.samefile(target):
        raise ValueError(f"the answers would overwrite the requests in {source}; name another file for them")
    if target.is_dir() or not target.parent.is_dir():
        raise FileNotFoundError(
            f"the answers cannot be written to {target}: name a file in a folder that exists"
        )
    with source.open("rb") as file:
        head = file.read(4096)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise ValueError(f"{source} is UTF-16; save it as UTF-8")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise ValueError(f"{source} is one JSON array; write one object a line, as jq -c '.[]' does")
    with target.open("ab"):  # whether it can be written; what is in it stays until there are answers
        pass


def answer_file(
    asker: Asker,
    source: Path,
    target: Path,
    *,
    batch_size: int,
    on_progress: Callable[[int, float], None] | None = None,
) -> tuple[int, int]:
    """Answer every line of ``source`` into ``target``.

    Args:
        asker: who answers.
        source: the requests.
        target: where the answers go.
        batch_size: how many are asked at a time.
        on_progress: called after each batch with the lines so far and the share of the file that they are.

    Returns:
        how many lines were answered and how many failed.

    Raises:
        OSError, ValueError: as check_files; OSError also when nobody can be asked any more.
    """
    check_files(source, target)
    failed = total = 0
    size = source.stat().st_size
    with (
        source.open("rb") as file,
        _telling_a_full_disk(target),
        target.open("w", encoding="utf-8") as out,
    ):
        numbered = _lines(file)
        while chunk := list(itertools.islice(numbered, batch_size)):
            for record in _answer_lines(asker, chunk, source.parent):
                total += 1
                failed += "error" in record
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            out.flush()
            if on_progress is not None:
                on_progress(total, file.tell() / max(1, size))
    return total - failed, failed


@contextmanager
def _telling_a_full_disk(target: Path) -> Iterator[None]:
    """Raises OSError, which names the file, where no space is left for the answers."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                f"the disk of {target.absolute()} is full: the answers before are there; free some space"
            ) from error
        raise


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number and bytes of every line that is not empty; None for one that is too long."""
    for number in itertools.count(1):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield number, None
        elif line.strip():
            yield number, line


def _answer_lines(
    asker: Asker, lines: list[tuple[int, bytes | None]], folder: Path
) -> Iterator[dict[str, Any]]:
    """One output record per line, in order."""
    outcomes = [_read_line(asker, number, line, folder) for number, line in lines]
    answers = iter(asker.ask([outcome for _, outcome in outcomes if isinstance(outcome, Request)]))
    for identity, outcome in outcomes:
        reply = next(answers) if isinstance(outcome, Request) else outcome
        if isinstance(reply, str):
            yield {"id": identity, "error": reply}
        elif reply.pose_aa is None:
            yield {"id": identity, "text": reply.text}
        else:
            record = {"id": identity, "pose": reply.pose_aa.tolist(), "text": reply.text}
            if reply.variants_aa is not None and len(reply.variants_aa) > 1:
                record["variants"] = reply.variants_aa.tolist()
            if reply.confidence is not None:
                record["confidence"] = [round(float(one), 3) for one in reply.confidence]
            yield record


class Here:
    """Asks an engine of this process."""

    def __init__(self, engine: Answerer) -> None:
        self._engine = engine
        self.tasks = tuple(engine.tasks)
        self.limits = Limits()

    def ask(self, requests: Sequence[Request]) -> list[Answer | str]:
        """All in one call of the model; a call that fails is tried again query by query."""
        outcomes = list(map(_query, requests))
        answers = iter(self._answer([outcome for outcome in outcomes if isinstance(outcome, Query)]))
        return [next(answers) if isinstance(outcome, Query) else outcome for outcome in outcomes]

    def _answer(self, queries: list[Query]) -> list[Answer | str]:
        if not queries:
            return []
        try:
            return list(self._engine.answer(queries))
        except Exception as error:
            log.exception("the model failed on a batch of %d queries", len(queries))
            if len(queries) == 1:
                return [f"The model failed on this request ({type(error).__name__}: {str(error)[:200]})."]
            return [outcome for query in queries for outcome in self._answer([query])]


def _query(request: Request) -> Query | str:
    """What the engine is asked, or the sentence that says why the request's picture cannot be decoded."""
    try:
        image = None if request.image_png is None else decode_image(request.image_png)
    except ProtocolError as error:
        return error.sentence
    return queries_of(request, image)[0]


class There:
    """Asks a backend; a context manager, which connects and in the end disconnects.

    Raises:
        OSError: on entering, the backend cannot be reached, or does not take this client.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._runner = asyncio.Runner()
        self._client: Client | None = None
        self.tasks: tuple[str, ...] = ()
        self.limits = Limits()

    def __enter__(self) -> There:
        self._runner.run(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._runner.run(self._client.close())
        self._runner.close()

    def ask(self, requests: Sequence[Request]) -> list[Answer | str]:
        """All at a time; when the connection breaks, what has no answer is asked once more on another."""
        outcomes = self._runner.run(self._ask_all(requests))
        lost = [place for place, outcome in enumerate(outcomes) if outcome is None]
        if lost:
            self._runner.run(self._connect())
            again = self._runner.run(self._ask_all([requests[place] for place in lost]))
            for place, outcome in zip(lost, again, strict=True):
                outcomes[place] = outcome or "The connection to the backend broke twice on this request."
        return [outcome for outcome in outcomes if outcome is not None]

    async def _connect(self) -> None:
        from blender_addon.contract.client import Client

        try:
            self._client = await Client.open(self._address)
        except ProtocolError as error:
            raise ConnectionError(error.sentence) from None
        self.tasks, self.limits = self._client.welcome.tasks, self._client.welcome.limits

    async def _ask_all(self, requests: Sequence[Request]) -> list[Answer | str | None]:
        return list(await asyncio.gather(*map(self._ask, requests)))

    async def _ask(self, request: Request) -> Answer | str | None:
        """None when the connection broke."""
        assert self._client is not None
        for pause in (*BUSY_SECONDS, None):
            try:
                return _answer_in(await self._client.ask(request))
            except ProtocolError as error:
                if error.code == "connection_lost":
                    return None
                if error.code != "busy" or pause is None:
                    return error.sentence
            await asyncio.sleep(pause)
        raise AssertionError("the last pause is None")


def _answer_in(result: Result) -> Answer:
    (pose,), (text,) = result.poses, result.texts
    variants = [variant[0] for variant in result.variants if variant[0] is not None]
    [confidence] = result.confidence or (None,)
    return Answer(
        pose,
        text,
        np.stack(variants) if variants else None,
        None if confidence is None else np.array(confidence, dtype=np.float32),
    )


def _read_line(asker: Asker, number: int, line: bytes | None, folder: Path) -> tuple[Any, Request | str]:
    """The line's id, and its request or the sentence that says what is wrong with it."""
    if line is None:
        return None, f"Line {number} is longer than {MAX_LINE_BYTES >> 20} MB."
    try:
        record = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError, MemoryError):
        return None, f"Line {number} is not valid JSON."
    if not isinstance(record, dict):
        return None, f"Line {number} is not a JSON object."
    identity = record.get("id")
    if not isinstance(identity, (str, int)):
        return None, f"Line {number} has no id; give it a text or a number."
    try:
        check_encodable(str(identity), f"Line {number}: the id")
    except ValueError as error:  # nor could it stand in the answer; or it is a number of too many digits
        return None, str(error)[:200]
    try:
        request = _read_request(record, folder)
        check_request(request, asker.limits, asker.tasks)
    except ProtocolError as error:
        return identity, error.sentence
    except Exception as error:
        log.exception("line %d could not be read", number)
        return identity, f"Line {number} could not be read ({type(error).__name__}: {str(error)[:100]})."
    return identity, request


def _read_request(record: dict[str, Any], folder: Path) -> Request:
    task, instruction = record.get("task"), record.get("instruction", "")
    if task is None:
        raise ProtocolError("bad_message", 'A request needs a task, such as "task": "adjust".')
    if not isinstance(task, str) or not isinstance(instruction, str):
        raise ProtocolError("bad_message", "task and instruction must be texts.")
    if task in PAINTED_TASKS:
        # The line has no prompt and the answer no picture, whatever the backend could do.
        raise ProtocolError(
            "unknown_task", "A batch is answered with poses and words; posellava repaint paints pictures."
        )
    check_encodable(instruction, "instruction")
    pose, image, variants = record.get("pose"), record.get("image"), record.get("variants", 1)
    if not isinstance(variants, int) or isinstance(variants, bool):
        raise ProtocolError("bad_option", "variants must be a whole number.")
    return Request(
        id=new_request_id(),
        task=task,
        instruction=instruction,
        poses=no_poses() if pose is None else _read_pose(pose)[None],
        image_png=None if image is None else _read_image(image, folder),
        history=_read_history(record.get("history")),
        view=_read_view(record.get("view")),
        variants=variants,
    )


def _read_pose(value: Any) -> PoseArray:
    """A list of 24 triples as (24, 3); its shape and finiteness are check_request's to judge."""
    try:
        pose = np.asarray(value)
    except ValueError:  # lists of different lengths
        pose = np.asarray(None)
    if pose.dtype.kind not in "iuf":
        raise ProtocolError("bad_pose", "A pose must be a list of 24 triples of numbers.")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return pose.astype(np.float32)


def _read_history(value: Any) -> tuple[Turn, ...]:
    """Turns as the module says."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise ProtocolError(
            "bad_message", "history must be a list of objects with an instruction and a pose."
        )
    turns = []
    for turn in value:
        instruction, words, pose = turn.get("instruction"), turn.get("words"), turn.get("pose")
        poses = turn.get("poses")
        if not isinstance(instruction, str) or not isinstance(words, str | None):
            raise ProtocolError("bad_message", "A turn's instruction and words must be texts.")
        for text in (instruction, words or ""):
            check_encodable(text, "A turn of the history")
        turns.append(
            Turn(
                instruction,
                None if pose is None else _read_pose(pose),
                words or "",
                _read_pose(poses) if poses else no_poses(),
            )
        )
    return tuple(turns)


def _read_view(value: Any) -> View | None:
    if value is None:
        return None
    angles = [value.get(name) for name in ("yaw", "pitch")] if isinstance(value, dict) else []
    numbers = [a for a in angles if isinstance(a, (int, float)) and not isinstance(a, bool) and abs(a) < 1e6]
    if len(numbers) != 2:
        raise ProtocolError("bad_option", "view must hold yaw and pitch, two angles in radians.")
    return View(*map(float, numbers))


def _read_image(value: Any, folder: Path) -> bytes:
    """The picture in the file, as it is when a request may hold it; a larger photograph is made small first."""
    if not isinstance(value, str):
        raise ProtocolError("bad_image", "image must be the path of a PNG, JPEG or WebP file.")
    data = read_photograph(folder / value, value)
    try:
        if len(data) <= Limits().max_image_bytes:
            check_image(data, Limits())
            return data
    except ProtocolError:  # its sides are too long
        pass
    small = io.BytesIO()
    decode_image(data).save(small, "PNG")
    return small.getvalue()
