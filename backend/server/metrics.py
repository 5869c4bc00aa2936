# SPDX-License-Identifier: Apache-2.0
"""What the backend counts about itself, for Prometheus. Without its client library, of the extra ``[metrics]``, nothing
is counted and ``/metrics`` says so.

Times in seconds, as Prometheus wants them. Never an instruction, a token or an address.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol

from blender_addon.contract.messages import CODES


class Metrics(Protocol):
    """What may be counted; from any thread."""

    def connected(self, change: int) -> None:
        """A client came (1) or left (-1)."""

    def waiting(self, count: int) -> None:
        """So many requests have no answer yet."""

    def batch(self, size: int, seconds: float) -> None:
        """The engine answered so many queries in so long."""

    def answered(self, task: str, seconds: float) -> None:
        """A request was answered so long after it came."""

    def refused(self, code: str) -> None:
        """A message, request or client was refused, or a request failed, for this reason."""

    def engine_restarted(self) -> None:
        """An engine was lost and is loaded anew."""

    def page(self) -> bytes | None:
        """Everything, in Prometheus's text format; None when nothing is counted."""


class NoMetrics:
    """Counts nothing."""

    def connected(self, change: int) -> None: ...
    def waiting(self, count: int) -> None: ...
    def batch(self, size: int, seconds: float) -> None: ...
    def answered(self, task: str, seconds: float) -> None: ...
    def refused(self, code: str) -> None: ...
    def engine_restarted(self) -> None: ...
    def page(self) -> bytes | None:
        return None


class PrometheusMetrics:
    """Counts with Prometheus's own library, in a registry of its own."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._library: Any = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)  # memory, processor time, open files
        prometheus.PlatformCollector(registry=registry)
        seconds = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60)
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256)
        self._connections = prometheus.Gauge(
            "posellava_connections", "Clients that are connected.", registry=registry
        )
        self._waiting = prometheus.Gauge(
            "posellava_requests_waiting", "Requests without an answer.", registry=registry
        )
        self._batches = prometheus.Histogram(
            "posellava_batch_queries", "Queries of a batch.", buckets=sizes, registry=registry
        )
        self._batch_seconds = prometheus.Histogram(
            "posellava_batch_seconds", "Time of a batch in the engine.", buckets=seconds, registry=registry
        )
        self._answers = prometheus.Histogram(
            "posellava_request_seconds",
            "Time from a request to its answer.",
            ["task"],
            buckets=seconds,
            registry=registry,
        )
        self._refusals = prometheus.Counter(
            "posellava_refusals", "What was refused or failed.", ["reason"], registry=registry
        )
        self._restarts = prometheus.Counter(
            "posellava_engine_restarts", "Engines that were lost and loaded anew.", registry=registry
        )
        for code in CODES:
            self._refusals.labels(code)

    def connected(self, change: int) -> None:
        self._connections.inc(change)

    def waiting(self, count: int) -> None:
        self._waiting.set(count)

    def batch(self, size: int, seconds: float) -> None:
        self._batches.observe(size)
        self._batch_seconds.observe(seconds)

    def answered(self, task: str, seconds: float) -> None:
        self._answers.labels(task).observe(seconds)

    def refused(self, code: str) -> None:
        self._refusals.labels(code if code in CODES else "other").inc()

    def engine_restarted(self) -> None:
        self._restarts.inc()

    def page(self) -> bytes | None:
        page: bytes = self._library.generate_latest(self._registry)
        return page


def new_metrics() -> Metrics:
    """Prometheus's where its library is installed."""
    return NoMetrics() if find_spec("prometheus_client") is None else PrometheusMetrics()
