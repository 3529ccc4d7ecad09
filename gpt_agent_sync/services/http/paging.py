"""Lists read page by page, as both wires give them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.shapes import as_word, read_list

logger = logging.getLogger(__name__)

PAGE = 100
"""Objects a page: the most the wires allow."""


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
        ServiceError: If the service fails, or refuses the first page.
    """
    after, limit, begun = params.get("after"), first, False
    while True:
        query = {**params, "limit": limit, **({"after": after} if after else {})}
        try:
            answer = get(path, query, pause)
        except RequestRejectedError as exc:
            if not begun:
                raise
            logger.warning("%s cannot be read further: %s", what, exc)
            return
        page = read_list(answer.data, answer.request, lambda item: item)
        yield page
        # Not all servers say the last id; and one that gives the same page for ever would be read
        # for ever.
        last = as_word(answer.data.get("last_id")) or (page[-1].get("id") if page else None)
        if not answer.data.get("has_more") or not page or last in (None, after):
            return
        begun, after, limit = True, str(last), PAGE
