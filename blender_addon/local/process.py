# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts the local backend, says how it is, and ends it. No method waits but wait(), has_ended() and stop()."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Final

from ..contract.address import Address

LAUNCH: Final = Path(__file__).with_name("launch.py")
LAST_LINES: Final = 6
"""Of what the process said before it failed: enough for a traceback's end."""
STOP_SECONDS: Final = 3.0
"""To end by itself before it is killed."""
START_SECONDS: Final = 60.0
"""To answer, on a slow disk whose virus scanner reads everything first."""


class LocalState(Enum):
    """What the local backend is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class LocalStatus:
    """The state, a sentence for the user, and the last lines of the log where it failed."""

    state: LocalState
    sentence: str
    lines: tuple[str, ...] = ()


_STOPPED: Final = LocalStatus(LocalState.STOPPED, "The local backend is stopped.")


class LocalBackend:
    """One process at most. Every method may be called from any thread.

    Args:
        python: the interpreter to run.
        arguments: EXTENSION, SERVER and PATHs; see launch.py.
        log: the file that the process's messages go to, anew at each start; one that cannot be written is done without.
        report: called, from another thread, when the status changed.
    """

    def __init__(
        self, python: str, arguments: Sequence[str], log: Path | None, report: Callable[[], None]
    ) -> None:
        self._command = [python, "-I", "-S", "-X", "utf8", str(LAUNCH), *arguments]
        self._log, self._report = log, report
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None  # guarded by _lock, as the next two
        self._status = _STOPPED
        self._address: Address | None = None
        self._settled = threading.Event()
        self._settled.set()

    @property
    def status(self) -> LocalStatus:
        """How it is now."""
        return self._status

    @property
    def address(self) -> Address | None:
        """Where it listens, with its secret; None unless it is ready."""
        return self._address

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is no longer starting; whether that is so."""
        return self._settled.wait(seconds)

    def has_ended(self, seconds: float) -> bool:
        """Wait until there is no process any more, which start() finds then; whether that is so."""
        process = self._process
        if process is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return process.returncode is not None

    def start(self) -> None:
        """Start it, unless it runs. One that has ended is started anew, even before what it said last is read."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            secret = secrets.token_urlsafe(32)
            try:
                process = self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    # A console window would flash up on Windows.
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )
            except OSError as error:
                sentence = f"Blender's Python cannot be started ({error}); install Blender anew."
                self._set(LocalStatus(LocalState.FAILED, sentence))
                return
            self._set(LocalStatus(LocalState.STARTING, "The local backend is starting …"))
        threading.Thread(target=self._follow, args=(process, secret), daemon=True).start()

    def stop(self) -> None:
        """End it and wait until it has ended; it may answer for a moment what it has begun."""
        with self._lock:
            process, self._process = self._process, None
            self._set(_STOPPED)
        if process is not None:
            _end(process)

    def _follow(self, process: subprocess.Popen[bytes], secret: str) -> None:
        """Tell the process the secret, read what it says, and see it end; on a thread of its own."""
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):  # where it ended at once, what it says tells why
            process.stdin.write(f"{secret}\n".encode())
            process.stdin.flush()
        lines: deque[str] = deque(maxlen=LAST_LINES)
        listener = threading.Thread(target=self._keep, args=(process.stderr, lines), daemon=True)
        listener.start()
        overdue = threading.Timer(START_SECONDS, process.kill)
        overdue.daemon = True
        overdue.start()
        for line in process.stdout:
            if line.startswith(b"listening "):
                overdue.cancel()
                self._set_ready(process, Address.parse(line.decode(errors="replace"), secret))
        status = process.wait()
        overdue.cancel()
        listener.join(1.0)
        self._set_ended(process, status, lines)

    def _keep(self, stream: IO[bytes] | None, lines: deque[str]) -> None:
        """Keep what the process says, in the log as far as that can be written."""
        assert stream is not None
        with contextlib.ExitStack() as stack:
            file: IO[str] | None = None
            if self._log is not None:
                with contextlib.suppress(OSError):
                    file = stack.enter_context(self._log.open("w", encoding="utf-8"))
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                if text:
                    lines.append(text)
                if file is not None:
                    with contextlib.suppress(OSError):
                        file.write(f"{text}\n")
                        file.flush()

    def _set_ready(self, process: subprocess.Popen[bytes], address: Address) -> None:
        with self._lock:
            if self._process is process:
                self._address = address
                self._set(LocalStatus(LocalState.READY, "The local backend is ready."))

    def _set_ended(self, process: subprocess.Popen[bytes], status: int, lines: Sequence[str]) -> None:
        """Where nobody asked it to end, it failed."""
        with self._lock:
            if self._process is not process:
                return
            self._process = None
            where = "" if self._log is None else f" Its log is {self._log}."
            when = "could not start" if self._status.state is LocalState.STARTING else "ended unexpectedly"
            # What the command itself says is one sentence, after its name; anything else is a traceback.
            said = lines[-1].partition("posellava serve: ")[2] if lines else ""
            why = said or f"exit status {status}"
            sentence = (
                f"The local backend {when}: {why.rstrip('.')}. Press Start Local Backend to try again.{where}"
            )
            self._set(LocalStatus(LocalState.FAILED, sentence, () if said else tuple(lines)))

    def _set(self, status: LocalStatus) -> None:
        """Note a change; the lock is held."""
        self._status = status
        if status.state is not LocalState.READY:
            self._address = None
        if status.state is LocalState.STARTING:
            self._settled.clear()
        else:
            self._settled.set()
        self._report()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the process's input, which ends it, and kill it where that does not."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print("PoseLLaVA: the local backend does not end and is killed.", file=sys.stderr)
        process.kill()
        process.wait()
