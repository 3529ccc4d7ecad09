"""The embedded server behind a layer that injects faults, a path prefix for each cell."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import attrs
from werkzeug.test import create_environ, run_wsgi_app

from gpt_agent_sync.server.app import create_app, make_engine
from tests.faults.faults import Fault, close
from tests.faults.kinds import Injection, Record, label_of
from tests.faults.model import FaultModel
from tests.support.stub import Request, Response, StubServer

_PREFIX = re.compile(r"/cells/([^/]+)/v1(/.*)")

Choose = Callable[[str, str, Sequence[Record]], Fault | None]
"""Returns the fault that a request is to meet, by the phase, its label and the requests before."""


class Plan:
    """The faults of a cell, each of which happens to the first requests of its kind.

    Args:
        injections: The faults.
    """

    def __init__(self, injections: Sequence[Injection]) -> None:
        self._injections = injections
        self.met: Counter[str] = Counter()

    def __call__(self, phase: str, label: str, earlier: Sequence[Record]) -> Fault | None:
        """Return the fault of a request, and count it."""
        for injection in self._injections:
            kind = injection.kind
            if self.met[kind.name] < injection.times and kind.fits(phase, label, earlier):
                self.met[kind.name] += 1
                return injection.fault
        return None


class Line:
    """A cell's way to the server: what it asked for, and what became of that.

    Args:
        choose: Chooses the faults; called under the line's lock.
        most: How many requests are kept; ``None`` keeps all.

    Attributes:
        phase: What the cell is at.
    """

    def __init__(self, choose: Choose, most: int | None = None) -> None:
        self.phase = "setup"
        self._choose = choose
        self._most = most
        self._changed = threading.Condition()
        self._records: dict[int, Record] = {}
        self._numbers = itertools.count()
        self._under_way = 0

    @property
    def records(self) -> list[Record]:
        """The requests so far, in the order in which they came."""
        with self._changed:
            return list(self._records.values())

    def begin(self, label: str) -> tuple[int, Fault | None]:
        """Take in a request, and return its number and its fault."""
        with self._changed:
            number = next(self._numbers)
            fault = self._choose(self.phase, label, list(self._records.values()))
            self._records[number] = Record(self.phase, label, fault, time.monotonic())
            if self._most is not None:
                self._records.pop(number - self._most, None)
            self._under_way += 1
            return number, fault

    def answered(self, number: int, status: int | None) -> None:
        """Take in that a request is answered from now on, or its connection closed."""
        with self._changed:
            record = self._records.get(number)
            if record is not None:
                self._records[number] = attrs.evolve(
                    record, status=status, answered_at=time.monotonic()
                )

    def end(self) -> None:
        """Take in that a request is done with."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def wait_until_quiet(self, timeout: float) -> bool:
        """Wait until no request is held up any more, and return whether it came so far."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, timeout)


class FaultServer:
    """The embedded server, in memory, and the layer in front of it.

    Attributes:
        model: Who answers.
        engine: What runs the server; its storage shows what the server has.
    """

    def __init__(self) -> None:
        self.model = FaultModel()
        self.engine = make_engine(":memory:", models=[self.model])
        self._app = create_app(self.engine).wsgi_app
        self._lines: dict[str, Line] = {}
        self._server = StubServer(self._answer, keeps=False)

    def open(self, name: str, line: Line) -> str:
        """Add a line, and return the base URL at which its faults happen."""
        self._lines[name] = line
        return f"{self._server.base_url.removesuffix('/v1')}/cells/{name}/v1"

    def drop(self, name: str) -> None:
        """Remove a line."""
        self._lines.pop(name, None)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request past the layer, and return the object in its answer."""
        answer = self._forward(Request(method, path, {}, {}, body), path)
        assert answer.status == 200, answer
        return json.loads(answer.body)

    def stop(self) -> None:
        """Stop listening, and close the storage."""
        self._server.stop()
        self.engine.close()

    def _answer(self, request: Request) -> Response:
        found = _PREFIX.fullmatch(request.path)
        line = self._lines.get(found[1]) if found else None
        if found is None or line is None:
            return Response({"error": {"message": f"no such cell: {request.path}"}}, 404)
        path = found[2]
        number, fault = line.begin(label_of(request, path))
        try:
            answer = self._injected(fault, request, path)
        except BaseException:
            line.answered(number, None)
            line.end()
            raise
        line.answered(number, answer.status)
        if isinstance(answer.body, Iterator):
            return attrs.evolve(answer, body=_watched(answer.body, line.end))
        line.end()
        return answer

    def _injected(self, fault: Fault | None, request: Request, path: str) -> Response:
        def forward() -> Response:
            return self._forward(request, path)

        if fault is None:
            return forward()
        if not fault.for_streams:
            return fault.answer(forward)
        # A stream is cut where there is one: a refusal goes through as it is.
        answer = forward()
        return fault.answer(lambda: answer) if isinstance(answer.body, Iterator) else answer

    def _forward(self, request: Request, path: str) -> Response:
        environ = create_environ(
            path=f"/v1{path}",
            method=request.method,
            query_string=urlencode(request.query),
            json=request.body,
        )
        body, status, headers = run_wsgi_app(self._app, environ, buffered=False)
        kept = {
            name.lower(): value
            for name, value in headers
            if name.lower() in ("content-type", "openai-poll-after-ms", "x-request-id")
        }
        if kept.get("content-type", "").startswith("text/event-stream"):
            return Response(_pieces(body), int(status.split()[0]), kept)
        content = b"".join(body)
        close(body)
        return Response(content, int(status.split()[0]), kept)


def _pieces(body: Any) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        getattr(body, "close", lambda: None)()


def _watched(body: Iterator[bytes], ended: Callable[[], None]) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        close(body)
        ended()
