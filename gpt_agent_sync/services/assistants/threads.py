"""The runs and messages of threads, as the lists of Assistants v2 show them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Message, Pause, RunSnapshot
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE, read_pages
from gpt_agent_sync.services.http.shapes import read_list

logger = logging.getLogger(__name__)

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
        params = {"order": "desc", "limit": NEWEST}
        answer = self._get(f"{thread_path(thread_id)}/runs", params, pause)
        return read_list(answer.data, answer.request, lambda run: run)

    def newest_live_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the newest run if it is under way; ``None`` too where runs are not listed."""
        try:
            runs = self.newest_runs(thread_id)
        except RequestRejectedError as exc:
            # Not all servers list runs: a program can talk all the same.
            logger.info("cannot tell whether thread %s has a live run: %s", thread_id, exc)
            return None
        run = wire.newest_live_run(runs)
        return None if run is None else wire.read_run(run, "list of runs")

    def newest_messages(self, thread_id: str) -> list[Message]:
        """Return a page of the newest messages, newest first."""
        params = {"order": "desc", "limit": NEWEST}
        answer = self._get(f"{thread_path(thread_id)}/messages", params)
        return read_list(answer.data, answer.request, wire.read_message)

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Return all messages after one, oldest first.

        Raises:
            RequestRejectedError: If there is no such message.
        """
        params = {"order": "asc", "after": message_id}
        try:
            pages = self._message_pages(thread_id, params, wait_on_this_thread)
            return [message for page in pages for message in page]
        except RequestRejectedError as exc:
            # Some servers refuse this parameter; an unknown message is refused the same way.
            listed = self._messages_from(thread_id, message_id, wait_on_this_thread)
            positions = [place for place, message in enumerate(listed) if message.id == message_id]
            if not positions:
                raise
            logger.info("read thread %s from its newer end, because: %s", thread_id, exc)
            return listed[positions[-1] + 1 :]

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
        path, what = f"{thread_path(thread_id)}/messages", f"thread {thread_id}"
        for page in read_pages(self._get, path, params, pause, what):
            yield [message for message in map(wire.read_message, page) if message is not None]


def thread_path(thread_id: str) -> str:
    """Return the path of a thread."""
    return f"/threads/{quote(thread_id, safe='')}"


def run_path(thread_id: str, run_id: str) -> str:
    """Return the path of a run."""
    return f"{thread_path(thread_id)}/runs/{quote(run_id, safe='')}"
