"""Answers that all kinds of objects share: pages, receipts, what is shown of an object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from flask import Response, jsonify

from gpt_agent_sync.server.bodies import ListQuery
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.storage import Collection, Object

POLL_AFTER_MS = 20
"""What clients are asked to wait before they look at live work again."""

Refuse = Callable[[str], WireError]
"""Gives the refusal of an id that is not there."""


def list_page(
    collection: Collection,
    connection: sa.Connection,
    query: ListQuery,
    refuse: Refuse,
    parent_id: str | None = None,
    *,
    run_id: str | None = None,
    show: Callable[[Object], Object] = dict,
) -> Response:
    """Give a page of a collection as the wire does.

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
        raise refuse(str(exc.args[0])) from exc
    return jsonify(as_list([show(item) for item in found], has_more=has_more))


def page_of(items: Sequence[Object], query: ListQuery, refuse: Refuse) -> Response:
    """Give a page of items that are kept with their owner, oldest first.

    Raises:
        WireError: If the cursor is not there.
    """
    ordered = list(items if query.order == "asc" else reversed(items))
    if query.after is not None:
        places = [place for place, item in enumerate(ordered) if item["id"] == query.after]
        if not places:
            raise refuse(query.after)
        ordered = ordered[places[0] + 1 :]
    return jsonify(as_list(ordered[: query.limit], has_more=len(ordered) > query.limit))


def as_list(found: Sequence[Object], *, has_more: bool = False) -> dict[str, Any]:
    """Give a list object."""
    return {
        "object": "list",
        "data": list(found),
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": has_more,
    }


def with_poll_hint(item: Object, *, is_live: bool) -> Response:
    """Give an object as clients see it, and tell them when to look again."""
    response = jsonify(shown(item))
    if is_live:
        response.headers["openai-poll-after-ms"] = str(POLL_AFTER_MS)
    return response


def deleted(object_id: str, kind: str) -> Response:
    """Give the receipt for a deletion."""
    return jsonify({"id": object_id, "object": kind, "deleted": True})


def shown(item: Object) -> Object:
    """Give an object as clients see it, without what is kept beside."""
    return {name: value for name, value in item.items() if not name.startswith("_")}
