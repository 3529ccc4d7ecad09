"""Reading answers: the JSON object, the hints in the headers, the errors."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.services.http.errors import error_from_answer
from gpt_agent_sync.services.http.sse import ServerEvents


@attrs.frozen
class Answer:
    """A successful answer.

    Attributes:
        data: The JSON object.
        poll_after: Seconds the server asks to wait before the next poll
            (``openai-poll-after-ms``).
        request: Method and path, for error messages.
        request_id: The server's id of the request.
        events: What is still to come, of an answer that is a stream.
    """

    data: dict[str, Any]
    poll_after: float | None
    request: str
    request_id: str | None
    events: ServerEvents | None = None

    def require(self, field: str) -> str:
        """Return a text field that the wire promises.

        Raises:
            ProtocolError: If it is missing, blank or no text.
        """
        value = self.data.get(field)
        if not isinstance(value, str) or not value:
            raise ProtocolError(
                f"the answer to {self.request} lacks a text in {field!r}",
                request_id=self.request_id,
            )
        return value


def read_answer(request: str, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Read an answer, or raise what it stands for.

    Args:
        request: Method and URL, for messages.
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The whole body.

    Raises:
        ServiceError: If the answer is an error, or not a JSON object.
    """
    # OpenAI's name for it, and that of Azure's gateway.
    request_id = headers.get("x-request-id") or headers.get("apim-request-id")
    try:
        data = json.loads(body)
    except ValueError:
        # A proxy's page of HTML, say; the status still tells what became of the request.
        data = None
    if not 200 <= status < 300:
        raise error_from_answer(
            request,
            status,
            data if isinstance(data, dict) else None,
            _beginning(body),
            retry_after=read_retry_after(headers, time.time()),
            request_id=request_id,
        )
    if not isinstance(data, dict):
        kind = headers.get("content-type") or "of no stated type"
        raise ProtocolError(
            f"the answer to {request} is not a JSON object but {kind}: {_beginning(body)!r}",
            status=status,
            request_id=request_id,
            # A proxy's page, or half an answer: what was asked for may well have been done.
            in_doubt=True,
        )
    poll_after = _number(headers.get("openai-poll-after-ms"))
    return Answer(
        data=data,
        poll_after=None if poll_after is None else poll_after / 1000,
        request=request,
        request_id=request_id,
    )


def _beginning(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace")


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
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < float("inf") else None
