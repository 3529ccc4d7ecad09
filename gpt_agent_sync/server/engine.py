"""Answering runs and responses: each is worked on by a thread, and answered by a model."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from gpt_agent_sync.server.collection import Collection, Connection, Object
from gpt_agent_sync.server.errors import unknown_model
from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.storage import DatabaseError, Storage, StorageClosedError
from gpt_agent_sync.server.streams import Stream, StreamEvent, Streams

logger = logging.getLogger(__name__)

RUN_SECONDS = 600
"""Seconds that a run may take, tool calls included (the Assistants wire's ``expires_at``)."""


class Engine:
    """The runs and responses of a storage, and the models that answer them.

    Args:
        storage: Where everything is kept.
        models: Who answers; the first that serves a name does.
        default_model: What the name ``"default"`` stands for.
        run_seconds: How many seconds a run, or a response, may take.
        clock: Returns Unix time.
    """

    def __init__(
        self,
        storage: Storage,
        models: Sequence[Model],
        *,
        default_model: str = "demo",
        run_seconds: float = RUN_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.run_seconds = run_seconds
        self.streams = Streams()
        self._models = list(models)
        self._default_model = default_model

    def resolve_model(self, name: str) -> str:
        """Return the name of a model that is served.

        Raises:
            WireError: If nobody serves it.
        """
        resolved = self._default_model if name == "default" else name
        if not any(model.serves(resolved) for model in self._models):
            raise unknown_model(name)
        return resolved

    def start(self, work: Work) -> None:
        """Do the work on a thread of its own."""
        # Not on a pool: a model may think for minutes, and no run is to wait for another's. And as
        # a daemon: a program ends although a model has not.
        thread = threading.Thread(
            target=self.do, args=(work,), name=f"gpt-agent-server-{work.id}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # There is none to be had, at exit say: the request's own does it, and its caller waits.
            self.do(work)

    def do(self, work: Work) -> None:
        """Do the work on the calling thread."""
        try:
            if work.begin():
                work.finish(self._answer(work))
        except StorageClosedError:
            logger.debug("%s is left as it is: the server has stopped", work)
        except DatabaseError:
            logger.exception("%s could not be kept", work)
        finally:
            # However it went, no reader is left waiting: the thread may have been deleted, or the
            # database be broken.
            work.publish(last=True)

    def close(self, patience: float | None = None) -> None:
        """Close the storage, and end all streams; what models still answer is dropped.

        Args:
            patience: Seconds to wait for transactions; ``None`` for as long as they may take.
        """
        # The streams first: their readers' threads would wait for events that no longer come.
        self.streams.close()
        self.storage.close(patience)

    def _answer(self, work: Work) -> Finish | ModelError:
        end: Finish | ModelError = Finish()
        try:
            request = work.request()
            # Resolved again: another server that shares the database may have other models.
            model = next(model for model in self._models if model.serves(request.model))
            for chunk in model.reply(request):
                if isinstance(chunk, Finish):
                    end = chunk
                else:
                    work.add(chunk)
        except ModelError as exc:
            end = exc
        # The server has stopped: that is no failure of the model, and cannot be kept either.
        except StorageClosedError:
            raise
        except Exception:
            # Models are foreign code. Whatever they raise, the run must end: a live one locks its
            # thread until it expires.
            logger.exception("the model broke on %s", work)
            end = ModelError("server_error", "Sorry, something went wrong.")
        return end


class Work(ABC):
    """A run of the one wire, or a response of the other, that a model is to answer.

    The object may change under the work at any time, by a cancel, its expiry, or another server on
    the same database: so it is read again, and locked, at the beginning and at the end, and in
    between, while the model answers, no transaction is open.

    Args:
        engine: Who does it.
        collection: Where the run or response is kept.
        work_id: Its id.
        stream: Where its events go, if somebody reads them.

    Attributes:
        kind: What it is, in the wire's word.
        done_events: What follows the last event of every stream on this wire.
        id: Its id.
        item: The run or response as it was kept last.
    """

    kind: str
    done_events: tuple[StreamEvent, ...] = ()

    def __init__(
        self, engine: Engine, collection: Collection, work_id: str, stream: Stream | None = None
    ) -> None:
        self.id = work_id
        self.item: Object = {}
        self._engine = engine
        self._storage = engine.storage
        self._collection = collection
        self._stream = stream

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
        with self._storage.write() as connection:
            item = self._collection.get(connection, self.id, lock=True)
            if item is None:
                return False
            # One that another server has begun is left alone, be it past its time or not.
            if item["status"] == "queued":
                item = self.end_if_expired(connection, item)
            is_queued: bool = item["status"] == "queued"
            if is_queued:
                item = self.begun(item)
                self._collection.update(connection, item)
            else:
                self._delete_unless_stored(connection, item)
        self.item = item
        # Published after the commit: a reader who asks for the object on the event must see it so.
        if is_queued:
            self.publish(self.event(item))
        else:
            self._publish_end(item)
        return is_queued

    def finish(self, end: Finish | ModelError) -> None:
        """Keep its outcome, unless it was cancelled or is past its time, and publish how it ended.

        Args:
            end: How the model's answer ended: whole, cut short, or not at all.
        """
        events: list[StreamEvent] = []
        with self._storage.write() as connection:
            item = self._collection.get(connection, self.id, lock=True)
            # Its thread was deleted while the model answered.
            if item is None:
                return
            item = self.end_if_expired(connection, item)
            if item["status"] in ("in_progress", "cancelling"):
                item, events = self.outcome(connection, item, end)
                self._collection.update(connection, item)
            self._delete_unless_stored(connection, item)
        self.item = item
        self._publish_end(item, events)

    def _delete_unless_stored(self, connection: Connection, item: Object) -> None:
        if not self.is_stored(item):
            self._collection.delete(connection, self.id)

    def _publish_end(self, item: Object, events: Sequence[StreamEvent] = ()) -> None:
        self.publish(*events, self.event(item), *self.done_events, last=True)

    @abstractmethod
    def request(self) -> ModelRequest:
        """Return what the model is asked."""

    @abstractmethod
    def add(self, chunk: TextDelta | ToolCall) -> None:
        """Add the next chunk of the model's answer, and publish its events."""

    @abstractmethod
    def event(self, item: Object) -> StreamEvent:
        """Return the event of its status."""

    @abstractmethod
    def end_if_expired(self, connection: Connection, item: Object) -> Object:
        """Return it as it is now: ended, and kept so, if it is past its time."""

    @abstractmethod
    def begun(self, item: Object) -> Object:
        """Return it in progress."""

    @abstractmethod
    def outcome(
        self, connection: Connection, item: Object, end: Finish | ModelError
    ) -> tuple[Object, list[StreamEvent]]:
        """Keep what the model answered, and return the item with its outcome, and the events.

        Args:
            connection: The transaction in which the item is locked.
            item: The item, in progress or cancelling.
            end: How the model's answer ended.
        """

    def is_stored(self, item: Object) -> bool:
        """Return whether it stays in the database when the work is done."""
        return True
