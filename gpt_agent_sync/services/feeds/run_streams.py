"""What a service tells of a run while it goes: its events, read as updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.records import FeedUpdate, Pause
from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.services.http.sse import ServerEvents, ServerSentEvent, StreamLost


class Translation(ABC):
    """Read one wire's events of one run, one after the other."""

    @property
    def complete(self) -> bool:
        """Whether all messages that the run has finished so far were given."""
        return False

    @abstractmethod
    def read(self, event: ServerSentEvent) -> Sequence[FeedUpdate]:
        """Give what an event shows; mostly that is nothing new.

        Raises:
            StreamLost: If it tells of trouble, or cannot be read.
        """

    def resume(self, pause: Pause) -> ServerEvents | None:
        """Give the events after the last one read, where the service tells them again."""
        return None


class RunStream(Interruptible):
    """Iterate over what a run tells of itself; one thread reads, any thread ends it.

    Iterating never ends by itself: it raises ``StreamLost`` when there is no more to come, and
    ``FeedClosed`` when it was ended.

    Args:
        events: The events as they come.
        translation: Reads them.
    """

    def __init__(self, events: ServerEvents, translation: Translation) -> None:
        self._events = events
        self._translation = translation

    @property
    def complete(self) -> bool:
        """Whether all messages that the run has finished so far were given."""
        return self._translation.complete

    def __iter__(self) -> Iterator[FeedUpdate | None]:
        """Give the updates as they come; ``None`` when only signs of life came for long."""
        while True:
            try:
                event = next(self._events)
            except StopIteration:
                raise StreamLost("it ended before the run did") from None
            except ServiceUnavailableError as exc:
                raise StreamLost(exc.message) from exc
            if event is None:
                yield None
            else:
                yield from self._translation.read(event)

    def resumed(self, pause: Pause) -> RunStream | None:
        """Give the stream that goes on from here, where the service has it."""
        events = self._translation.resume(pause)
        return None if events is None else RunStream(events, self._translation)

    def end(self) -> None:
        """End it, from any thread."""
        self._events.end()

    def finish(self, patience: float) -> None:
        """Pass over what is left, waiting so many seconds, to keep the connection."""
        self._events.finish(patience)

    def close(self) -> None:
        """Close it, on the thread that reads it; idempotent."""
        self._events.close()
