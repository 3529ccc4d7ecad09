"""Conversations and responses over HTTP, as plain requests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.arguments import path_part
from gpt_agent_sync.errors import RequestRejectedError, ServiceError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Order, Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE, Entry, read_entries, read_pages
from gpt_agent_sync.services.http.shapes import as_object, read_list
from gpt_agent_sync.services.http.sse import ServerEvents
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.turns import ConversationTurn, latest_turn
from gpt_agent_sync.services.responses.wire import (
    ResponseSnapshot,
    RunNote,
    read_response,
    with_note,
)

logger = get_logger(__name__)

FIRST_PAGE = 20
"""Items of the first page that is searched for the newest turn: most turns are short."""

Get = Callable[..., Answer]
"""Reads a path, as ``RemoteService`` does."""

Post = Callable[..., Any]
"""Writes to a path, likewise."""


class Conversations:
    """The service's conversations: their items and their metadata.

    Args:
        get: Reads a path.
        post: Writes to a path.
    """

    def __init__(self, get: Get, post: Post) -> None:
        self._get = get
        self._post = post

    def create(self, messages: Sequence[Message], metadata: Mapping[str, str] | None) -> str:
        """Create a conversation with its history, 20 items a call, and return its id."""
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
        """Add items, ``total`` with those before them."""

        def find() -> bool | None:
            # The wire takes the same items twice: after a lost answer their number shows it.
            return sum(1 for _ in self.items(thread_id, "asc")) >= total or None

        self._post(f"{_conversation(thread_id)}/items", {"items": list(items)}, find=find)

    def add(self, thread_id: str, items: Sequence[bodies.Item]) -> None:
        """Add items to a conversation that runs go on in."""
        # Never repeated after a lost answer: a call with two outputs blocks the conversation.
        for begin in range(0, len(items), bodies.ITEMS_AT_ONCE):
            chunk = list(items[begin : begin + bodies.ITEMS_AT_ONCE])
            self._post(f"{_conversation(thread_id)}/items", {"items": chunk})

    def metadata(
        self, thread_id: str, pause: Pause = wait_on_this_thread, *, known: bool = True
    ) -> Mapping[str, Any]:
        """Return a conversation's metadata.

        Args:
            thread_id: The conversation.
            pause: Waits between repeats.
            known: Whether it is known to be there.
        """
        answer = self._get(_conversation(thread_id), None, pause, known=known)
        return as_object(answer.data.get("metadata"))

    def write_note(
        self, thread_id: str, metadata: Mapping[str, Any] | None, note: RunNote, pause: Pause
    ) -> Mapping[str, Any] | None:
        """Write a note into the metadata, and return what they are then.

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
            # Written twice it is the same: after a lost answer it is simply sent again.
            self._post(
                _conversation(thread_id),
                {"metadata": pairs},
                pause=pause,
                retries=1,
                idempotent=True,
            )
        except Exception as exc:  # whatever ended it, a wait too: the response has been created
            logger.warning("conversation %s could not be noted in: %s", thread_id, exc)
            return metadata
        return pairs

    def latest_turn(self, thread_id: str, pause: Pause = wait_on_this_thread) -> ConversationTurn:
        """Return the newest items, from the user's last message on."""
        newest: list[Mapping[str, Any]] = []
        for page in self._pages(thread_id, "desc", FIRST_PAGE, None, pause):
            newest.extend(page)
            turn = latest_turn(newest)
            if turn is not None:
                return turn
        return ConversationTurn(items=tuple(newest[::-1]))

    def latest_items(self, thread_id: str, pause: Pause) -> list[Mapping[str, Any]]:
        """Return a page of the newest items, oldest first."""
        newest = next(self._pages(thread_id, "desc", PAGE, None, pause))
        return newest[::-1]

    def items(
        self, thread_id: str, order: Order, after: str | None = None, *, first: int = PAGE
    ) -> Iterator[Entry]:
        """Yield all items after one, or all there are, page by page.

        Args:
            thread_id: The conversation.
            order: Which come first.
            after: The id of the item.
            first: Items of the first page.

        Raises:
            RequestRejectedError: If there is no such item.
        """

        def pages(order: Order, after: str | None) -> Iterator[list[Entry]]:
            return self._pages(thread_id, order, first, after, wait_on_this_thread)

        return read_entries(pages, order, after, f"conversation {thread_id}")

    def items_from(self, thread_id: str, item_ids: frozenset[str]) -> list[Entry] | None:
        """Return the items from the oldest of some on; ``None`` when none of them is there."""
        listed = list(self.items(thread_id, "desc"))[::-1]
        places = [place for place, item in enumerate(listed) if item.get("id") in item_ids]
        return listed[places[0] :] if places else None

    def _pages(
        self, thread_id: str, order: str, limit: int, after: str | None, pause: Pause
    ) -> Iterator[list[Mapping[str, Any]]]:
        params = {"order": order, **({"after": after} if after else {})}
        path, what = f"{_conversation(thread_id)}/items", f"conversation {thread_id}"
        # The conversation is known to be there, the item to begin after is not.
        get = functools.partial(self._get, known=after is None)
        return read_pages(get, path, params, pause, what, first=limit)


class Responses:
    """The service's responses, once they have been created.

    Args:
        get: Reads a path.
        post: Writes to a path.
    """

    def __init__(self, get: Get, post: Post) -> None:
        self._get = get
        self._post = post

    def get(
        self, response_id: str, pause: Pause, **how: Any
    ) -> tuple[ResponseSnapshot | None, float | None]:
        """Return a response, and the seconds that the service asks to wait before the next poll.

        The response is ``None`` when the service has it no more.

        Args:
            response_id: The response.
            pause: Waits between repeats.
            how: What else reading a path takes.
        """
        try:
            answer = self._get(_response(response_id), None, pause, **how)
        except RequestRejectedError as exc:
            if exc.status in (400, 404):  # some servers say 400 of what they do not have
                return None, None
            raise
        return read_response(answer.data, answer.request), answer.poll_after

    def events_after(self, response_id: str, number: int, pause: Pause) -> ServerEvents | None:
        """Return the stream events of a response after one, where the service has them.

        It has those of responses that were created in the background and streamed.
        """
        query = {"stream": "true", "starting_after": number}
        try:
            return self._get(_response(response_id), query, pause, streams=True, retries=0).events
        except ServiceError as exc:
            logger.info("response %s is polled: %s", response_id, exc)
            return None

    def input_of(self, response_id: str, pause: Pause) -> tuple[bodies.Item, ...]:
        """Return the items that a response was created from."""
        # OpenAI leaves the addresses of images out unless they are asked for.
        query = {"order": "desc", "limit": PAGE, "include[]": "message.input_image.image_url"}
        answer = self._get(f"{_response(response_id)}/input_items", query, pause, known=True)
        newest = read_list(answer.data, answer.request, lambda item: item)
        return bodies.newest_input(newest[::-1])

    def cancel(self, response_id: str) -> RequestRejectedError | None:
        """Cancel a response, and return the service's refusal if there is one."""
        try:
            self._post(f"{_response(response_id)}/cancel", {}, idempotent=True)
        except RequestRejectedError as exc:
            # Final ones are refused, and so are those made in the foreground.
            logger.info("response %s is not cancelled: %s", response_id, exc)
            return exc
        return None


def _conversation(thread_id: str) -> str:
    return f"/conversations/{path_part(thread_id)}"


def _response(response_id: str) -> str:
    return f"/responses/{path_part(response_id)}"
