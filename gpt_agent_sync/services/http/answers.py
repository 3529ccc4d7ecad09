"""Reading answers: the JSON object, the hints in the headers, the errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_sync.errors import AuthenticationError, ProtocolError, ServiceError
from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.services.http.errors import error_from_answer
from gpt_agent_sync.services.http.redaction import NO_SECRETS, Redaction
from gpt_agent_sync.services.http.shapes import Unshown, is_id
from gpt_agent_sync.services.http.sse import ServerEvents

LONGEST_QUOTE = 200
"""Characters of a body that is no JSON that an error quotes."""


@attrs.frozen
class Answer:
    """A successful answer.

    Attributes:
        data: The JSON object.
        poll_after: Seconds the server asks to wait before the next poll
            (``openai-poll-after-ms``).
        request: Method and path, for error messages.
        events: What is still to come, of an answer that is a stream.
        date: The answer's ``Date`` header.
    """

    data: dict[str, Any] = attrs.field(repr=False)  # may hold what people say
    poll_after: float | None
    request: str
    _request_id: str | None = attrs.field(repr=False)
    _redaction: Redaction = attrs.field(default=NO_SECRETS, repr=False)
    events: ServerEvents | None = None
    date: str | None = None

    @property
    def request_id(self) -> str | None:
        """The server's id of the request."""
        return None if self._request_id is None else self._redaction.text(self._request_id)

    def server_time(self) -> float:
        """Return the server's Unix time: a client's clock may be wrong by minutes."""
        from email.utils import parsedate_to_datetime

        try:
            return parsedate_to_datetime(self.date or "").timestamp()
        except (ValueError, OverflowError):
            return time.time()

    def require(self, field: str) -> str:
        """Return an id that the wire promises.

        Raises:
            ProtocolError: If it is missing, blank or no id.
        """
        value = self.data.get(field)
        if not is_id(value):
            raise ProtocolError(
                f"the answer to {self.request} lacks a text in {field!r}",
                request_id=self.request_id,
            )
        return value


def read_answer(
    request: str, status: int, headers: Mapping[str, str], body: bytes, redaction: Redaction
) -> Answer:
    """Read an answer, or raise what it stands for.

    Args:
        request: Method and URL, for messages.
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The whole body.
        redaction: The secrets of the request, which no error shows.

    Raises:
        ServiceError: If the answer is an error, or not a JSON object.
    """
    # OpenAI's name for it, and that of Azure's gateway.
    request_id = headers.get("x-request-id") or headers.get("apim-request-id")
    data: Any = None
    # Else a proxy's page of HTML, say; the status still tells what became of the request.
    with contextlib.suppress(ValueError):
        data = read_foreign_json(body)
    if not (200 <= status < 300 and isinstance(data, dict)):
        error = _error_in(request, status, headers, body, data, request_id, redaction)
        # A service may echo the key, and error trackers keep the variables of a frame.
        del headers, body, data, request_id
        raise error
    poll_after = _number(headers.get("openai-poll-after-ms"))
    return Answer(
        data=Unshown(redaction.answer(data)),
        poll_after=None if poll_after is None else poll_after / 1000,
        request=request,
        request_id=request_id,
        redaction=redaction,
        date=headers.get("date"),
    )


def _error_in(
    request: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    data: Any,
    request_id: str | None,
    redaction: Redaction,
) -> ServiceError:
    """Return the error that an answer stands for which is none that was asked for."""
    text = body.decode("utf-8", "replace")
    request_id = None if request_id is None else redaction.text(request_id)
    if not 200 <= status < 300:
        error = error_from_answer(
            request,
            status,
            redaction.error(data) if isinstance(data, dict) else None,
            redaction.text(text)[:LONGEST_QUOTE],
            retry_after=read_retry_after(headers, time.time()),
            request_id=request_id,
        )
        if isinstance(error, AuthenticationError) and not redaction.has_credentials:
            error = AuthenticationError(
                f"{error.message} (no key was sent: pass api_key, or name the server in "
                "OPENAI_BASE_URL beside OPENAI_API_KEY)",
                status=status,
                code=error.code,
                request_id=request_id,
            )
        return error
    # What may be half an answer is not quoted: people's messages are in it.
    is_page = data is None and not text.lstrip().startswith(("{", "["))
    kind = redaction.text(headers.get("content-type") or "of no stated type")
    quoted = redaction.text(text)[:LONGEST_QUOTE]
    said = repr(quoted) if is_page else f"{len(body)} bytes of JSON or its beginning"
    return ProtocolError(
        f"the answer to {request} is not a JSON object but {kind}: {said}",
        status=status,
        request_id=request_id,
        # A proxy's page, or half an answer: what was asked for may well have been done.
        in_doubt=True,
    )


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read ``retry-after-ms`` or ``Retry-After`` (seconds or a date, RFC 9110 10.2.3).

    Args:
        headers: The answer's headers.
        now: Unix time.

    Returns:
        Seconds, or ``None`` when there is none that can be read.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    # Imported here, as it costs more than all else in this module and is hardly ever needed.
    import email.utils

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):  # what no calendar holds
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None
