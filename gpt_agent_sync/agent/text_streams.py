"""The assistant's text as it comes: an iterator of its pieces."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from gpt_agent_sync.errors import AgentNotAliveError, RunFailedError
from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    AssistantMessageDelta,
    ClosingEvent,
    Event,
    RunCompleted,
    UserMessageAdded,
)

if TYPE_CHECKING:
    from gpt_agent_sync.agent.posting import Asked, Poster
    from gpt_agent_sync.listening.event_streams import EventStream

BETWEEN_MESSAGES = "\n\n"


class Writing:
    """Put pieces and whole messages together, so that each word is written once."""

    def __init__(self) -> None:
        self._written: dict[str | None, str] = {}
        self._at: list[str | None] = []

    def add(self, event: AssistantMessageDelta | AssistantMessageAdded) -> tuple[bool, str]:
        """Take in what came.

        Returns:
            Whether it begins another message than the text before it, and what is new: of a
            whole message, what its pieces have not said yet.
        """
        if isinstance(event, AssistantMessageDelta):
            self._written[event.message_id] = self._written.get(event.message_id, "") + event.text
            return self._go_to(event.message_id), event.text
        # Pieces of a service that does not say of which message they are were of this one.
        message_id = event.message_id if event.message_id in self._written else None
        written = self._written.pop(message_id, "")
        if not event.content.startswith(written):
            self._at = [event.message_id]
            return True, event.content
        rest = event.content[len(written) :]
        return bool(rest) and self._go_to(message_id if written else event.message_id), rest

    def _go_to(self, message_id: str | None) -> bool:
        before, self._at = self._at, [message_id]
        return before != self._at


@attrs.frozen
class AskedTurn:
    """Hold a turn that is listened to.

    Attributes:
        thread_id: The conversation.
        events: The agent's events from before the turn on.
        poster: Knows of its outcome.
        asked: Its message.
        until: When the caller's time is up, monotonic seconds; ``None`` for never.
    """

    thread_id: str
    events: EventStream
    poster: Poster
    asked: Asked
    until: float | None

    def told(self) -> Iterator[Event]:
        """Give the turn's events; its messages come after its closing event.

        Raises:
            RunFailedError: At the end, if the run did not complete.
            WaitTimeoutError: If the time is up before.
            AgentNotAliveError: If the agent stops before.
        """
        event = self._next()
        while not (isinstance(event, UserMessageAdded) and event.id == self.asked.message_id):
            event = self._next()
        while not isinstance(event, ClosingEvent):
            event = self._next()
            yield event
        # A turn is settled when all of its messages have been delivered.
        closing = self.poster.outcome(self.asked, self.until).closing
        yield from self._delivered()
        if not isinstance(closing, RunCompleted):
            raise RunFailedError(closing)

    def _next(self) -> Event:
        left = None if self.until is None else max(0.0, self.until - time.monotonic())
        try:
            event = self.events.get(left)
        except TimeoutError:
            raise self.poster.timed_out() from None
        if event is None or isinstance(event, AgentStopped):
            raise AgentNotAliveError(self.thread_id)
        return event

    def _delivered(self) -> Iterator[Event]:
        with contextlib.suppress(TimeoutError):
            while isinstance(event := self.events.get(0), AssistantMessageAdded):
                yield event


class TextStream:
    """Iterate over the text of a run as it comes; made by ``Agent.ask_stream()``.

    The pieces put together are what ``Agent.ask()`` returns. Where the service does not stream, or
    a stream was lost, the rest comes when the run is over. Iterating raises ``RunFailedError`` at
    the end of a run that does not complete, ``WaitTimeoutError`` when the time is up, and
    ``AgentNotAliveError`` when the agent stops in the middle.

    A context manager; leaving it, or ``close()``, only stops listening: the run goes on, and
    ``Agent.cancel_run()`` ends it. One thread at a time may iterate.
    """

    def __init__(self, turn: AskedTurn) -> None:
        self._turn = turn
        self._closed = False
        # It does not hold this object, so that one nobody holds any more closes at once.
        self._pieces = _read(turn)

    def __iter__(self) -> TextStream:
        """Give the stream itself."""
        return self

    def __next__(self) -> str:
        """Give the next piece, waiting for it."""
        if self._closed:
            raise StopIteration
        try:
            return next(self._pieces)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening; idempotent."""
        if not self._closed:
            self._closed = True
            self._turn.events.close()
            self._turn.poster.forget(self._turn.asked)

    def __enter__(self) -> TextStream:
        """Give the stream."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop listening."""
        self.close()

    def __del__(self) -> None:
        """Stop listening when nobody holds it any more."""
        with contextlib.suppress(Exception):
            self.close()


def _read(turn: AskedTurn) -> Iterator[str]:
    writing, begun = Writing(), False
    for event in turn.told():
        if isinstance(event, (AssistantMessageDelta, AssistantMessageAdded)):
            begins, text = writing.add(event)
            if text:
                yield BETWEEN_MESSAGES + text if begins and begun else text
                begun = True
