"""The keeper of an engine: a thread that sees what nobody asks about.

Work whose time is up, that nobody wants any more or that another process has ended; other engines
that are gone, and what they have left; streams that nobody can resume any more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from gpt_agent_sync.server.storage.collection import OWNER, Object
from gpt_agent_sync.server.storage.database import DatabaseError, StorageClosedError
from gpt_agent_sync.server.streams import RESUMABLE_SECONDS
from gpt_agent_sync.server.work import Ending, Work

if TYPE_CHECKING:
    from gpt_agent_sync.server.engine import Engine

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks at the work in hand."""

BEAT_SECONDS = 3.0
"""Between two beats of an engine that has work in hand."""

SWEEP_SECONDS = 4.0
"""Between two looks for what others have left."""

DEAD_SECONDS = 12.0
"""After which an engine that does not beat is taken for gone. All together, what it had is ended
half a minute after its death at the latest."""

CLEAN_SECONDS = 60.0
"""Between two looks for streams that nobody can resume any more."""

MOST_TAKEN = 32
"""Runs and responses that one sweep takes up or ends: others are to have some of them."""


class Keeper:
    """The thread that looks after an engine's work.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._storage = engine.storage
        self._pid = os.getpid()
        self._condition = threading.Condition()
        self._stopped = self._resting = False
        self._beat_lock = threading.Lock()
        self._beaten_at: float | None = None
        self._swept_at = self._cleaned_at = float("-inf")
        # What is known of other engines: their last beat, and since when it has been the same.
        self._seen: dict[str, tuple[int, float]] = {}
        self._thread = threading.Thread(
            target=self._run, name="gpt-agent-server-keeper", daemon=True
        )

    def start(self) -> None:
        """Begin; where there is no thread to be had, at exit say, it is done without."""
        try:
            self._thread.start()
        except RuntimeError:
            self._stopped = True

    def wake(self) -> None:
        """Look more often from now on, as there is work."""
        # Nearly always it does: a lock for each run, and a switch of threads, are spared.
        if self._resting:
            with self._condition:
                self._resting = False
                self._condition.notify_all()

    def stop(self, patience: float) -> None:
        """End the thread.

        Args:
            patience: Seconds to wait for it.
        """
        with self._condition:
            self._stopped = True
            self._condition.notify_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(patience)

    def beat_if_due(self) -> None:
        """Tell others that the engine is alive, where the last time is long ago."""
        # A database in memory has no others.
        if self._storage.is_memory:
            return
        with self._beat_lock:
            now = time.monotonic()
            if self._beaten_at is not None and now - self._beaten_at < BEAT_SECONDS:
                return
            with self._storage.write() as connection:
                self._storage.workers.beat(connection, self._engine.worker_id)
            self._beaten_at = now

    def sign_off(self) -> None:
        """Take the engine from those that work."""
        if self._storage.is_memory or self._beaten_at is None:
            return
        try:
            with self._storage.write() as connection:
                self._storage.workers.remove(connection, [self._engine.worker_id])
        except (DatabaseError, StorageClosedError):
            logger.debug("the worker's record stays, and is removed by another")

    def _run(self) -> None:
        while True:
            with self._condition:
                self._rest()
                self._condition.wait_for(lambda: self._stopped, LOOK_SECONDS)
            # Greenlets are copied by a fork: a child's is not to do the parent's work.
            if self._stopped or os.getpid() != self._pid:
                return
            try:
                self._look()
            except StorageClosedError:
                logger.debug("the database is closed to the keeper")
            except DatabaseError:
                # Others, or a restarted database, are waited for.
                logger.warning("the database cannot be looked at", exc_info=True)
            except Exception:
                logger.exception("the keeper broke, and goes on")

    def _rest(self) -> None:
        """Wait for work, or for the time of the next sweep."""
        self._resting = True
        # After that is said: work that comes now is seen here, or ends the rest.
        if self._engine.needs_looks:
            self._resting = False
            return
        # In memory nothing happens that is not this engine's doing; its streams go in time.
        pause = CLEAN_SECONDS if self._storage.is_memory else SWEEP_SECONDS
        self._condition.wait_for(
            lambda: self._stopped or not self._resting, max(0.0, pause - LOOK_SECONDS)
        )
        self._resting = False

    def _look(self) -> None:
        work = self._engine.in_hand()
        # First: whatever else fails, others are to know that this engine is alive.
        if work:
            self.beat_if_due()
            self._look_after(work)
        self._engine.end_unwatched()
        self._engine.streams.flush()
        now = time.monotonic()
        # One that takes on no more leaves what there is to others.
        is_open = not (self._storage.is_memory or self._engine.is_refusing)
        if is_open and now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._sweep(now)
        if now - self._cleaned_at >= CLEAN_SECONDS:
            self._cleaned_at = now
            self._clean()

    def _look_after(self, in_hand: list[Work]) -> None:
        """End the work in hand that is past its time, unwanted, or ended by another process."""
        engine, now = self._engine, self._engine.clock()
        states = {} if self._storage.is_memory else self._states(in_hand)
        for work in in_hand:
            if work.is_left:
                engine.end(work, Ending.LOST)
            elif work.is_expired(now):
                engine.end(work, Ending.EXPIRED)
            elif work.is_wanted is not None and not work.is_wanted():
                logger.info("%s is ended: its client has gone", work)
                engine.end(work, Ending.CANCELLED)
            elif not self._storage.is_memory and not self._is_ours(work, states.get(work.id)):
                engine.end(work, Ending.CANCELLED)

    def _states(self, in_hand: list[Work]) -> dict[str, tuple[str, str | None]]:
        with self._storage.read() as connection:
            return {
                found[0]: found[1:]
                for kind in self._engine.kinds
                for found in kind.collection(self._engine).states(
                    connection, [work.id for work in in_hand if isinstance(work, kind)]
                )
            }

    def _is_ours(self, work: Work, state: tuple[str, str | None] | None) -> bool:
        if state is None:
            return False
        status, owner = state
        return owner == self._engine.worker_id and status in work.working - {"cancelling"}

    def _sweep(self, now: float) -> None:
        """Take up, or end, what engines that are gone have left."""
        storage = self._storage
        with storage.read() as connection:
            beats = storage.workers.beats(connection)
            dead = self._dead(beats, now)
            alive = [*(beats.keys() - dead), self._engine.worker_id]
            left = [
                (kind, item)
                for kind in self._engine.kinds
                for item in kind.collection(self._engine).left(
                    connection, kind.working, alive, MOST_TAKEN
                )
            ]
        # Read once more: one that has begun to work in between is alive, and so is one that beats.
        with storage.read() as connection:
            now_alive = {
                worker
                for worker, beat in storage.workers.beats(connection).items()
                if worker not in dead or beats[worker] != beat
            }
        for kind, item in left:
            if item.get(OWNER) not in now_alive:
                self._take(kind, item)
        # After what they had: until then another sweep must know whose it was.
        gone = {worker: beats[worker] for worker in dead - now_alive}
        if gone and len(left) < MOST_TAKEN:
            logger.info("%d workers are gone", len(gone))
            with storage.write() as connection:
                storage.workers.remove_gone(connection, gone)

    def _dead(self, beats: dict[str, int], now: float) -> set[str]:
        """Return the engines whose beat has been the same for long."""
        seen = self._seen
        self._seen = {
            worker: seen[worker] if worker in seen and seen[worker][0] == beat else (beat, now)
            for worker, beat in beats.items()
            if worker != self._engine.worker_id
        }
        return {worker for worker, (_, since) in self._seen.items() if now - since >= DEAD_SECONDS}

    def _take(self, kind: type[Work], item: Object) -> None:
        engine, collection = self._engine, kind.collection(self._engine)
        if item["status"] == "queued" and not kind.outlives(item):
            # Whoever has asked for it has lost the answer with that process.
            kind(engine, item).interrupt(Ending.CANCELLED)
            return
        if item["status"] != "queued":
            logger.warning("%s %s is ended: its process is gone", kind.kind, item["id"])
            ending = Ending.CANCELLED if item["status"] == "cancelling" else Ending.LOST
            kind(engine, item).interrupt(ending)
            return
        engine.admit()
        with self._storage.write() as connection:
            found = collection.get(connection, item["id"], lock=True)
            # Another one may have been faster.
            state = None if found is None else (found["status"], found.get(OWNER))
            if found is None or state != (item["status"], item.get(OWNER)):
                return
            collection.update(connection, engine.own(found))
        logger.info("%s %s is taken up", kind.kind, item["id"])
        engine.start(kind.taken_up(engine, engine.own(found)))

    def _clean(self) -> None:
        self._engine.streams.clean()
        if not self._storage.is_memory:
            with self._storage.write() as connection:
                oldest = self._engine.clock() - RESUMABLE_SECONDS
                self._storage.events.remove_before(connection, oldest)
