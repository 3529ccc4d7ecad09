"""What may become of a request on its way, or of its answer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import attrs

from tests.support.stub import HangUp, Response

READ_TIMEOUT = 1.2
"""Seconds of silence that the cells' services bear where a fault is silence."""

STALL = READ_TIMEOUT + 0.1
"""Seconds that a stalled request is held up: until a moment after the client has given it up, while
that still looks for what became of it."""

LONG_STALL = READ_TIMEOUT + 0.8
"""The same, until no look comes any more."""

RETRY_AFTER = 0.1

STATUSES = (400, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504)

REFUSALS = frozenset({400, 401, 403, 404, 409, 425})
"""Statuses that say that a write was not done."""

CUTS = 14
"""Events after which streams are cut: as many as the longest one has, or a few more."""

Forward = Callable[[], Response]
"""Has the server handle the request, and returns its answer."""

HTML = b"<!DOCTYPE html><html><body><h1>Welcome to nginx!</h1></body></html>"


@attrs.frozen(kw_only=True)
class Fault(ABC):
    """What becomes of a request.

    Attributes:
        name: Its name.
        status: The status it answers, where it refuses or fails.
        handled: Whether the service handles the request all the same.
        slow: Whether the service may still be working on it when the client hears of it.
        silent: Whether the client hears nothing.
        for_writes: Whether it means something for requests that write only.
        for_streams: Whether it means something for answers that are streams only.
        retry_after: Seconds of pause that it asks for.
        leaves_answer: Whether the answer is whole all the same.
    """

    name: str
    status: int | None = None
    handled: bool = False
    slow: bool = False
    silent: bool = False
    for_writes: bool = False
    for_streams: bool = False
    retry_after: float | None = None
    leaves_answer: bool = False

    @abstractmethod
    def answer(self, forward: Forward) -> Response:
        """Answer a request; raises ``HangUp`` where its connection is closed."""


class Refused(Fault):
    """An error status; the request may have been handled before."""

    def answer(self, forward: Forward) -> Response:
        """Answer the status."""
        if self.handled:
            drop(forward())
        assert self.status is not None
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        error = {"message": f"injected {self.status}", "type": "injected", "code": None}
        return Response({"error": error}, self.status, headers)


@attrs.frozen(kw_only=True)
class Unreadable(Fault):
    """A good status, and a body that is no answer.

    Attributes:
        body: The body.
        content_type: What it says it is.
    """

    body: bytes
    content_type: str

    def answer(self, forward: Forward) -> Response:
        """Answer the body."""
        drop(forward())
        return Response(self.body, 200, {"Content-Type": self.content_type})


class Torn(Fault):
    """A connection that is closed in the middle of the answer."""

    def answer(self, forward: Forward) -> Response:
        """Answer half of the body, and hang up."""
        answer = forward()
        pieces = iter([answer.body]) if isinstance(answer.body, bytes) else answer.body
        return Response(_cut(pieces, 0, _MIDDLE), answer.status, answer.headers)


@attrs.frozen(kw_only=True)
class Mislabelled(Fault):
    """A whole answer under another content type, or under none.

    Attributes:
        content_type: The type; ``None`` for none.
    """

    content_type: str | None

    def answer(self, forward: Forward) -> Response:
        """Answer as the server does, but for the header."""
        answer = forward()
        kept = {name: value for name, value in answer.headers.items() if name != "content-type"}
        return attrs.evolve(answer, headers={**kept, "Content-Type": self.content_type})


class Closed(Fault):
    """A connection that is closed without an answer."""

    def answer(self, forward: Forward) -> Response:
        """Hang up."""
        if self.handled:
            drop(forward())
        raise HangUp


@attrs.frozen(kw_only=True)
class Stalled(Fault):
    """Silence for longer than the client waits.

    Attributes:
        late: Whether the request is handled after the silence, and not before.
        seconds: How long it is held up.
    """

    late: bool = False
    seconds: float = STALL

    def answer(self, forward: Forward) -> Response:
        """Hold the request up, and hang up."""
        if self.handled and not self.late:
            drop(forward())
        threading.Event().wait(self.seconds)
        if self.late:
            drop(forward())
        raise HangUp


_MIDDLE, _BROKEN, _ENDED, _SILENT = "in the middle of", "after", "ended after", "silent after"


@attrs.frozen(kw_only=True)
class Cut(Fault):
    """A stream that does not go to its end.

    Attributes:
        events: How many events it has.
        how: Whether half an event follows, the connection is closed, the stream ends as if it were
            whole, or nothing comes any more.
    """

    events: int
    how: str

    def answer(self, forward: Forward) -> Response:
        """Answer the beginning of the stream."""
        answer = forward()
        return attrs.evolve(answer, body=_cut(answer.body, self.events, self.how))


def _cut(pieces: Iterator[bytes], count: int, how: str) -> Iterator[bytes]:
    """Yield as many pieces, and do then as ``how`` says."""
    try:
        for number, piece in enumerate(pieces):
            if number < count:
                yield piece
                continue
            if how == _MIDDLE:
                yield piece[: len(piece) // 2]
            if how == _SILENT:
                threading.Event().wait(STALL)
            if how != _ENDED:
                raise HangUp
            return
    finally:
        close(pieces)


def drop(answer: Response) -> None:
    """Let go of an answer that nobody gets."""
    close(answer.body)


def close(body: object) -> None:
    """Let go of the rest of a stream."""
    if isinstance(body, Iterator):
        getattr(body, "close", lambda: None)()


def _refusals() -> Iterator[Fault]:
    for status in STATUSES:
        slow = status in (408, 504)
        yield Refused(name=str(status), status=status, slow=slow)
        yield Refused(
            name=f"{status} Retry-After", status=status, slow=slow, retry_after=RETRY_AFTER
        )


def _broken_answers() -> Iterator[Fault]:
    def unreadable(name: str, body: bytes, content_type: str) -> Fault:
        return Unreadable(name=name, handled=True, body=body, content_type=content_type)

    yield unreadable("HTML", HTML, "text/html")
    yield unreadable("half a JSON", b'{"id": "run_1", "obj', "application/json")
    yield unreadable("empty", b"", "application/json")
    yield Torn(name="torn answer", handled=True)
    yield Mislabelled(
        name="text/plain", handled=True, leaves_answer=True, content_type="text/plain"
    )
    yield Mislabelled(name="no content type", handled=True, leaves_answer=True, content_type=None)
    yield Closed(name="closed before")
    yield Closed(name="closed after", handled=True)
    for status in (500, 503):
        yield Refused(name=f"handled {status}", status=status, handled=True, for_writes=True)
    silent = {"slow": True, "silent": True}
    yield Stalled(name="stall, dropped", **silent)
    late = {"handled": True, "late": True, "for_writes": True, **silent}
    yield Stalled(name="stall, then handled", **late)
    yield Stalled(name="long stall, then handled", seconds=LONG_STALL, **late)
    yield Stalled(name="handled, then stall", handled=True, **silent)


def cuts(events: int = CUTS) -> Iterator[Fault]:
    """Yield the cuts of a stream of that many events."""
    for count in range(events):
        for how in (_BROKEN, _MIDDLE, _ENDED):
            yield cut(count, how)
    for count in (1, 3, 5):
        yield cut(count, _SILENT)


def cut(events: int, how: str = _BROKEN) -> Fault:
    """Return the cut of a stream after some events."""
    return Cut(
        name=f"stream {how} event {events}",
        handled=True,
        slow=how == _SILENT,
        silent=how == _SILENT,
        for_streams=True,
        leaves_answer=True,
        events=events,
        how=how,
    )


FAULTS: tuple[Fault, ...] = (*_refusals(), *_broken_answers())
"""The faults that any request may meet."""

BY_NAME = {fault.name: fault for fault in (*FAULTS, *cuts())}
