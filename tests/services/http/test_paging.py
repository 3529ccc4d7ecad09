"""Lists read page by page, from servers that page as they like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Order
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import Entry, read_entries, read_pages

ENTRIES = [{"id": str(number)} for number in range(1, 8)]


class List:
    """A list of seven, two a page.

    Args:
        refuses_after: Whether it refuses to begin after an entry.
        repeats: Whether it gives its first page whatever it is asked for.

    Attributes:
        requests: What was asked for.
    """

    def __init__(self, *, refuses_after: bool = False, repeats: bool = False) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self._refuses_after = refuses_after
        self._repeats = repeats

    def get(self, path: str, query: Mapping[str, Any], pause: Any) -> Answer:
        """Answer a request."""
        self.requests.append(query)
        after = query.get("after")
        if after is not None and self._refuses_after:
            raise RequestRejectedError("no 'after' here", status=422)
        entries = ENTRIES if query["order"] == "asc" else ENTRIES[::-1]
        ids = [entry["id"] for entry in entries]
        if after is not None and after not in ids:
            raise RequestRejectedError("no such entry", status=404)
        begin = 0 if after is None or self._repeats else ids.index(after) + 1
        limit = 7 if self._refuses_after else 2
        page = entries[begin : begin + limit]
        has_more = self._repeats or begin + limit < len(entries)
        return Answer({"data": page, "has_more": has_more}, None, "GET /list", None)

    def ids(self, order: Order, after: str | None = None) -> list[str]:
        """Read the list, and return the ids."""
        return [str(entry["id"]) for entry in self.entries(order, after)]

    def entries(self, order: Order, after: str | None = None) -> Any:
        """Return an iterator over the list."""

        def pages(order: Order, after: str | None) -> Any:
            params = {"order": order, **({"after": after} if after else {})}
            return read_pages(self.get, "/list", params, wait_on_this_thread, "the list")

        return read_entries(pages, order, after, "the list")


def shown(entries: list[Entry]) -> list[str]:
    """Return the ids of entries."""
    return [str(entry["id"]) for entry in entries]


@pytest.mark.parametrize("refuses_after", [False, True])
def test_entries_come_in_either_order(refuses_after: bool) -> None:
    """All entries come, in the order asked for."""
    assert List(refuses_after=refuses_after).ids("asc") == list("1234567")
    assert List(refuses_after=refuses_after).ids("desc") == list("7654321")


@pytest.mark.parametrize("refuses_after", [False, True])
@pytest.mark.parametrize(
    "order, after, ids",
    [
        ("asc", "5", "67"),
        ("asc", "7", ""),
        ("asc", "1", "234567"),
        ("desc", "5", "4321"),
        ("desc", "1", ""),
        ("desc", "7", "654321"),
    ],
)
def test_entries_after_one(refuses_after: bool, order: Order, after: str, ids: str) -> None:
    """Those after one come whether or not the server can begin there."""
    assert List(refuses_after=refuses_after).ids(order, after) == list(ids)


@pytest.mark.parametrize("refuses_after", [False, True])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_nothing_is_after_an_unknown_entry(refuses_after: bool, order: Order) -> None:
    """An entry that is not there is the service's refusal."""
    with pytest.raises(RequestRejectedError):
        List(refuses_after=refuses_after).ids(order, "9")


def test_page_is_asked_for_when_it_is_needed() -> None:
    """No request is made before the first entry, and the next one only after the page's last."""
    listed = List()
    entries = listed.entries("asc")
    assert listed.requests == []
    assert shown([next(entries), next(entries)]) == ["1", "2"]
    assert len(listed.requests) == 1
    assert shown([next(entries)]) == ["3"]
    assert [request.get("after") for request in listed.requests] == [None, "2"]


def test_page_that_comes_again_is_not_read_twice() -> None:
    """A server that gives its first page whatever it is asked for has that one."""
    listed = List(repeats=True)
    assert listed.ids("asc") == ["1", "2"]
    assert len(listed.requests) == 2
