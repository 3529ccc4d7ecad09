"""One run of the one wire, or response of the other, that a model is to answer."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from gpt_agent_sync.server.models.base import Finish, ModelError, ModelRequest, TextDelta, ToolCall
from gpt_agent_sync.server.models.cancellation import Cancellation
from gpt_agent_sync.server.storage.collection import OWNER, Collection, Connection, Object
from gpt_agent_sync.server.streams import Stream, StreamEvent

if TYPE_CHECKING:
    from gpt_agent_sync.server.engine import Engine

logger = logging.getLogger(__name__)


class Ending(Enum):
    """Why work ends before its model has answered."""

    CANCELLED = "cancelled"
    """A client wants it so."""
    EXPIRED = "expired"
    """Its time is up."""
    STOPPED = "stopped"
    """The server stops."""
    LOST = "lost"
    """The process that worked on it is gone, or could not keep what came of it."""


class Work(ABC):
    """A run or response, from queued to its end or to its next tool calls.

    The object may change under the work at any time, by a cancel, its expiry, or another process on
    the same database: so it is read again, and locked, at the beginning and at the end, and in
    between, while the model answers, no transaction is open. It has one owner: whoever finds that
    it has another one by now leaves it alone.

    One thread does the work; any other may interrupt it, and then what the model still answers is
    dropped.

    Args:
        engine: Who does it.
        item: The run or response.
        stream: Where its events go, if somebody reads them.
        is_wanted: Returns whether somebody still waits for it; called now and then, from another
            thread.

    Attributes:
        kind: What it is, in the wire's word.
        working: The statuses in which somebody has to work on it.
        done_events: What follows the last event of every stream on this wire.
        id: Its id.
        item: The run or response as it was kept last.
        owner: Whose it was when the work was made, and has to be.
        is_left: Whether its thread has ended, and could not keep what became of it.
        cancellation: Ends the wait for its model.
        is_over: Whether what became of it is kept.
    """

    kind: ClassVar[str]
    working: ClassVar[frozenset[str]]
    done_events: ClassVar[tuple[StreamEvent, ...]] = ()

    def __init__(
        self,
        engine: Engine,
        item: Object,
        stream: Stream | None = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        self.id: str = item["id"]
        self.item = item
        self.cancellation = Cancellation()
        self.owner: str | None = item.get(OWNER)
        self.is_over = self.is_left = False
        self.is_wanted = is_wanted
        self._engine = engine
        self._storage = engine.storage
        self._collection = self.collection(engine)
        self._stream = stream
        # Held by whoever brings it to its end, and by its thread while it adds to its output.
        self._lock = threading.Lock()

    def __str__(self) -> str:
        """Name the work, for the log."""
        return f"{self.kind} {self.id}"

    def publish(self, *events: StreamEvent, last: bool = False) -> None:
        """Publish events to those who read them; nothing is published after the last ones."""
        if self._stream is not None:
            self._stream.publish(*events, last=last)

    def begin(self) -> bool:
        """Put it in progress if it is queued and in time, else publish its last event.

        Returns:
            Whether a model is to answer it.
        """
        with self._lock:
            if self.is_over:
                return False
            with self._storage.write() as connection:
                item = self._collection.get(connection, self.id, lock=True)
                waits = item is not None and item["status"] == "queued"
                is_ours = item is not None and item.get(OWNER) == self.owner
                # Taken by another, or begun.
                if item is None or (item["status"] in self.working and not (waits and is_ours)):
                    self.is_over = True
                    return False
                item = self.end_if_expired(connection, item)
                begins: bool = item["status"] == "queued"
                if begins:
                    item = self.begun(connection, item)
                    self._collection.update(connection, item)
                else:
                    self._delete_unless_stored(connection, item)
            self.item = item
            # Published after the commit: who asks for the object on the event must see it so.
            if begins:
                self.publish(self.event(item))
            else:
                self.is_over = True
                self._publish_end(item)
            return begins

    def add(self, chunk: TextDelta | ToolCall) -> None:
        """Add the next chunk of the model's answer, and publish its events."""
        with self._lock:
            # What comes too late is not the answer any more.
            if not self.is_over and not self.is_expired(self._engine.clock()):
                self.publish(*self.added(chunk))

    def finish(self, end: Finish | ModelError) -> None:
        """Keep its outcome, unless it was cancelled or is past its time, and publish how it ended.

        Args:
            end: How the model's answer ended: whole, cut short, or not at all.
        """

        def settle(connection: Connection, item: Object) -> tuple[Object, list[StreamEvent]]:
            item = self.end_if_expired(connection, item)
            if item["status"] == "in_progress":
                return self.outcome(connection, item, end)
            ending = Ending.CANCELLED if item["status"] in self.working else None
            return self._cut_off(connection, item, ending)

        with self._lock:
            self._end(settle)

    def interrupt(self, ending: Ending) -> None:
        """End it, from any thread; what its model still answers is dropped. Idempotent."""
        self.cancellation.cancel()
        with self._lock:
            self._end(lambda connection, item: self._cut_off(connection, item, ending))

    def _end(
        self, settle: Callable[[Connection, Object], tuple[Object, list[StreamEvent]]]
    ) -> None:
        """Bring it to its end: once, by whoever is first."""
        if self.is_over:
            return
        events: list[StreamEvent] = []
        with self._storage.write() as connection:
            item = self._collection.get(connection, self.id, lock=True)
            if item is not None and item.get(OWNER) == self.owner:
                item, events = settle(connection, item)
                item = {**item, OWNER: None}
                self._collection.update(connection, item)
                self._delete_unless_stored(connection, item)
            elif item is not None and item["status"] in self.working:
                logger.warning("%s was taken over while this process worked on it", self)
        self.is_over = True
        # It is gone where its thread was deleted while the model answered.
        if item is None:
            self.publish(last=True)
            return
        self.item = item
        self._publish_end(item, events)

    def _cut_off(
        self, connection: Connection, item: Object, ending: Ending | None
    ) -> tuple[Object, list[StreamEvent]]:
        """Return it ended, if it is not yet, and the events of what was cut off."""
        events: list[StreamEvent] = []
        if ending is not None and item["status"] in self.working:
            # One that nobody has begun is given back: another process, or the next, takes it up.
            if item["status"] == "queued" and ending in (Ending.STOPPED, Ending.LOST):
                return item, []
            # A cancel is told when it is asked for, and when it is done.
            if item["status"] == "cancelling":
                events.append(self.event(item))
            item = self.ended(item, ending)
        return item, [*events, *self.cut_off(connection, item)]

    def _delete_unless_stored(self, connection: Connection, item: Object) -> None:
        if not self.is_stored(item) and item["status"] not in self.working:
            self._collection.delete(connection, self.id)

    def _publish_end(self, item: Object, events: Sequence[StreamEvent] = ()) -> None:
        self.publish(*events, self.event(item), *self.done_events, last=True)

    @classmethod
    @abstractmethod
    def collection(cls, engine: Engine) -> Collection:
        """Return where its runs or responses are kept."""

    @classmethod
    def outlives(cls, item: Object) -> bool:
        """Return whether somebody may still want it when the process that was asked is gone."""
        return True

    @classmethod
    def taken_up(cls, engine: Engine, item: Object) -> Work:
        """Return the work on a run or response that another process has left."""
        return cls(engine, item)

    @abstractmethod
    def request(self) -> ModelRequest:
        """Return what the model is asked.

        Raises:
            ReplyEndedError: If the model need not be asked to know how the answer ends.
        """

    @abstractmethod
    def added(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add a chunk of the model's answer to the output, and return its events."""

    @abstractmethod
    def event(self, item: Object) -> StreamEvent:
        """Return the event of its status."""

    @abstractmethod
    def is_expired(self, now: float) -> bool:
        """Return whether it is past its time."""

    @abstractmethod
    def end_if_expired(self, connection: Connection, item: Object) -> Object:
        """Return it as it is now: ended, and kept so, if it is past its time."""

    @abstractmethod
    def begun(self, connection: Connection, item: Object) -> Object:
        """Return it in progress."""

    @abstractmethod
    def outcome(
        self, connection: Connection, item: Object, end: Finish | ModelError
    ) -> tuple[Object, list[StreamEvent]]:
        """Keep what the model answered, and return the item with its outcome, and the events.

        Args:
            connection: The transaction in which the item is locked.
            item: The item, in progress.
            end: How the model's answer ended.
        """

    @abstractmethod
    def ended(self, item: Object, ending: Ending) -> Object:
        """Return it in the final status that is the wire's for an ending."""

    def cut_off(self, connection: Connection, item: Object) -> list[StreamEvent]:
        """Keep what there is of an answer whose work has ended, and return the events of that."""
        return []

    def is_stored(self, item: Object) -> bool:
        """Return whether it stays in the database when the work is done."""
        return True


class ReplyEndedError(Exception):
    """The model need not be asked: how its answer ends is known.

    Attributes:
        end: How it ends.
    """

    def __init__(self, end: Finish) -> None:
        super().__init__(end)
        self.end = end
