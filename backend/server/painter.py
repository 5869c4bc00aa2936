# SPDX-License-Identifier: Apache-2.0
"""The lane for pictures: one at a time, in a process of its own, beside the engine.

Painting takes seconds to minutes, and needs torch and diffusers, which the server does without; so it happens in
another process (backend/paint_process.py), begun with the first picture and kept, because loading the weights takes
longest. No edit waits for it. Between two steps it asks whether anybody still waits for the picture. What it does not
answer within its time it never will: it is ended, and begun anew with the next picture.

The pose of a picture that is to be repainted is the engine's to read and to change, as of any other request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backend.pipes import begin, end, pieces, receive_from
from blender_addon.contract.messages import (
    PAINTED_TASKS,
    PoseArray,
    Progress,
    ProtocolError,
    Request,
    Result,
    no_poses,
)

from .jobs import Client, Job
from .scheduler import STOPPING, Scheduler, in_short

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

MAX_WAITING: Final = 8
"""Pictures that may be unfinished at a time, of all clients; each is held in memory until its turn."""
MAX_WAITING_PER_CLIENT: Final = 2
GO_ON, STOP = b"G", b"X"
PROGRAM: Final = "backend.paint_process"
"""What the process runs."""
QUIET: Final = {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
"""What it writes goes to the backend's log, where neither prompts belong nor bars of progress."""


@dataclass(frozen=True)
class PaintOptions:
    """What paints, and how.

    Attributes:
        weights: folder of Stable Diffusion, as diffusers saves it.
        controls: for each kind of control map the folder of its ControlNet.
        device: of torch.
        steps: of the diffusion.
        size: pixels of the longer side of a picture that is repainted.
        seconds: that a picture may take once it is begun; loading the weights counts.
    """

    weights: Path
    controls: Mapping[str, Path]
    device: str = "cpu"
    steps: int = 30
    size: int = 512
    seconds: float = 600.0


class PaintJob:
    """A picture that is to be painted; to who waits for its answer as jobs.Job. Lives on the event loop alone.

    Attributes:
        request: what was asked, without its pictures.
        picture: what it starts from, decoded.
        maps: the control maps that it brought, decoded.
        client: who asked.
        ahead: how many pictures waited in front when it came; 0 once it has begun.
        error: why there is no result.
        changed: set after each change.
        reading: the engine's job that reads the pose off the picture, while there is one.
    """

    def __init__(
        self, request: Request, picture: Image | None, maps: Mapping[str, Image], client: Client, ahead: int
    ) -> None:
        self.request, self.picture, self.maps = request, picture, maps
        self.client, self.ahead = client, ahead
        self.error: ProtocolError | None = None
        self.changed = asyncio.Event()
        self.submitted = time.monotonic()
        self.reading: Job | None = None
        self._started = self._finished = 0.0
        self._steps = (0, 0)
        self._answer: tuple[PoseArray | None, str, bytes | None] = (None, "", None)

    @property
    def started(self) -> bool:
        """Whether its turn has come."""
        return self._started > 0

    @property
    def finished(self) -> bool:
        """Whether there is a result or an error."""
        return self._finished > 0

    def begin(self) -> None:
        """Its turn has come."""
        self._started, self.ahead = time.monotonic(), 0
        self.changed.set()

    def step(self, done: int, total: int) -> None:
        """So many steps are done."""
        self._steps = (done, total)
        self.changed.set()

    def end(self, pose: PoseArray | None, words: str, png: bytes | None) -> None:
        """It is answered: the pose that was painted, where the engine read it, its words, and the picture."""
        self._answer = (pose, words, png)
        self._end()

    def fail(self, error: ProtocolError) -> None:
        """It ends with an error; one that has ended stays as it is."""
        if not self.finished:
            self.error = error
            self._end()

    def _end(self) -> None:
        self._finished = time.monotonic()
        self.picture, self.maps = None, {}
        self.changed.set()

    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self.request.id, *self._steps, self.ahead)

    def result(self) -> Result:
        """The answer of one that finished without error."""
        pose, words, png = self._answer
        return Result(
            self.request.id,
            (pose,),
            (words,),
            queued_ms=1000 * (self._started - self.submitted),
            engine_ms=1000 * (self._finished - self._started),
            image_png=png,
        )


class Painter:
    """See the module. To be used from one event loop: ``start`` in it, ``stop`` ends it."""

    def __init__(self, options: PaintOptions, scheduler: Scheduler, tasks: tuple[str, ...]) -> None:
        """For an engine that does ``tasks``: without adjusting and estimating nothing can be repainted."""
        self.kinds = tuple(options.controls)
        can_read = {"adjust", "estimate"} <= set(tasks)
        self.tasks = PAINTED_TASKS if can_read else tuple(task for task in PAINTED_TASKS if task != "repaint")
        self._options = options
        self._scheduler = scheduler
        self._waiting: deque[PaintJob] = deque()
        self._job: PaintJob | None = None
        self._came = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._work: asyncio.Task[None] | None = None
        self._draining = False

    def start(self) -> None:
        """Paint from now on what is submitted. The process is begun when it is first needed."""
        self._work = asyncio.create_task(self._paint_all())

    def submit(
        self, client: Client, request: Request, picture: Image | None, maps: Mapping[str, Image]
    ) -> PaintJob:
        """Queue a valid request.

        Raises:
            ProtocolError: ``busy`` when there is no room for it, ``shutting_down`` after drain(), ``bad_option`` when
                it lacks a map that the pipeline follows.
        """
        lacking = [kind for kind in self.kinds if request.task == "paint" and kind not in maps]
        if lacking:
            raise ProtocolError(
                "bad_option",
                f"This backend paints along {', '.join(self.kinds)}; the request has no map of {lacking[0]}.",
                request.id,
            )
        if self._draining:
            raise ProtocolError("shutting_down", STOPPING, request.id)
        unfinished = [job for job in (self._job, *self._waiting) if job is not None and not job.finished]
        own = sum(job.client is client for job in unfinished)
        if len(unfinished) >= MAX_WAITING or own >= MAX_WAITING_PER_CLIENT:
            raise ProtocolError(
                "busy",
                f"The backend is busy with {len(unfinished)} pictures, {own} of them yours; try again later.",
                request.id,
            )
        job = PaintJob(request, picture, maps, client, ahead=len(unfinished))
        self._waiting.append(job)
        self._came.set()
        return job

    def cancel(self, job: PaintJob) -> None:
        """End a job as cancelled; the process stops at its next step."""
        self._give_up(job, ProtocolError("cancelled", "Cancelled.", job.request.id))

    def drain(self) -> None:
        """Take no more requests and refuse those that wait."""
        self._draining = True
        for job in list(self._waiting):
            self._give_up(job, ProtocolError("shutting_down", STOPPING, job.request.id))

    async def stop(self) -> None:
        """End the process for good; what is unfinished fails."""
        self.drain()
        if self._job is not None:
            self._give_up(self._job, ProtocolError("shutting_down", STOPPING, self._job.request.id))
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        await self._close()

    def _give_up(self, job: PaintJob, error: ProtocolError) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        job.fail(error)
        if job.reading is not None:
            self._scheduler.cancel(job.reading)

    async def _paint_all(self) -> None:
        while True:
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
            self._job = self._waiting.popleft()
            try:
                await self._paint(self._job)
            finally:
                self._job = None

    async def _paint(self, job: PaintJob) -> None:
        """Answer a job, whatever happens."""
        job.begin()
        identity = job.request.id
        try:
            async with asyncio.timeout(self._options.seconds):
                pose, words = await self._read_pose(job)
                png = None
                if not job.finished and (pose is not None or job.request.task == "paint"):
                    png = await self._exchange(job, pose)
            if not job.finished:
                job.end(pose, words, png)
        except TimeoutError:
            seconds = self._options.seconds
            sentence = f"The picture was not painted within {seconds:g} seconds; ask for a smaller one."
            job.fail(ProtocolError("timeout", sentence, identity))
            await self._close()
        except ProtocolError as error:
            job.fail(ProtocolError(error.code, error.sentence, identity))
        except Exception as error:
            log.exception("the process that paints failed")
            sentence = f"The process that paints ended ({type(error).__name__}); the backend's log has more."
            job.fail(ProtocolError("engine_failed", sentence, identity))
            await self._close()

    async def _read_pose(self, job: PaintJob) -> tuple[PoseArray | None, str]:
        """The pose that the picture shows, changed as the instruction says, and the engine's words; neither where the
        request brings its own maps."""
        if job.request.task == "paint":
            return None, ""
        task = "adjust" if job.request.instruction.strip() else "estimate"
        asked = replace(job.request, task=task, poses=no_poses(), history=(), variants=1, painting=None)
        job.reading = self._scheduler.submit(job.client, asked, job.picture)
        try:
            while not job.reading.finished:
                await job.reading.changed.wait()
                job.reading.changed.clear()
            if job.reading.error is not None:
                raise job.reading.error
            result = job.reading.result()
            return result.poses[0], result.texts[0]
        finally:
            self._scheduler.cancel(job.reading)  # where the time was up before it ended
            self._scheduler.release(job.reading)
            job.reading = None

    async def _exchange(self, job: PaintJob, pose: PoseArray | None) -> bytes | None:
        """The picture, by the process; None where it stopped because nobody waits any more."""
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        pictures = dict(job.maps) if job.picture is None else {"picture": job.picture, **job.maps}
        painting = job.request.painting
        assert painting is not None
        head: dict[str, Any] = {
            "prompt": painting.prompt,
            "strength": painting.strength,
            "seed": painting.seed,
            "pose": None if pose is None else pose.tolist(),
            "sizes": {name: picture.size for name, picture in pictures.items()},
        }
        parts = [json.dumps(head).encode(), *(picture.tobytes() for picture in pictures.values())]
        for piece in pieces(b"A", parts):
            process.stdin.write(piece)
        await process.stdin.drain()
        while True:
            kind, (part, *_) = await receive_from(process.stdout)
            if kind == b"P":
                return part
            if kind in (b"E", b"F"):
                if kind == b"F":  # it ends
                    await self._close()
                reason = in_short(part.decode("utf-8", "replace")).rstrip(".")
                raise ProtocolError("engine_failed", f"The picture could not be painted: {reason}.")
            if kind == b"X":
                return None
            done, total = json.loads(part)
            if not job.finished:
                job.step(int(done), int(total))
            process.stdin.write(STOP if job.finished else GO_ON)
            await process.stdin.drain()

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            options = self._options
            told = {
                "weights": str(options.weights.resolve()),
                "controls": {kind: str(folder.resolve()) for kind, folder in options.controls.items()},
                "device": options.device,
                "steps": options.steps,
                "size": options.size,
            }
            self._process = await begin(PROGRAM, json.dumps(told), **QUIET)
        return self._process

    async def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await end(process)
