"""What a client of the HTTP face sends, checked before anything is done; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from gpt_agent_sync.contrib.web.answers import Refusal
from gpt_agent_sync.event_log import place_of_cursor
from gpt_agent_sync.foreign_json import read_foreign_json

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_PAGE = 1000
"""Messages in one answer at most."""

WhenBusy = Literal["raise", "queue"]


def read_id(what: str, value: str) -> str:
    """Return an id of an address.

    Raises:
        Refusal: If no service has such ids (404).
    """
    if not _ID.fullmatch(value) or not value.strip("."):
        raise Refusal(404, "InvalidIdError", f"there is no {what} with this id")
    return value


def read_object(content_type: str | None, body: bytes, most: int) -> Mapping[str, Any]:
    """Return the JSON object that a request holds; an empty one for an empty body.

    Another site's page cannot send the content type that is demanded without asking first.

    Args:
        content_type: The request's header.
        body: Its body, of which one byte more than the most was read.
        most: Bytes at most.

    Raises:
        Refusal: If it is too long (413), of another type (415), or none (400).
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "ContentTypeError", "the content type must be application/json")
    if len(body) > most:
        raise Refusal(413, "BodyTooLargeError", f"a request may have {most} bytes at most")
    if not body.strip():
        return {}
    try:
        value = read_foreign_json(body)
    except ValueError:
        raise Refusal(400, "InvalidJsonError", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "InvalidJsonError", "the body must be a JSON object")
    return value


def read_message(body: Mapping[str, Any]) -> tuple[str, WhenBusy]:
    """Return a message's text, and what is to be done while a run is active.

    Raises:
        Refusal: If the text is blank, or one of them is none (400).
    """
    content, when_busy = body.get("content"), body.get("when_busy", "raise")
    if not isinstance(content, str) or not content.strip():
        raise Refusal(400, "BlankValueError", "the message is blank")
    if "\0" in content or not _is_encodable(content):
        raise Refusal(400, "InvalidMessageError", "the message has characters that are no text")
    # A request that waits for a run's end would hold a worker of the server all the time.
    if when_busy not in ("raise", "queue"):
        raise Refusal(400, "InvalidMessageError", "when_busy must be 'raise' or 'queue'")
    return content, cast(WhenBusy, when_busy)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def read_output(body: Mapping[str, Any]) -> Any:
    """Return the output of a tool call.

    Raises:
        Refusal: If there is none (400).
    """
    if "output" not in body:
        raise Refusal(400, "InvalidOutputError", "the body has no 'output'")
    return body["output"]


def read_limit(value: str | None) -> int:
    """Return how many messages are asked for; without a number as many as one answer has.

    Raises:
        Refusal: If it is no such number (400).
    """
    if value is None:
        return _PAGE
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= _PAGE:
        raise Refusal(400, "InvalidLimitError", f"limit must be a number from 1 to {_PAGE}")
    return int(value)


def read_order(value: str | None) -> Literal["asc", "desc"]:
    """Return the order that messages are asked for in.

    Raises:
        Refusal: If it is none (400).
    """
    if value not in (None, "asc", "desc"):
        raise Refusal(400, "InvalidOrderError", "order must be 'asc' or 'desc'")
    return "desc" if value == "desc" else "asc"


def read_cursor(last_event_id: str | None, after: str | None) -> str | None:
    """Return the cursor of the last event that a client knows; ``None`` if it knows none.

    A browser that comes back has its newest one in the header, and an older one in the address.

    Raises:
        Refusal: If it is no cursor (400).
    """
    cursor = last_event_id or after or None
    if cursor is not None:
        try:
            place_of_cursor(cursor)
        except ValueError:
            raise Refusal(400, "InvalidCursorError", "this is no cursor of an event") from None
    return cursor
