"""Lists read page by page, as both wires give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from gpt_agent_sync.errors import ProtocolError, RequestRejectedError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Order, Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.shapes import as_word, read_list

logger = get_logger(__name__)

PAGE = 100
"""Objects a page: the most the wires allow."""

MOST_PAGES = 10_000
"""Pages of a list: ten times those of the longest thread that the wires allow."""

LONGEST_CURSOR = 1000
"""Characters of an id by which a list is read on."""


def read_pages(
    get: Callable[..., Answer],
    path: str,
    params: Mapping[str, Any],
    pause: Pause,
    what: str,
    *,
    first: int = PAGE,
) -> Iterator[list[Mapping[str, Any]]]:
    """Return the pages of a list.

    A server that refuses to page on is believed to have no more; a refused first page is the
    caller's affair.

    Args:
        get: Reads a path, as ``RemoteService`` does.
        path: The list.
        params: What is asked for; ``after`` in it begins there.
        pause: Waits between repeats.
        what: What the list is of, for the log.
        first: Objects of the first page.

    Raises:
        ServiceError: If the service fails, refuses the first page, or pages on for ever.
    """
    after, limit, begun = params.get("after"), first, False
    seen = {after}
    for _ in range(MOST_PAGES):
        query = {**params, "limit": limit, **({"after": after} if after else {})}
        try:
            answer = get(path, query, pause)
        except RequestRejectedError as exc:
            if not begun:
                raise
            logger.warning("%s cannot be read further: %s", what, exc)
            return
        page = read_list(answer.data, answer.request, lambda item: item)
        # Not all servers say the last id; and one that does not page on, though it says that there
        # is more, would give the same page for ever.
        last = as_word(answer.data.get("last_id")) or (page[-1].get("id") if page else None)
        if begun and last == after:
            return
        yield page
        if not answer.data.get("has_more") or not page or last in (None, after):
            return
        begun, after, limit = True, str(last), PAGE
        if after in seen or len(after) > LONGEST_CURSOR:
            logger.warning("%s is not read further: its pages lead nowhere", what)
            return
        seen.add(after)
    raise ProtocolError(f"{what} goes on after {MOST_PAGES} pages of a list")


Entry = Mapping[str, Any]
"""What a list holds."""

Pages = Callable[[Order, str | None], Iterator[list[Entry]]]
"""Reads the pages of a list in an order, those after an entry or all."""


def read_entries(pages: Pages, order: Order, after: str | None, what: str) -> Iterator[Entry]:
    """Yield the entries of a list, page by page, those after one or all.

    Args:
        pages: Reads the pages.
        order: Which come first.
        after: The id of the entry.
        what: What the list is of, for the log.

    Raises:
        ServiceError: If the service fails, or has no such entry.
    """
    read = pages(order, after)
    try:
        first = next(read, [])
    except RequestRejectedError as exc:
        if after is None:
            raise
        # Some servers refuse this parameter; an unknown entry is refused the same way.
        found = _find_after(chain.from_iterable(pages("desc", None)), order, after)
        if found is None:
            raise
        logger.info("read %s from its newer end, because: %s", what, exc)
        yield from found
        return
    yield from first
    for page in read:
        yield from page


def _find_after(newest: Iterator[Entry], order: Order, after: str) -> Iterator[Entry] | None:
    """Return what comes after an entry of a list, newest first; ``None`` when it is not there."""
    newer: list[Entry] = []
    for entry in newest:
        if entry.get("id") == after:
            return newest if order == "desc" else reversed(newer)
        newer.append(entry)
    return None
