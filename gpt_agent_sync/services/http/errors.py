"""What an error answer means: from status, code and message to one of our errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpt_agent_sync.errors import (
    AuthenticationError,
    OutputTooLongError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.services.http.shapes import as_object

MOST_SAID = 2000
"""Characters of what a service says of an error that are kept: it goes into logs and events."""

_BUSY_WORDS = (
    "while a run",
    "already has an active run",
    "currently operating on this conversation",
)
_NO_OUTPUTS = ("No tool output found",)
_NO_CALLS = ("No tool call found", "no corresponding function_call")
_MISSING_WORDS = ("not implemented", "not yet implemented")
_TOO_LONG_CODES = ("string_above_max_length",)
_TOO_LONG_WORDS = ("too long", "too large", "maximum length", "max_length", "at most")
_TIMEOUT_STATUSES = (408, 504)
_BUSY_CODES = frozenset({"conversation_locked"})
_STATUS_OF = {"rate_limit_exceeded": 429, "insufficient_quota": 429, "server_error": 500}
_CALL_ID = re.compile(r"No tool output found for ([\w ]{0,40}?call) (\S+?)\.?(?:\s|$)")
_RUN_ID = re.compile(r"\brun (\S+?) is active|active run (\S+?)\.?$")


def error_from_answer(
    request: str,
    status: int,
    data: Mapping[str, Any] | None,
    text: str,
    *,
    retry_after: float | None = None,
    request_id: str | None = None,
) -> ServiceError:
    """Return the error that an answer with an error status stands for.

    Servers say ``code: null`` nearly everywhere, so the stable words of the message are
    matched too.

    Args:
        request: Method and URL, for the message.
        status: The HTTP status.
        data: The JSON object in the body, if it is one.
        text: The beginning of the body.
        retry_after: Seconds the service asks to wait.
        request_id: The service's id of the request.
    """
    code, said = read_error(data)
    message = f"{request}: {said or text.strip() or 'no reason given'}"
    facts: dict[str, Any] = {"status": status, "code": code, "request_id": request_id}
    # Busy before all else: a thread with a live run is refused with 400, as bad input is.
    if code in _BUSY_CODES or (status in (400, 409) and _says(said, _BUSY_WORDS)):
        return ServiceBusyError(message, run_id=_run_id(said), **facts)
    if status in (401, 403):
        return AuthenticationError(message, **facts)
    if status == 429:
        return RateLimitError(message, retry_after=retry_after, **facts)
    # A server that lacks a route or an option says so with a 5xx, which no repeat would mend.
    if status == 501 or (status >= 500 and _says(said, _MISSING_WORDS)):
        return RequestRejectedError(message, **facts)
    if status == 408 or status >= 500:
        timed_out = status in _TIMEOUT_STATUSES
        return ServiceUnavailableError(
            message, in_doubt=True, timed_out=timed_out, retry_after=retry_after, **facts
        )
    if status >= 400:
        return RequestRejectedError(message, **facts)
    return ProtocolError(f"{request}: unexpected redirect or status", **facts)


def error_from_event(request: str, data: Mapping[str, Any]) -> ServiceError:
    """Return the error that an event of a stream stands for, by its code and type.

    What has neither may have been handled all the same.

    Args:
        request: Method and path, for the message.
        data: The object it holds.
    """
    code, said = read_error(data)
    kind = as_object(data.get("error", data)).get("type")
    if code is not None and code.isdigit():
        status = int(code)
    else:
        refused = kind == "invalid_request_error" or str(code).startswith("invalid")
        status = _STATUS_OF.get(code or "", 400 if refused else 500)
    error = error_from_answer(request, status, data, said or "")
    # A stream has one status, 200: ours was only a way to find the class.
    error.status = None
    return error


def lacks_outputs(error: ServiceError) -> bool:
    """Return whether a response was refused because earlier calls have no outputs."""
    return _says(error.message, _NO_OUTPUTS)


def missing_call(error: ServiceError) -> tuple[str, str] | None:
    """Return kind and id of the call that has no output, where the error names it.

    The kind is in the service's words, such as ``"function call"``.
    """
    found = _CALL_ID.search(error.message)
    return (found[1], found[2]) if found else None


def lacks_calls(error: ServiceError) -> bool:
    """Return whether outputs were refused because their calls are not (yet) there."""
    return _says(error.message, _NO_CALLS)


def too_long(error: RequestRejectedError, limit: int) -> RequestRejectedError:
    """Return the refusal of tool outputs; one for their length says so, and the limit.

    Args:
        error: The refusal.
        limit: The most bytes that the wire takes.
    """
    said = _says(error.message.lower(), _TOO_LONG_WORDS)
    if not (error.status == 413 or error.code in _TOO_LONG_CODES or said):
        return error
    return OutputTooLongError(
        error.message,
        limit=limit,
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        in_doubt=error.in_doubt,
    )


def lacks_route(error: ServiceError) -> bool:
    """Return whether a server refuses what it never does, whatever it is asked about."""
    return error.status in (405, 501) or _says(error.message, _MISSING_WORDS)


def read_error(data: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    """Read code and message out of an error body.

    Understands ``{"error": {"message", "code"}}``, ``{"error": "..."}``, ``{"detail": "..."}``,
    ``{"detail": [...]}`` and ``{"message": "...", "code": ...}``.
    """
    if data is None:
        return None, None
    error = data.get("error", data)
    if not isinstance(error, Mapping):
        return None, str(error)[:MOST_SAID]
    code = error.get("code")
    message = error.get("message") or _detail(error.get("detail") or data.get("detail"))
    return (
        str(code)[:MOST_SAID] if code is not None else None,
        str(message)[:MOST_SAID] if message is not None else None,
    )


def _detail(detail: Any) -> Any:
    """Return what is wrong with a request, in FastAPI's errors without the input that is wrong.

    That is what people say, and errors are logged.
    """
    if not isinstance(detail, list):
        return detail
    return "; ".join(
        f"{'.'.join(map(str, _places(each)))}: {each.get('msg') or each.get('type')}"
        for each in detail
        if isinstance(each, Mapping)
    )


def _places(problem: Mapping[str, Any]) -> list[Any]:
    places = problem.get("loc")
    return places if isinstance(places, list) else [places]


def _says(message: str | None, words: tuple[str, ...]) -> bool:
    return message is not None and any(word in message for word in words)


def _run_id(message: str | None) -> str | None:
    found = _RUN_ID.search(message or "")
    return (found.group(1) or found.group(2)) if found else None
