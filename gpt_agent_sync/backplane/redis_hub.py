"""What one process has of a Redis backplane: its leases, who listens, and the bell."""

from __future__ import annotations

import collections
import functools
import json
import threading
import uuid
from collections.abc import Callable, Iterable

import attrs

from gpt_agent_sync.backplane import redis_log, redis_scripts
from gpt_agent_sync.backplane.base import Lease, Listener
from gpt_agent_sync.backplane.redis_bell import OWNERLESS, REQUESTS, Bell
from gpt_agent_sync.backplane.redis_leases import Held, Leases
from gpt_agent_sync.backplane.redis_log import Keys
from gpt_agent_sync.backplane.timer import Timer
from gpt_agent_sync.event_log import Page
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.redis_client import RedisClient
from gpt_agent_sync.threads import Thread

logger = get_logger(__name__)

RECONNECT_PAUSES = 0.2, 5.0
"""Seconds before the bell is connected anew, at first and at most."""


@attrs.define(eq=False)
class Subscriber:
    """A listener, and how far it has heard.

    Attributes:
        keys: The keys of its thread.
        cursor: What it has heard last.
        listener: Whom to tell.
        closed: Whether it is told nothing any more.
    """

    keys: Keys
    cursor: str
    listener: Listener
    hub: Hub
    closed: bool = False

    def tell(self, call: Callable[[Listener], object]) -> None:
        """Tell the listener something, unless it is closed; what it raises is logged."""
        if self.closed:
            return
        try:
            call(self.listener)
        except Exception:
            logger.exception("a listener failed")

    def close(self) -> None:
        """End it; idempotent."""
        self.closed = True
        self.hub.remove(self)


CLOSE_PATIENCE = 1.0
"""Seconds to wait for the thread that reads, when all is closed."""


class Hub:
    """One process's part of a backplane; safe to share.

    The bell is one connection with one thread that reads it, for all threads that anybody listens
    to: it says where to look, and the log is what counts. One timer renews leases and looks after
    those of others.

    Attributes:
        timer: The timer.
        leases: The leases.

    Args:
        client: The client.
        lease: Seconds that a lease lasts.
    """

    def __init__(self, client: RedisClient, lease: float) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._dirty: set[str] = set()
        self._name = f"gpt_agent:bell:{uuid.uuid4().hex}"
        self._reads = False
        self._reader: Thread | None = None
        self._has_checked = False
        self._closing = threading.Event()
        self.timer = Timer("gpt-agent-backplane")
        self.leases = Leases(client, lease, self.timer, self._tell_lost, self.tell_ownerless)

    def _tell_lost(self, place: str, lease: Lease) -> None:
        for subscriber in self._subscribers_of(place):
            subscriber.tell(lambda listener: listener.lost(lease))

    def tell_ownerless(self, place: str) -> None:
        """Tell the listeners of a thread that nobody holds its lease any more."""
        for subscriber in self._subscribers_of(place):
            subscriber.tell(lambda listener: listener.ownerless())

    # Who listens

    def add(self, keys: Keys, cursor: str, listener: Listener) -> Subscriber:
        """Tell a listener of all that comes after a cursor."""
        subscriber = Subscriber(keys, cursor, listener, self)
        with self._lock:
            self._subscribers.setdefault(keys.place, []).append(subscriber)
            self._dirty.add(keys.place)
            starts, self._reads = not self._reads, True
        if not starts:
            self.wake()
            return subscriber
        try:
            reader = Thread(self._read, "gpt-agent-bell")
            reader.start()
            self._reader = reader
        except BaseException:
            with self._lock:
                self._reads = False
            raise
        return subscriber

    def remove(self, subscriber: Subscriber) -> None:
        """Tell a listener nothing any more."""
        place = subscriber.keys.place
        with self._lock:
            left = [each for each in self._subscribers.get(place, ()) if each is not subscriber]
            if left:
                self._subscribers[place] = left
            else:
                self._subscribers.pop(place, None)
        self.wake()

    def _subscribers_of(self, place: str) -> list[Subscriber]:
        with self._lock:
            return list(self._subscribers.get(place, ()))

    def wake(self) -> None:
        """Have the thread that reads the bell look who listens."""
        # A subscription is changed by the thread that reads it, and no other: so it is woken.
        try:
            self._client.get().publish(self._name, "wake")
        except Exception as exc:  # a client that its owner has closed raises what it likes
            logger.debug("the bell is not woken, and will look by itself: %s", exc)

    # The bell

    def _read(self) -> None:
        pause, troubled = RECONNECT_PAUSES[0], False
        while not self._closing.is_set():
            try:
                self._check_eviction()
                with self._client.pubsub() as pubsub:
                    Bell(self, pubsub, self._name).listen(lambda: self._closing.is_set())
                    with self._lock:
                        if not self._subscribers or self._closing.is_set():
                            self._reads = False
                            return
            except Exception as exc:
                # Whatever it is, without this thread all agents of the process would be deaf.
                if not troubled:
                    foreseen = isinstance(exc, self._client.errors)
                    logger.warning(
                        "events of other processes are not heard: %s", exc, exc_info=not foreseen
                    )
                troubled = True
            else:
                pause, troubled = RECONNECT_PAUSES[0], False
            self._closing.wait(pause)
            pause = min(pause * 2, RECONNECT_PAUSES[1])
        with self._lock:
            self._reads = False

    def _check_eviction(self) -> None:
        """Warn, once, of a Redis that drops keys: leases and claims would go with them.

        Raises:
            redis.RedisError: If Redis cannot be reached.
        """
        if self._has_checked:
            return
        try:
            policy = self._client.evicts()
        except self._client.refusal as exc:
            policy = None
            logger.info("whether Redis evicts keys cannot be seen: %s", exc)
        self._has_checked = True
        if policy is not None:
            logger.warning(
                "Redis at %s evicts keys (maxmemory-policy %s): leases and claims may go; set it to"
                " noeviction",
                self._client.place,
                policy,
            )

    def places(self) -> dict[str, Keys]:
        """Return the threads that somebody listens to."""
        with self._lock:
            return {place: each[0].keys for place, each in self._subscribers.items()}

    def take_dirty(self) -> set[str]:
        """Return the threads that somebody has begun to listen to."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            return dirty

    def catch_up(self, places: Iterable[str]) -> None:
        """Read the logs of threads, and tell their listeners."""
        waiting = collections.deque(places)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(len(waiting), redis_log.PAGE))]
            groups: dict[tuple[str, str], list[Subscriber]] = {}
            for place in batch:
                for subscriber in self._subscribers_of(place):
                    groups.setdefault((place, subscriber.cursor), []).append(subscriber)
            if not groups:
                continue
            reading = self._client.get().pipeline(transaction=False)
            for place, cursor in groups:
                begin = redis_log.beyond(cursor)
                reading.xrange(Keys(place).events, begin, "+", count=redis_log.PAGE)
            answers = reading.execute(raise_on_error=False)
            for (place, cursor), answer in zip(groups, answers, strict=True):
                if isinstance(answer, Exception):
                    self._leave_out(groups[place, cursor], answer)
                    continue
                found = redis_log.decode(answer)
                if not found:
                    continue
                page = Page.of(found, cursor)
                for subscriber in groups[place, cursor]:
                    subscriber.cursor = found[-1].cursor
                    subscriber.tell(functools.partial(_tell_page, page))
                if len(found) == redis_log.PAGE:
                    waiting.append(place)

    def _leave_out(self, subscribers: Iterable[Subscriber], error: Exception) -> None:
        """Go on without those that Redis refuses to answer: all others would be deaf with them.

        Raises:
            Exception: What it was, if it is no refusal of theirs.
        """
        if not isinstance(error, self._client.refusal):
            raise error
        for subscriber in subscribers:
            logger.warning(
                "events of %s after %r cannot be read: %s",
                subscriber.keys.place,
                subscriber.cursor,
                error,
            )
            subscriber.close()

    # What the owner is asked

    def rung(self, place: str, word: str) -> None:
        """Do what a word says that has rung for a thread."""
        if word == REQUESTS:
            self.answer_requests(place)
        elif word == OWNERLESS:
            self.tell_ownerless(place)

    def answer_requests(self, place: str) -> None:
        """Answer what this process is asked, on a thread of its own, if it holds the lease."""
        held = self.leases.held_at(place)
        if held is not None:
            Thread(lambda: self._answer(held), "gpt-agent-requests").start()

    def look_for_requests(self) -> None:
        """Answer what this process was asked, should the bell have been lost."""
        held = self.leases.held()
        looking = self._client.get().pipeline(transaction=False)
        for each in held:
            looking.exists(each.keys.requests)
        for each, asked in zip(held, looking.execute() if held else (), strict=True):
            if asked:
                self.answer_requests(each.keys.place)

    def _answer(self, held: Held) -> None:
        client, keys = self._client.get(), held.keys
        try:
            take = client.register_script(redis_scripts.TAKE)
            for text in take(keys=[keys.requests]):
                request = json.loads(text)
                for subscriber in self._subscribers_of(keys.place):
                    answer = dict(subscriber.listener.asked(request))
                    if answer:
                        kept = json.dumps(answer)
                        client.set(keys.answer(request["id"]), kept, px=60_000)
        except Exception as exc:
            # A client that is closed meanwhile raises what it likes; whoever asked is told in time.
            foreseen = isinstance(exc, self._client.errors) or self._closing.is_set()
            logger.warning(
                "a request to the owner of %s is not answered: %s",
                keys.place,
                exc,
                exc_info=not foreseen,
            )

    def close(self) -> None:
        """End the threads; the listeners hear nothing any more.

        What the bell's thread is about to send would open a connection again that nobody closes:
        it is waited for, but not for long.
        """
        self._closing.set()
        self.timer.close()
        with self._lock:
            self._subscribers.clear()
        self.leases.drop()
        self.wake()
        reader = self._reader
        if reader is not None and reader is not threading.current_thread():
            reader.join(CLOSE_PATIENCE)


def _tell_page(page: Page, listener: Listener) -> None:
    listener.heard(page)
