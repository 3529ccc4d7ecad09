"""The runs and messages of threads, as the lists of Assistants v2 show them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.arguments import path_part
from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Order, Pause, RunSnapshot
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import lacks_route
from gpt_agent_sync.services.http.paging import PAGE, Entry, read_entries, read_pages
from gpt_agent_sync.services.http.shapes import is_unwritten, read_list

logger = get_logger(__name__)

NEWEST = 20
"""How many of the newest runs or messages are searched for the one of a lost answer."""


class Threads:
    """The lists that threads have.

    Args:
        get: Reads a path, as ``RemoteService`` does.
    """

    def __init__(self, get: Callable[..., Answer]) -> None:
        self._get = get

    def newest_runs(
        self, thread_id: str, pause: Pause = wait_on_this_thread
    ) -> Sequence[Mapping[str, Any]]:
        """Return the newest runs as the wire has them, newest first."""
        answer = self._newest_runs(thread_id, pause)
        return read_list(answer.data, answer.request, lambda run: run)

    def _newest_runs(self, thread_id: str, pause: Pause) -> Answer:
        params = {"order": "desc", "limit": NEWEST}
        return self._get(f"{thread_path(thread_id)}/runs", params, pause, known=True)

    def newest_live_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the newest run if it is under way; ``None`` too where runs are never listed.

        Raises:
            ServiceError: If the service fails, or refuses to say.
        """
        try:
            answer = self._newest_runs(thread_id, wait_on_this_thread)
        except RequestRejectedError as exc:
            # Not all servers list runs, and a program can talk to those all the same. Any other
            # refusal may hide a live run, which nobody would follow.
            if not lacks_route(exc):
                raise
            logger.info("cannot tell whether thread %s has a live run: %s", thread_id, exc)
            return None
        run = wire.newest_live_run(read_list(answer.data, answer.request, lambda run: run))
        return None if run is None else wire.read_run(run, answer.request, answer.server_time)

    def newest_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the newest run, whatever has become of it; ``None`` where runs are never listed.

        Raises:
            ServiceError: If the service fails, or refuses to say.
        """
        try:
            answer = self._newest_runs(thread_id, wait_on_this_thread)
        except RequestRejectedError as exc:
            if not lacks_route(exc):
                raise
            return None
        runs = read_list(answer.data, answer.request, lambda run: run)
        # Runs of one second may stand in any order: a live one is the newest.
        run = wire.newest_live_run(runs) or next(iter(runs), None)
        return None if run is None else wire.read_run(run, answer.request, answer.server_time)

    def newest_messages(self, thread_id: str, pause: Pause = wait_on_this_thread) -> list[Message]:
        """Return a page of the newest messages, newest first."""
        params = {"order": "desc", "limit": NEWEST}
        answer = self._get(f"{thread_path(thread_id)}/messages", params, pause, known=True)
        return read_list(answer.data, answer.request, wire.read_message)

    def messages(
        self, thread_id: str, after: str | None, order: Order, limit: int | None
    ) -> Iterator[Message]:
        """Yield the messages, page by page, as ``Service.messages()`` does."""
        first = PAGE if limit is None else min(limit, PAGE)

        def pages(order: Order, after: str | None) -> Iterator[list[Entry]]:
            params = {"order": order, **({"after": after} if after else {})}
            return self._pages(thread_id, params, wait_on_this_thread, first=first)

        entries = read_entries(pages, order, after, f"thread {thread_id}")
        return itertools.islice(filter(None, map(_read_written, entries)), limit)

    def messages_of_run(
        self, thread_id: str, run_id: str, posted_id: str | None, pause: Pause
    ) -> list[Message]:
        """Return the assistant's messages of a run, oldest first.

        Args:
            thread_id: The thread.
            run_id: The run.
            posted_id: The user's message that the run answers, if known.
            pause: Waits between repeats.
        """
        params = {"order": "asc", "run_id": run_id}
        listed: list[Message] = []
        try:
            for page in self._message_pages(thread_id, params, pause):
                listed.extend(page)
                if not wire.is_filtered(page, run_id) and len(page) >= PAGE:
                    # The filter is ignored and the thread is long: read from its newer end.
                    listed = self._messages_from(thread_id, posted_id, pause)
                    break
        except RequestRejectedError as exc:
            logger.info("reading without the run_id filter, because: %s", exc)
            listed = self._messages_from(thread_id, posted_id, pause)
        return wire.messages_of_run(listed, run_id, posted_id)

    def _messages_from(self, thread_id: str, message_id: str | None, pause: Pause) -> list[Message]:
        """Return the messages from the page with one on, or all there are, oldest first."""
        listed: list[Message] = []
        for page in self._message_pages(thread_id, {"order": "desc"}, pause):
            listed.extend(page)
            if any(message.id == message_id for message in page):
                break
        return listed[::-1]

    def _message_pages(
        self, thread_id: str, params: Mapping[str, Any], pause: Pause
    ) -> Iterator[list[Message]]:
        for page in self._pages(thread_id, params, pause):
            yield [message for message in map(wire.read_message, page) if message is not None]

    def _pages(
        self, thread_id: str, params: Mapping[str, Any], pause: Pause, *, first: int = PAGE
    ) -> Iterator[list[Entry]]:
        path, what = f"{thread_path(thread_id)}/messages", f"thread {thread_id}"
        # The thread is known to be there, the message to begin after is not.
        get = functools.partial(self._get, known="after" not in params)
        return read_pages(get, path, params, pause, what, first=first)


def _read_written(data: Entry) -> Message | None:
    message = wire.read_message(data)
    return None if message is None or is_unwritten(data, message.parts) else message


def thread_path(thread_id: str) -> str:
    """Return the path of a thread."""
    return f"/threads/{path_part(thread_id)}"


def run_path(thread_id: str, run_id: str) -> str:
    """Return the path of a run."""
    return f"{thread_path(thread_id)}/runs/{path_part(run_id)}"
