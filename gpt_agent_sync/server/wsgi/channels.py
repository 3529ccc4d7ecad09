"""One connection: its requests, read strictly, and how they are answered."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest

from gpt_agent_sync.server.admission import too_large
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.strict_json import encode

SMALL_BODY = 1024

FIELD_BYTES = 64 * 1024
"""How large the head of a request may be, and what comes after a body in chunks."""

LINE_BYTES = 4096
"""How long the line with the size of a chunk may be, what is noted beside that included."""


class _Parser(HTTPRequestParser):
    """A parser that takes no request whose length is said in two ways (RFC 9112, section 6.3)."""

    body_rcv: Any

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as exc:
            # Of a number, or an address, that Python does not read.
            raise ParsingError("a line of the head cannot be read") from exc
        # By the headers, as they were: the library forgets a length beside the other.
        names = [line.partition(b":")[0].strip().lower() for line in header_plus.split(b"\n")]
        if b"content-length" in names and b"transfer-encoding" in names:
            raise ParsingError("Content-Length and Transfer-Encoding in one request")
        if names.count(b"host") > 1:
            raise ParsingError("more than one Host header")
        if self.chunked:
            self.body_rcv = _Chunks(self.body_rcv.getbuf())


class _Chunks(ChunkedReceiver):
    """A body in chunks, between which there is not much: the library reads that again and again."""

    def received(self, s: bytes) -> int:
        """Take what has come, and return how much of it belongs to the body."""
        consumed: int = super().received(s)
        if len(self.control_line) > LINE_BYTES:
            self.error = BadRequest("The size of a chunk is too long")
        elif not self.completed and len(self.trailer) > FIELD_BYTES:
            self.error = BadRequest("The fields after the chunks are too long")
        return consumed


class _Task(WSGITask):
    """A task after whose answer of unknown length the connection stays open."""

    def set_close_on_finish(self) -> None:
        # Called while the head is made only for want of a length, which chunks do not need.
        if not (self.chunked_response and not self.wrote_header):
            super().set_close_on_finish()


class _ErrorTask(ErrorTask):
    """The refusal of a request that cannot be read, in the words of the wires."""

    def execute(self) -> None:
        """Write it."""
        error = self.request.error
        kind = "invalid_request_error" if error.code < 500 else "server_error"
        refusal = WireError(error.code, f"{error.reason}: {error.body}", kind=kind)
        if error.code == 413:
            most = self.channel.server.adj.max_request_body_size - SMALL_BODY
            refusal = too_large(most // 2)
        body = encode(refusal.body()).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class Channel(HTTPChannel):
    """A connection."""

    task_class = _Task
    error_task_class = _ErrorTask

    def add_channel(self, map: Any = None) -> None:
        """Have the loop wait for it."""
        super().add_channel(map)
        self.server.fresh.add(self)

    parser_class = _Parser

    def handle_close(self) -> None:
        """Close it, for the client too where a forked child has it as well."""
        if self.socket is not None and self.connected:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        super().handle_close()
