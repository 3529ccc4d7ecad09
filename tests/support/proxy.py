"""A proxy in front of a server, where a test decides what becomes of each request."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import requests

from tests.support.stub import Answerer, Request, Response

PATIENCE = 10.0
"""Seconds after which what a test holds up goes on all the same."""

KEPT_HEADERS = ("content-type", "openai-poll-after-ms", "retry-after")

Forward = Callable[[], Response]
Hook = Callable[[Request, Forward], Response]


def forwarding(base_url: str, hook: Hook) -> Answerer:
    """Return what answers a request as a hook does, which may forward it to a server."""

    def answer(request: Request) -> Response:
        return hook(request, lambda: _forward(base_url, request))

    return answer


def _forward(base_url: str, request: Request) -> Response:
    answer = requests.request(
        request.method,
        base_url + request.path,
        params=dict(request.query),
        json=request.body,
        timeout=PATIENCE,
        stream=True,
    )
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    if headers["content-type"].startswith("text/event-stream"):
        return Response(_pieces(answer), answer.status_code, headers)
    return Response(answer.content, answer.status_code, headers)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    """Hand a stream on as it comes."""
    with answer:
        yield from answer.iter_content(None)


class Gate:
    """A hook that holds up one request of a kind, and forwards all others.

    Attributes:
        met: Set when the request has come.

    Args:
        fits: Tells a request of the kind.
        nth: Which of them is held up, counted from one.
        answer: What it is answered; ``None`` has it forwarded.
        is_open: Whether it is answered at once.
    """

    def __init__(
        self,
        fits: Callable[[Request], bool],
        nth: int = 1,
        answer: Response | None = None,
        *,
        is_open: bool = False,
    ) -> None:
        self.met = threading.Event()
        self._go = threading.Event()
        self._fits = fits
        self._nth = nth
        self._answer = answer
        self._number = itertools.count(1)
        if is_open:
            self._go.set()

    def open(self) -> None:
        """Let the request go on."""
        self._go.set()

    def __call__(self, request: Request, forward: Forward) -> Response:
        """Answer a request."""
        if not self._fits(request) or next(self._number) != self._nth:
            return forward()
        self.met.set()
        assert self._go.wait(PATIENCE)
        return forward() if self._answer is None else self._answer
