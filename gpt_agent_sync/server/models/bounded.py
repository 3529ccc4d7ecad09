"""Answers of an upstream, read with bounds in size and time: it may be broken, or somebody else."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError

PIECE = 65536

MOST_BYTES = 64 * 1024 * 1024
"""How large an answer may be, unpacked, that is no stream."""

MOST_STREAM_BYTES = 256 * 1024 * 1024
"""How large a stream may be: a million tokens and more."""

MOST_LINE_BYTES = 16 * 1024 * 1024
"""How long a line of a stream may be, which is an event."""

LONGEST_REPLY = 3600.0
"""Seconds in which an answer has to be whole, however it trickles in."""


class UnboundedAnswerError(requests.RequestException):
    """An answer is larger, or takes longer, than any that makes sense."""


def read_whole(response: requests.Response) -> bytes:
    """Return a body.

    Raises:
        requests.RequestException: If it breaks off, or is not bounded.
    """
    return b"".join(_pieces(response, MOST_BYTES))


def read_lines(response: requests.Response) -> Iterator[bytes]:
    """Yield the lines of a stream as they come, without their ends.

    Raises:
        requests.RequestException: If it breaks off, or is not bounded.
    """
    begun: list[bytes] = []
    size = 0
    for piece in _pieces(response, MOST_STREAM_BYTES):
        # A line that comes in small pieces is put together once, at its end.
        first, *others = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > MOST_LINE_BYTES:
            raise UnboundedAnswerError(f"a line of more than {MOST_LINE_BYTES} bytes")
        if others:
            yield b"".join(begun).rstrip(b"\r")
            for line in others[:-1]:
                yield line.rstrip(b"\r")
            begun, size = [others[-1]], len(others[-1])
    if size:
        yield b"".join(begun).rstrip(b"\r")


def _pieces(response: requests.Response, most: int) -> Iterator[bytes]:
    until, size = time.monotonic() + LONGEST_REPLY, 0
    said = response.headers.get("Content-Length", "")
    if said.isdecimal() and len(said) < 20 and int(said) > most:
        raise UnboundedAnswerError(f"an answer of {said} bytes")
    while True:
        try:
            # What there is, or ``requests`` would wait for as much as it was asked for.
            piece = response.raw.read1(PIECE, decode_content=True)
        except (HTTPError, OSError) as exc:
            raise requests.ConnectionError(exc) from exc
        if not piece:
            return
        size += len(piece)
        if size > most:
            raise UnboundedAnswerError(f"an answer of more than {most} bytes")
        if time.monotonic() > until:
            raise UnboundedAnswerError(f"no whole answer in {LONGEST_REPLY:.0f} s")
        yield piece
