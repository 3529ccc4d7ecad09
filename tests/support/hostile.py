"""A server that means harm: what it answers is slow, large, deep or endless."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from typing import Any

from tests.support.plain import PlainServer, read_request

DRIP = 0.02
"""Seconds between two bytes of what trickles."""

MIB = 1024 * 1024

Answer = Callable[[str, threading.Event], Iterator[bytes]]
"""Yields what is said in answer to a request, such as ``"GET /v1/x?limit=1"``, until the event is
set; it may pause by that."""


def head(length: int | None = None, kind: str = "application/json", **others: str) -> bytes:
    """Return the head of an answer; without a length it ends with its connection."""
    names = {
        "Content-Type": kind,
        **{name.replace("_", "-"): text for name, text in others.items()},
    }
    if length is None:
        names["Connection"] = "close"
    else:
        names["Content-Length"] = str(length)
    lines = "".join(f"{name}: {text}\r\n" for name, text in names.items())
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode()


def whole(body: bytes | object, **others: str) -> bytes:
    """Return a whole answer with this body, or JSON of it."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(len(content), **others) + content


def refusal(status: int, body: bytes, *headers: str) -> bytes:
    """Return an answer with an error status."""
    lines = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status} No\r\n{lines}\r\n".encode() + body


def fixed(answer: bytes) -> Answer:
    """Say the same to every request."""
    return lambda line, over: iter([answer])


def dripping(begin: bytes, drop: bytes) -> Answer:
    """Say a beginning, and then a little again and again, for ever."""

    def drip(line: str, over: threading.Event) -> Iterator[bytes]:
        yield begin
        while not over.wait(DRIP):
            yield drop

    return drip


def pouring(begin: bytes, piece: bytes) -> Answer:
    """Say a beginning, and then as much as the connection takes, for ever."""

    def pour(line: str, over: threading.Event) -> Iterator[bytes]:
        yield begin
        while not over.is_set():
            yield piece

    return pour


def silent(line: str, over: threading.Event) -> Iterator[bytes]:
    """Say nothing."""
    over.wait()
    yield b""


@functools.cache
def gzip_bomb(mebibytes: int) -> bytes:
    """Return blanks, which JSON may begin with, a thousandth as large as what they unpack to."""
    return gzip.compress(b" " * 16 * MIB) * (mebibytes // 16)


def bomb(mebibytes: int) -> Answer:
    """Answer with a body that unpacks to much more."""
    return lambda line, over: iter([whole(gzip_bomb(mebibytes), Content_Encoding="gzip")])


def alternating(entry: Callable[[str], Any]) -> Answer:
    """Answer with pages of a list that lead to each other in turn."""
    names = itertools.cycle("ab")
    return lambda line, over: iter([page(entry(next(names)))])


def unending(entry: Callable[[str], Any]) -> Answer:
    """Answer with pages of a list each of which has another one after it."""
    numbers = itertools.count()
    return lambda line, over: iter([page(entry(str(next(numbers))))])


def page(entry: Any) -> bytes:
    """Return a page of a list that is said to go on."""
    listed = {"object": "list", "data": [entry], "has_more": True, "last_id": entry["id"]}
    return whole(listed)


STREAM = head(kind="text/event-stream")

DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
DEEP_LIST = b"[" * 1_000_000
NEARLY_TOO_DEEP = b'{"error":' + b"[" * 850 + b"]" * 850 + b"}"
HUGE_NUMBER = b'{"id": ' + b"9" * 100_000 + b"}"

TRICKLES: dict[str, Answer] = {
    "silence": silent,
    "head": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "interim": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": dripping(head(10_000_000), b" "),
    "chunks": dripping(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "untyped": dripping(head(kind="text/plain"), b" "),
    "comments": dripping(STREAM, b": still here\n\n"),
}
"""Answers that never come to their end, and are hardly ever silent."""

TOO_LARGE: dict[str, Answer] = {
    "bomb": bomb(3072),
    "endless": pouring(head(), b" " * MIB),
    "endless-error": pouring(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n", b"x" * MIB),
    "said": fixed(head(10**15)),
}
"""Answers that do not fit into any memory."""

UNREADABLE: dict[str, Answer] = {
    "deep": fixed(whole(DEEP)),
    "deep-list": fixed(whole(DEEP_LIST)),
    "deep-error": fixed(refusal(400, NEARLY_TOO_DEEP)),
    "nearly-too-deep": fixed(whole(NEARLY_TOO_DEEP)),
    "huge-number": fixed(whole(HUGE_NUMBER)),
    "huge-message": fixed(refusal(400, json.dumps({"error": "x" * 10_000_000}).encode())),
    "no-utf": fixed(whole(b'{"id": "\xff\xfe"}')),
    "many-headers": fixed(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n"),
    "long-header": fixed(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 1_000_000 + b"\r\n\r\n"),
    "huge-chunk": pouring(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"f" * MIB),
    "retry-after-for-ever": fixed(refusal(429, b"{}", "Retry-After: 1e300")),
    "retry-after-no-calendar": fixed(
        refusal(503, b"{}", "Retry-After: Mon, 01 Jan 2024 00:00:00 +9999999999999999999")
    ),
}
"""Answers that mean nothing, each in a way of its own."""

STREAMS: dict[str, Answer] = {
    "huge-event": pouring(STREAM + b"data: ", b"x" * MIB),
    "huge-lines": pouring(STREAM, b"data: x\n" * 10_000),
    "deep-event": fixed(STREAM + b"event: thread.run.created\ndata: " + DEEP + b"\n\n"),
    "bomb": lambda line, over: iter(
        [
            head(kind="text/event-stream", Content_Encoding="gzip")
            + gzip.compress(b"data: ")
            + gzip_bomb(3072)
        ]
    ),
}
"""Streams whose next event is none that can be held."""


class HostileServer:
    """A server on a loopback port that answers every request in the same hostile way.

    Args:
        answer: What it says.

    Attributes:
        lines: Method and target of each request so far.
    """

    def __init__(self, answer: Answer) -> None:
        self.lines: list[str] = []
        self._over = threading.Event()

        def speak(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
            while lines := read_request(reader):
                line = lines[0].decode().rpartition(" ")[0]
                self.lines.append(line)
                said = b""
                for piece in answer(line, self._over):
                    said = said or piece
                    writer.write(piece)
                if b"Content-Length" not in said:
                    return  # the answer ends with its connection

        self._server = PlainServer(speak)

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return self._server.base_url

    def stop(self) -> None:
        """Stop listening, and fall silent."""
        self._over.set()
        self._server.stop()
