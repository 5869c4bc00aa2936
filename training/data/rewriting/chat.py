# SPDX-License-Identifier: Apache-2.0
"""A chat model behind an OpenAI-compatible address: one question, one answer, asked again where that may help."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Final

PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be over at the next try."""
LONGEST_WAIT_S: Final = 60.0


class ChatError(OSError):
    """The model could not be asked, or its answer cannot be read."""


@dataclass(frozen=True)
class ChatModel:
    """Where a model answers.

    Attributes:
        address: base address, such as ``http://127.0.0.1:8000/v1``; "/chat/completions" is added.
        name: the model's name there.
        key: sent as bearer token; None for none.
        temperature: of the answers.
        timeout_s: longest wait for one answer.
        tries: how often a question is asked before giving up.
        first_wait_s: pause before the second try; it doubles with each further one.
    """

    address: str
    name: str
    key: str | None = field(default=None, repr=False)
    temperature: float = 0.7
    timeout_s: float = 60.0
    tries: int = 6
    first_wait_s: float = 1.0

    def ask(self, system: str, question: str) -> str:
        """The answer's text.

        Raises:
            ChatError: refused, not reached after all tries, or not understood.
        """
        wait = self.first_wait_s
        for left in reversed(range(self.tries)):
            try:
                return self._once(system, question)
            except _PassingError as error:
                if not left:
                    raise ChatError(
                        f"no answer from {self.address} after {self.tries} tries: {error}; "
                        "check the address and run the command again, which goes on where it stopped"
                    ) from error
                # Not a library's retries: the server's own wish for how long to wait goes before.
                time.sleep(min(LONGEST_WAIT_S, max(wait, error.wait_s)))
                wait *= 2
        raise AssertionError("tries must be at least 1")

    def _once(self, system: str, question: str) -> str:
        body = {
            "model": self.name,
            "temperature": self.temperature,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        }
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        address = self.address.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                answer = response.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(300).decode("utf-8", "replace").strip()
            problem = f"{address} answered {error.code}: {said or error.reason}"
            if error.code in PASSING:
                raise _PassingError(problem, _seconds(error.headers.get("Retry-After"))) from error
            raise ChatError(problem) from error
        # URLError and timeouts are OSErrors; a connection cut short is an HTTPException.
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        try:
            return str(json.loads(answer)["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError) as error:
            raise ChatError(f"{address} did not answer in the form of a chat completion") from error


class _PassingError(Exception):
    """A failure that may be over at the next try, perhaps after a wait that the server named."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


def _seconds(header: str | None) -> float:
    return float(header) if header is not None and header.isdigit() else 0.0
