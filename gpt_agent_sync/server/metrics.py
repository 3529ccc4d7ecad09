"""What is counted, for Prometheus; nothing where its client is not installed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of one server put what each of them counts (the client's own name for it)."""

METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"})

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class _Counted:
    """The metrics of a server, in a registry of their own."""

    def __init__(self) -> None:
        import prometheus_client as client

        self.registry = client.CollectorRegistry()
        self.requests = client.Counter(
            "gpt_agent_requests",
            "Requests answered.",
            ["method", "status"],
            registry=self.registry,
        )
        self.seconds = client.Histogram(
            "gpt_agent_request_seconds",
            "Seconds to the head of an answer.",
            ["method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_hand = client.Gauge(
            "gpt_agent_work_in_hand",
            "Runs and responses that are worked on.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.ended = client.Counter(
            "gpt_agent_work",
            "Runs and responses whose work has ended.",
            ["kind", "status"],
            registry=self.registry,
        )


class Metrics:
    """What is counted of a server; nothing until that is wanted, and Prometheus' client is there.

    The server that is embedded in a program counts nothing.
    """

    def __init__(self) -> None:
        self._counted: _Counted | None = None

    def begin(self) -> None:
        """Count from now on; called before there are requests."""
        if self._counted is None and find_spec("prometheus_client") is not None:
            self._counted = _Counted()

    def count_request(self, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: The HTTP method.
            status: The status of its answer.
            seconds: How long the answer's head took.
        """
        if self._counted is not None:
            # Methods are others' words: any number of them is not to be kept.
            known = method if method in METHODS else "other"
            self._counted.requests.labels(known, str(status)).inc()
            self._counted.seconds.labels(known).observe(seconds)

    def set_in_hand(self, count: int) -> None:
        """Take note of how many runs and responses this process works on."""
        if self._counted is not None:
            self._counted.in_hand.set(count)

    def count_work(self, kind: str, status: str) -> None:
        """Count a run or response whose work has ended.

        Args:
            kind: What it is.
            status: Its status.
        """
        if self._counted is not None:
            self._counted.ended.labels(kind, status).inc()

    def exposed(self) -> tuple[bytes, str] | None:
        """Return what all processes have counted, and its media type; ``None`` without a client."""
        if self._counted is None:
            return None
        import prometheus_client as client
        from prometheus_client import multiprocess

        registry = self._counted.registry
        if DIRECTORY in os.environ:
            registry = client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return client.generate_latest(registry), client.CONTENT_TYPE_LATEST


metrics = Metrics()
"""What this process counts."""


@contextlib.contextmanager
def for_several_processes() -> Iterator[None]:
    """Have the processes that are forked in the block count together."""
    if DIRECTORY in os.environ or find_spec("prometheus_client") is None:
        yield
        return
    # Before the client is loaded, which looks there once.
    with tempfile.TemporaryDirectory(prefix="gpt-agent-metrics-") as folder:
        os.environ[DIRECTORY] = folder
        try:
            yield
        finally:
            os.environ.pop(DIRECTORY, None)


def forget_process(pid: int) -> None:
    """Count no longer what a process has in hand that is gone."""
    if find_spec("prometheus_client") is not None and DIRECTORY in os.environ:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
