"""What the routes of both wires share: objects or their refusal, pages, receipts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Response

from gpt_agent_sync.server.bodies import ListQuery
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.storage.collection import Collection, Connection, Object
from gpt_agent_sync.server.strict_json import respond

LEAST_POLL_MS, MOST_POLL_MS = 20, 1000
"""Milliseconds that clients are asked to wait before they poll a live run or response again."""

POLL_SHARE = 0.15
"""The part of its age that a run or response may be older than a poll sees it."""

NotFound = Callable[[str], WireError]
"""Returns the error for an id that is not there."""


def require(item: Object | None, refusal: WireError) -> Object:
    """Return an object that must be there.

    Raises:
        WireError: If it is not.
    """
    if item is None:
        raise refusal
    return item


def list_page(
    collection: Collection,
    connection: Connection,
    query: ListQuery,
    not_found: NotFound,
    parent_id: str | None = None,
    *,
    run_id: str | None = None,
    show: Callable[[Object], Object] = dict,
) -> Response:
    """Return a page of a collection as the wire does.

    Raises:
        WireError: If a cursor is not there.
    """
    try:
        found, has_more = collection.page(
            connection,
            parent_id=parent_id,
            order=query.order,
            limit=query.limit,
            after=query.after,
            before=query.before,
            run_id=run_id,
        )
    except KeyError as exc:
        raise not_found(str(exc.args[0])) from exc
    return respond(list_object([show(item) for item in found], has_more=has_more))


def list_items(items: Sequence[Object], query: ListQuery, not_found: NotFound) -> Response:
    """Return a page of items that are kept with their owner, oldest first.

    Raises:
        WireError: If the cursor is not there.
    """
    ordered = list(items if query.order == "asc" else reversed(items))
    if query.after is not None:
        positions = [number for number, item in enumerate(ordered) if item["id"] == query.after]
        if not positions:
            raise not_found(query.after)
        ordered = ordered[positions[0] + 1 :]
    return respond(list_object(ordered[: query.limit], has_more=len(ordered) > query.limit))


def list_object(found: Sequence[Object], *, has_more: bool = False) -> dict[str, Any]:
    """Return the wire's list object."""
    return {
        "object": "list",
        "data": list(found),
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": has_more,
    }


def with_poll_hint(item: Object, age: float | None) -> Response:
    """Return an object as clients see it, with a hint when to poll it again while it is live.

    Args:
        item: The object.
        age: Seconds since it was queued; ``None`` when it is live no more.
    """
    response = respond(shown(item))
    if age is not None:
        # The official client's create_and_poll obeys this header; its own pause would be 1 s.
        hint = min(MOST_POLL_MS, max(LEAST_POLL_MS, round(age * POLL_SHARE * 1000)))
        response.headers["openai-poll-after-ms"] = str(hint)
    return response


def deleted(object_id: str, kind: str) -> Response:
    """Return the receipt for a deletion."""
    return respond({"id": object_id, "object": kind, "deleted": True})


def shown(item: Object) -> Object:
    """Return an object as clients see it, without what is kept beside."""
    return {name: value for name, value in item.items() if not name.startswith("_")}
