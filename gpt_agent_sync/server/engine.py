"""Answering runs and responses: each is worked on by a thread, and answered by a model."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from gpt_agent_sync.server.errors import unknown_model
from gpt_agent_sync.server.keeper import Keeper
from gpt_agent_sync.server.metrics import metrics
from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
)
from gpt_agent_sync.server.models.cancellation import Cancellation, ReplyCancelledError
from gpt_agent_sync.server.models.demo import NAME as DEMO
from gpt_agent_sync.server.models.upstream import UpstreamModel
from gpt_agent_sync.server.pauses import wait_while
from gpt_agent_sync.server.storage.collection import OWNER, Object, new_id
from gpt_agent_sync.server.storage.database import DatabaseError, Storage, StorageClosedError
from gpt_agent_sync.server.streams import Streams
from gpt_agent_sync.server.work import Ending, ReplyEndedError, Work

logger = logging.getLogger(__name__)

RUN_SECONDS = 600
"""Seconds that a run may take, tool calls included (the Assistants wire's ``expires_at``)."""


KEEPER_PATIENCE = 10.0
"""Seconds to wait for the keeper's end where nobody says how long."""


class Engine:
    """The runs and responses of a storage, and the models that answer them.

    Several engines, in as many processes, may share a database: each works on what it was asked
    for, and takes up what one that is gone has left.

    Args:
        storage: Where everything is kept.
        models: Who answers; the first that serves a name does.
        kinds: The kinds of work there are.
        default_model: What the name ``"default"`` stands for.
        names: Names that stand for other ones.
        upstream: What answers all names that no other model serves, if there is one.
        run_seconds: How many seconds a run, or a response, may take.
        clock: Returns Unix time.

    Attributes:
        worker_id: Its name among those that share the database.
    """

    def __init__(
        self,
        storage: Storage,
        models: Sequence[Model],
        kinds: Sequence[type[Work]] = (),
        *,
        default_model: str = "demo",
        names: Mapping[str, str] | None = None,
        upstream: UpstreamModel | None = None,
        run_seconds: float = RUN_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.run_seconds = run_seconds
        self.streams = Streams(storage, clock)
        self.kinds = tuple(kinds)
        self.worker_id = new_id("worker")
        self._models = list(models)
        self._default_model = default_model
        self._names = dict(names or {})
        self.upstream = upstream
        self._lock = threading.Lock()
        self._in_hand: dict[str, Work] = {}
        self._watched: dict[int, tuple[Cancellation, Callable[[], bool] | None]] = {}
        self._closing = self._refusing = False
        self._keeper = Keeper(self)
        self._keeper.start()

    def resolve_model(self, name: str) -> str:
        """Return the name of a model that is served; one that stands for another gives that.

        Raises:
            WireError: If nobody serves it.
        """
        resolved = self._default_model if name == "default" else name
        resolved = self._names.get(resolved, resolved)
        if not self._serves(resolved):
            raise unknown_model(name)
        return resolved

    def admit(self) -> None:
        """Say, before work is taken on, that this engine is alive; in no transaction.

        Raises:
            StorageClosedError: If the server stops, and takes on no more.
        """
        if self.is_refusing:
            raise StorageClosedError
        self._keeper.beat_if_due()

    def own(self, item: Object) -> Object:
        """Return a run or response that is this engine's to work on."""
        return {**item, OWNER: self.worker_id}

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
        with self._lock:
            self._in_hand[work.id] = work
        metrics.set_in_hand(len(self._in_hand))
        self._keeper.wake()
        try:
            if self._closing:
                raise StorageClosedError
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
            # What could not be kept stays in hand: the keeper tries to end it, again and again.
            work.is_left = True
            if work.is_over or self._closing:
                self._put_down(work)

    def is_upstream(self, name: str) -> bool:
        """Return whether a resolved name is one that the upstream answers to."""
        return self.upstream is not None and self._model(name) is self._models[-1]

    @property
    def model_names(self) -> list[str]:
        """The names of models that are known here: not those that only the upstream knows."""
        own = [name for name in (DEMO, self._default_model) if self._serves(name)]
        return list(dict.fromkeys([*own, *self._names]))

    def _serves(self, name: str) -> bool:
        return any(model.serves(name) for model in self._models)

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield a model's reply, on the calling thread.

        Raises:
            ModelError: If it cannot answer.
        """
        yield from self._model(request.model).reply(request)

    @property
    def is_refusing(self) -> bool:
        """Whether it takes on no more work."""
        return self._closing or self._refusing

    @property
    def needs_looks(self) -> bool:
        """Whether there is something to look after."""
        return bool(self._in_hand or self._watched or self.streams.are_live)

    @contextlib.contextmanager
    def watching(
        self, cancellation: Cancellation, is_wanted: Callable[[], bool] | None
    ) -> Iterator[None]:
        """Cancel a request that nobody waits for any more, while the block runs.

        Args:
            cancellation: What to cancel.
            is_wanted: Returns whether somebody waits; called now and then, from another thread.
        """
        key = id(cancellation)
        self._watched[key] = cancellation, is_wanted
        self._keeper.wake()
        try:
            yield
        finally:
            self._watched.pop(key, None)

    def end_unwatched(self) -> None:
        """Cancel the requests that nobody waits for any more."""
        for cancellation, is_wanted in list(self._watched.values()):
            if is_wanted is not None and not is_wanted():
                cancellation.cancel()

    def complete(self, request: ModelRequest) -> tuple[str, Finish]:
        """Return a model's text, and how it ended; on the calling thread.

        Raises:
            ModelError: If it cannot answer.
        """
        texts, end = list[str](), Finish()
        for chunk in self.reply(request):
            if isinstance(chunk, Finish):
                end = chunk
            elif isinstance(chunk, TextDelta):
                texts.append(chunk.text)
        return "".join(texts), end

    def in_hand(self) -> list[Work]:
        """Return the work that this engine does."""
        with self._lock:
            return list(self._in_hand.values())

    def interrupt(self, work_id: str, ending: Ending) -> None:
        """End some work, if this engine does it; what its model still answers is dropped."""
        with self._lock:
            work = self._in_hand.get(work_id)
        if work is not None:
            self.end(work, ending)

    def end(self, work: Work, ending: Ending) -> None:
        """End work in hand; where that cannot be kept the keeper tries again."""
        try:
            work.interrupt(ending)
        except DatabaseError:
            logger.exception("%s could not be ended", work)
        else:
            self._put_down(work)

    def drain(self, seconds: float) -> int:
        """Take on no more work, and wait until what is in hand has come to its end.

        Args:
            seconds: How long at most.

        Returns:
            How much is still in hand.
        """
        self._refusing = True
        wait_while(lambda: bool(self._in_hand or self._watched), seconds)
        return len(self.in_hand())

    def close(self, patience: float | None = None) -> None:
        """End the work in hand, all streams, and close the storage.

        What is in progress fails, as nobody goes on with it; what nobody has begun is given back.

        Args:
            patience: Seconds to wait for transactions; ``None`` for as long as they may take.
        """
        self._closing = True
        if patience is not None:
            self.storage.hurry(patience / 4)
        self._keeper.stop(KEEPER_PATIENCE if patience is None else patience / 4)
        for work in self.in_hand():
            self.end(work, Ending.STOPPED)
        for cancellation, _ in list(self._watched.values()):
            cancellation.cancel()
        # Their readers' threads would wait for events that no longer come.
        self.streams.close()
        self._keeper.sign_off()
        self.storage.close(patience)

    def _put_down(self, work: Work) -> None:
        with self._lock:
            is_first = self._in_hand.get(work.id) is work
            if is_first:
                del self._in_hand[work.id]
        if is_first:
            metrics.set_in_hand(len(self._in_hand))
            metrics.count_work(work.kind, str(work.item.get("status")))

    def _model(self, name: str) -> Model:
        return next(model for model in self._models if model.serves(name))

    def _answer(self, work: Work) -> Finish | ModelError:
        end: Finish | ModelError = Finish()
        try:
            request = work.request()
            # Resolved again: another server that shares the database may have other models.
            for chunk in self.reply(request):
                request.cancellation.check()
                if isinstance(chunk, Finish):
                    end = chunk
                else:
                    work.add(chunk)
        except ReplyEndedError as exc:
            end = exc.end
        except ModelError as exc:
            end = exc
        except ReplyCancelledError:
            logger.debug("the model of %s was interrupted", work)
            end = ModelError("server_error", "The reply was interrupted.")
        # The server has stopped: that is no failure of the model, and cannot be kept either.
        except StorageClosedError:
            raise
        except Exception:
            # Models are foreign code. Whatever they raise, the run must end: a live one locks its
            # thread until it expires.
            logger.exception("the model broke on %s", work)
            end = ModelError("server_error", "Sorry, something went wrong.")
        return end
