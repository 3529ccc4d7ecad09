"""Answers of an upstream, read with bounds in size and time: it may be broken, or somebody else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import requests
from urllib3.exceptions import HTTPError

PIECE = 65536

MOST_BYTES = 64 * 1024 * 1024
"""How large an answer may be, unpacked, that is no stream."""

MOST_STREAM_BYTES = 256 * 1024 * 1024
"""How large a stream may be: a million tokens and more."""

LONGEST_REPLY = 3600.0
"""Seconds in which an answer has to be whole, however it trickles in."""


class UnboundedAnswerError(requests.RequestException):
    """An answer is larger, or takes longer, than any that makes sense."""


def read_whole(response: requests.Response) -> bytes:
    """Return a body.

    Raises:
        requests.RequestException: If it breaks off, or is not bounded.
    """
    return join(read_pieces(response))


def join(pieces: Iterable[bytes]) -> bytes:
    """Return a body whose pieces come.

    Raises:
        requests.RequestException: If it breaks off, or is not bounded.
    """
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MOST_BYTES:
            raise UnboundedAnswerError(f"an answer of more than {MOST_BYTES} bytes")
    return bytes(body)


def read_pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield a body as it comes.

    Raises:
        requests.RequestException: If it breaks off, or is not bounded.
    """
    until, size = time.monotonic() + LONGEST_REPLY, 0
    said = response.headers.get("Content-Length", "")
    if said.isdecimal() and len(said) < 20 and int(said) > MOST_STREAM_BYTES:
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
        if size > MOST_STREAM_BYTES:
            raise UnboundedAnswerError(f"an answer of more than {MOST_STREAM_BYTES} bytes")
        if time.monotonic() > until:
            raise UnboundedAnswerError(f"no whole answer in {LONGEST_REPLY:.0f} s")
        yield piece
