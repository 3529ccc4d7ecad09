"""The assistant's text as it arrives: an iterator of its deltas."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import attrs

from gpt_agent_sync.agent.waiting import PendingReply, Waiter, seconds_left
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
from gpt_agent_sync.listening.event_streams import EventStream

MESSAGE_SEPARATOR = "\n\n"
"""What ``ask()`` and ``ask_stream()`` put between the messages of a run."""


class TextAssembler:
    """The text of a run, assembled from deltas and whole messages so that none is repeated."""

    def __init__(self) -> None:
        # In pieces: joined each time, a long message would be copied over and over.
        self._received: dict[str | None, list[str]] = {}
        self._current: list[str | None] = []  # at most one id, and ``None`` is an id too

    def add(self, event: AssistantMessageDelta | AssistantMessageAdded) -> tuple[bool, str]:
        """Add an event.

        Returns:
            Whether it begins another message than the text before it, and the text that is new: of
            a whole message, what its deltas have not had yet.
        """
        if isinstance(event, AssistantMessageDelta):
            self._received.setdefault(event.message_id, []).append(event.text)
            return self._switch_to(event.message_id), event.text
        # Deltas of a service that does not say of which message they are were of this one.
        message_id = event.message_id if event.message_id in self._received else None
        received = "".join(self._received.pop(message_id, ()))
        if not event.content.startswith(received):
            # The run was begun again, or the service has changed its mind: the message counts.
            self._current = [event.message_id]
            return True, event.content
        rest = event.content[len(received) :]
        return bool(rest) and self._switch_to(message_id if received else event.message_id), rest

    def _switch_to(self, message_id: str | None) -> bool:
        before, self._current = self._current, [message_id]
        return before != self._current


@attrs.frozen
class TurnEvents:
    """The events of one turn, out of all events of an agent.

    Attributes:
        thread_id: The conversation.
        stream: The agent's events from before the turn on.
        waiter: Waits for the turn's outcome.
        pending: The turn's message.
    """

    thread_id: str
    stream: EventStream
    waiter: Waiter
    pending: PendingReply

    def __iter__(self) -> Iterator[Event]:
        """Yield the turn's events; its messages come after its closing event.

        Raises:
            RunFailedError: At the end, if the run did not complete.
            WaitTimeoutError: If the time is up before.
            AgentNotAliveError: If the agent stops before.
        """
        event = self._next()
        # With when_busy="wait" the rest of an earlier turn comes first.
        while not (isinstance(event, UserMessageAdded) and event.id == self.pending.message_id):
            event = self._next()
        while not isinstance(event, ClosingEvent):
            event = self._next()
            yield event
        # The outcome comes when all messages of the turn are delivered, so none is waited for.
        closing = self.waiter.outcome(self.pending).closing
        yield from self._delivered()
        if not isinstance(closing, RunCompleted):
            raise RunFailedError(closing)

    def close(self) -> None:
        """Stop listening to the turn, and give its outcome up."""
        self.stream.close()
        self.waiter.abandon(self.pending)

    def _next(self) -> Event:
        try:
            event = self.stream.get(seconds_left(self.pending.until))
        except TimeoutError:
            raise self.waiter.timed_out() from None
        if event is None or isinstance(event, AgentStopped):
            raise AgentNotAliveError(self.thread_id)
        return event

    def _delivered(self) -> Iterator[Event]:
        # They are in the stream already; whatever comes after them is of the next turn.
        with contextlib.suppress(TimeoutError):
            while isinstance(event := self.stream.get(0), AssistantMessageAdded):
                yield event


class TextStream:
    """An iterator over the text of a run as it arrives, made by ``Agent.ask_stream()``.

    The pieces put together are what ``Agent.ask()`` returns. Where the service does not stream, or
    a stream was lost, the rest comes when the run has ended. Iterating raises ``RunFailedError`` at
    the end of a run that does not complete, ``WaitTimeoutError`` when the time is up, and
    ``AgentNotAliveError`` when the agent stops in the middle.

    A context manager; leaving it, or ``close()``, only stops listening: the run goes on, and
    ``Agent.cancel_run()`` ends it. One thread at a time may iterate.

    Args:
        turn: The events of the turn.
    """

    def __init__(self, turn: TurnEvents) -> None:
        self._turn = turn
        self._closed = False
        # The generator does not refer to this object, so that one that is dropped closes at once.
        self._texts = _read(turn)

    def __iter__(self) -> TextStream:
        """Return the stream itself."""
        return self

    def __next__(self) -> str:
        """Return the next piece of text, blocking until there is one."""
        if self._closed:
            raise StopIteration
        try:
            return next(self._texts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop listening; idempotent."""
        if not self._closed:
            self._closed = True
            self._turn.close()

    def __enter__(self) -> TextStream:
        """Return the stream."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop listening."""
        self.close()

    def __del__(self) -> None:
        """Stop listening when the stream is dropped."""
        # The interpreter may be half torn down.
        with contextlib.suppress(Exception):
            self.close()


def _read(turn: TurnEvents) -> Iterator[str]:
    assembler, begun = TextAssembler(), False
    for event in turn:
        if isinstance(event, (AssistantMessageDelta, AssistantMessageAdded)):
            begins, text = assembler.add(event)
            if text:
                yield MESSAGE_SEPARATOR + text if begins and begun else text
                begun = True
