"""Conversations over HTTP: their items and their metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Message, Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE, read_pages
from gpt_agent_sync.services.http.shapes import as_object
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.notes import Note, with_note
from gpt_agent_sync.services.responses.turns import Tail, tail_of

logger = logging.getLogger(__name__)

FIRST_PAGE = 20
"""Items of the page in which the newest turn is looked for first."""


class Conversations:
    """Speak of conversations.

    Args:
        get: Reads a path, as ``RemoteService`` does.
        post: Writes to a path, likewise.
    """

    def __init__(self, get: Callable[..., Answer], post: Callable[..., Any]) -> None:
        self._get = get
        self._post = post

    def create(self, messages: Sequence[Message], metadata: Mapping[str, str] | None) -> str:
        """Create a conversation with its history, 20 items a call, and give its id."""
        items = [bodies.history_item(message) for message in messages]
        body: dict[str, Any] = {}
        if items:
            body["items"] = items[: bodies.ITEMS_AT_ONCE]
        if metadata:
            body["metadata"] = dict(metadata)
        thread_id: str = self._post("/conversations", body).require("id")
        for begin in range(bodies.ITEMS_AT_ONCE, len(items), bodies.ITEMS_AT_ONCE):
            chunk = items[begin : begin + bodies.ITEMS_AT_ONCE]
            self._append(thread_id, chunk, begin + len(chunk))
        logger.debug("created conversation %s", thread_id)
        return thread_id

    def _append(self, thread_id: str, items: Sequence[bodies.Item], total: int) -> None:
        """Add items, so that there are ``total`` then: a lost answer is no reason to add twice."""

        def find() -> bool | None:
            return sum(1 for _ in self.items(thread_id, "asc")) >= total or None

        self._post(f"{path_of(thread_id)}/items", {"items": list(items)}, find=find)

    def add(self, thread_id: str, items: Sequence[bodies.Item]) -> None:
        """Add items to a conversation that runs go on in."""
        for begin in range(0, len(items), bodies.ITEMS_AT_ONCE):
            chunk = list(items[begin : begin + bodies.ITEMS_AT_ONCE])
            self._post(f"{path_of(thread_id)}/items", {"items": chunk})

    def metadata(self, thread_id: str, pause: Pause = wait_on_this_thread) -> Mapping[str, Any]:
        """Give a conversation's metadata."""
        return as_object(self._get(path_of(thread_id), None, pause).data.get("metadata"))

    def keep_note(
        self, thread_id: str, metadata: Mapping[str, Any] | None, note: Note, pause: Pause
    ) -> Mapping[str, Any] | None:
        """Write a note into the metadata, and give what they are then.

        A note that cannot be written costs no run: only another process would miss it.

        Args:
            thread_id: The conversation.
            metadata: What they were; ``None`` has them read first.
            note: The note.
            pause: Waits between repeats.
        """
        try:
            if metadata is None:
                metadata = self.metadata(thread_id, pause)
            pairs = with_note(metadata, note)
            if pairs is None:
                logger.warning("the metadata of conversation %s have no room for a note", thread_id)
                return metadata
            self._post(
                path_of(thread_id), {"metadata": pairs}, find=lambda: None, pause=pause, retries=1
            )
        except Exception as exc:  # whatever ended it, a wait too: the response has been made
            logger.warning("conversation %s could not be noted in: %s", thread_id, exc)
            return metadata
        return pairs

    def tail(self, thread_id: str, pause: Pause = wait_on_this_thread) -> Tail:
        """Give the newest items, from the user's last message on."""
        newest: list[Mapping[str, Any]] = []
        for page in self._pages(thread_id, "desc", FIRST_PAGE, None, pause):
            newest.extend(page)
            tail = tail_of(newest)
            if tail is not None:
                return tail
        return Tail(items=tuple(newest[::-1]))

    def recent(self, thread_id: str, pause: Pause) -> list[Mapping[str, Any]]:
        """Give a page of the newest items, oldest first."""
        newest = next(self._pages(thread_id, "desc", PAGE, None, pause))
        return newest[::-1]

    def items(
        self, thread_id: str, order: str, after: str | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give all items after one, or all there are, page by page."""
        for page in self._pages(thread_id, order, PAGE, after, wait_on_this_thread):
            yield from page

    def items_after(self, thread_id: str, item_id: str) -> list[Mapping[str, Any]]:
        """Give the items after one, oldest first.

        Raises:
            RequestRejectedError: If there is no such item.
        """
        try:
            return list(self.items(thread_id, "asc", item_id))
        except RequestRejectedError as exc:
            # Some servers refuse this parameter; an unknown item is refused the same way.
            listed = self.items_from(thread_id, frozenset([item_id]))
            if listed is None:
                raise
            logger.info("read conversation %s from its newer end, because: %s", thread_id, exc)
            return listed[1:]

    def items_from(
        self, thread_id: str, item_ids: frozenset[str]
    ) -> list[Mapping[str, Any]] | None:
        """Give the items from the oldest of some on, oldest first; ``None`` when none is there."""
        listed = list(self.items(thread_id, "desc"))[::-1]
        places = [place for place, item in enumerate(listed) if item.get("id") in item_ids]
        return listed[places[0] :] if places else None

    def _pages(
        self, thread_id: str, order: str, limit: int, after: str | None, pause: Pause
    ) -> Iterator[list[Mapping[str, Any]]]:
        params = {"order": order, **({"after": after} if after else {})}
        path, what = f"{path_of(thread_id)}/items", f"conversation {thread_id}"
        return read_pages(self._get, path, params, pause, what, first=limit)


def path_of(thread_id: str) -> str:
    """Give the path of a conversation."""
    return f"/conversations/{quote(thread_id, safe='')}"
