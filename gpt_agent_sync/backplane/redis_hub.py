"""What one process has of a Redis backplane: its leases, who listens, and the bell."""

from __future__ import annotations

import collections
import functools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from gpt_agent_sync.backplane import redis_log, redis_scripts
from gpt_agent_sync.backplane.base import Lease, Listener
from gpt_agent_sync.backplane.redis_log import Keys
from gpt_agent_sync.backplane.timer import Timer
from gpt_agent_sync.event_log import Page
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.redis_client import RedisClient
from gpt_agent_sync.threads import Thread

logger = get_logger(__name__)

SWEEP = 5.0
"""Seconds between two looks at all logs: a bell may be lost with a connection."""

RECONNECT_PAUSES = 0.2, 5.0
"""Seconds before the bell is connected anew, at first and at most."""

REQUESTS, OWNERLESS = "requests", "ownerless"
"""What rings the bell when the owner is asked something, and when it leaves in a turn's middle."""

JITTER = 0.05
"""Seconds over which processes spread that see a lease run out."""


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


@attrs.define(eq=False)
class _Held:
    """A lease that this process renews."""

    keys: Keys
    lease: Lease


class Hub:
    """One process's part of a backplane; safe to share.

    The bell is one connection with one thread that reads it, for all threads that anybody listens
    to: it says where to look, and the log is what counts. One timer renews leases and looks after
    those of others.

    Args:
        client: The client.
        lease: Seconds that a lease lasts.
    """

    def __init__(self, client: RedisClient, lease: float) -> None:
        self._client = client
        self._lease = lease
        self._lock = threading.Lock()
        self._subscribers: dict[str, list[Subscriber]] = {}
        self._held: dict[str, _Held] = {}
        self._watched: set[str] = set()
        self._dirty: set[str] = set()
        self._name = f"gpt_agent:bell:{uuid.uuid4().hex}"
        self._reads = False
        self._troubled = False
        self._has_checked = False
        self._closing = threading.Event()
        self.timer = Timer("gpt-agent-backplane")

    # Leases

    def hold(self, keys: Keys, lease: Lease) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held[keys.place] = _Held(keys, lease)
        self._renew_later(keys, lease)

    def let_go(self, keys: Keys, lease: Lease) -> None:
        """Renew a lease no longer."""
        with self._lock:
            held = self._held.get(keys.place)
            if held is not None and held.lease is lease:
                del self._held[keys.place]

    def holds(self, keys: Keys, lease: Lease) -> bool:
        """Return whether a lease is renewed."""
        with self._lock:
            held = self._held.get(keys.place)
        return held is not None and held.lease is lease

    def _renew_later(self, keys: Keys, lease: Lease) -> None:
        self.timer.call_in(self._lease / 3, lambda: self._renew(keys, lease))

    def _renew(self, keys: Keys, lease: Lease) -> None:
        if not self.holds(keys, lease):
            return
        try:
            if not self.renew(keys, lease):
                self._tell_lost(keys, lease)
                return
            self._troubled = False
        except self._client.errors as exc:
            level = logger.debug if self._troubled else logger.warning
            level("leases are not renewed: %s", exc)
            self._troubled = True
        self._renew_later(keys, lease)

    def renew(self, keys: Keys, lease: Lease) -> bool:
        """Renew a lease now; return whether it is still held."""
        began = time.monotonic()
        script = self._client.get().register_script(redis_scripts.RENEW)
        value = f"{lease.fence}:{lease.token}"
        kept = script(
            keys=[keys.lease, keys.fence],
            args=[value, int(self._lease * 1000), lease.fence, redis_log.KEEP_MS],
        )
        if kept:
            lease.until = began + self._lease - 1.0
        return bool(kept)

    def _tell_lost(self, keys: Keys, lease: Lease) -> None:
        self.let_go(keys, lease)
        for subscriber in self._subscribers_of(keys.place):
            subscriber.tell(lambda listener: listener.lost(lease))

    def tell_ownerless(self, place: str) -> None:
        """Tell the listeners of a thread that nobody holds its lease any more."""
        for subscriber in self._subscribers_of(place):
            subscriber.tell(lambda listener: listener.ownerless())

    # The leases of others

    def watch(self, keys: Keys, *, now: bool = False) -> None:
        """Tell the thread's listeners when its lease has run out, once."""
        with self._lock:
            if keys.place in self._watched and not now:
                return
            self._watched.add(keys.place)
        self.timer.call_in(0.0 if now else self._lease, lambda: self._look(keys))

    def _look(self, keys: Keys) -> None:
        try:
            left = self._client.get().pttl(keys.lease)
        except self._client.errors as exc:
            logger.info("cannot see the lease of %s: %s", keys.place, exc)
            left = 1000
        if left > 0:  # it was renewed
            pause = left / 1000 + random.uniform(0.0, JITTER)
            self.timer.call_in(pause, lambda: self._look(keys))
            return
        with self._lock:
            self._watched.discard(keys.place)
        self.tell_ownerless(keys.place)

    # Who listens

    def add(self, keys: Keys, cursor: str, listener: Listener) -> Subscriber:
        """Tell a listener of all that comes after a cursor."""
        subscriber = Subscriber(keys, cursor, listener, self)
        with self._lock:
            self._subscribers.setdefault(keys.place, []).append(subscriber)
            self._dirty.add(keys.place)
            starts, self._reads = not self._reads, True
        if not starts:
            self._wake()
            return subscriber
        try:
            Thread(self._read, "gpt-agent-bell").start()
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
        self._wake()

    def _subscribers_of(self, place: str) -> list[Subscriber]:
        with self._lock:
            return list(self._subscribers.get(place, ()))

    def _wake(self) -> None:
        # A subscription is changed by the thread that reads it, and no other: so it is woken.
        try:
            self._client.get().publish(self._name, "wake")
        except self._client.errors as exc:
            logger.debug("the bell is not woken, and will look by itself: %s", exc)

    # The bell

    def _read(self) -> None:
        pause, troubled = RECONNECT_PAUSES[0], False
        while not self._closing.is_set():
            try:
                self._check_eviction()
                with self._client.pubsub() as pubsub:
                    _Bell(self, pubsub, self._name).listen(lambda: self._closing.is_set())
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

    def answer_requests(self, place: str) -> None:
        """Answer what this process is asked, on a thread of its own, if it holds the lease."""
        with self._lock:
            held = self._held.get(place)
        if held is not None:
            Thread(lambda: self._answer(held), "gpt-agent-requests").start()

    def look_for_requests(self) -> None:
        """Answer what this process was asked, should the bell have been lost."""
        with self._lock:
            held = list(self._held.values())
        looking = self._client.get().pipeline(transaction=False)
        for each in held:
            looking.exists(each.keys.requests)
        for each, asked in zip(held, looking.execute() if held else (), strict=True):
            if asked:
                self.answer_requests(each.keys.place)

    def _answer(self, held: _Held) -> None:
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
        """End the threads; the listeners hear nothing any more."""
        self._closing.set()
        self.timer.close()
        with self._lock:
            self._subscribers.clear()
            self._held.clear()
        self._wake()


def _tell_page(page: Page, listener: Listener) -> None:
    listener.heard(page)


_BY_WORD: dict[str, Callable[[Hub, str], None]] = {
    REQUESTS: Hub.answer_requests,
    OWNERLESS: Hub.tell_ownerless,
}


class _Bell:
    """One connection that hears where there is something new; used by one thread.

    Args:
        hub: Whom to tell.
        pubsub: The connection.
        name: The channel that wakes it.
    """

    def __init__(self, hub: Hub, pubsub: Any, name: str) -> None:
        self._hub = hub
        self._pubsub = pubsub
        self._name = name
        self._channels: dict[str, str] = {}
        self._woken_at = time.monotonic()

    def listen(self, ended: Callable[[], bool]) -> None:
        """Hear, until nobody listens any more.

        Raises:
            redis.RedisError: If the connection is lost.
        """
        self._pubsub.subscribe(self._name)
        swept_at = 0.0
        while not ended():
            places = self._hub.places()
            if not places:
                return
            self._subscribe(places)
            now, dirty = time.monotonic(), set[str]()
            if now - swept_at >= SWEEP:
                swept_at, dirty = now, set(places)
                self._check_line(now)
                self._hub.look_for_requests()
            dirty |= self._hub.take_dirty()
            dirty |= self._ring(0.0 if dirty else swept_at + SWEEP - now)
            self._hub.catch_up(place for place in dirty if place in places)

    def _check_line(self, now: float) -> None:
        """Have the own bell rung: a line that was cut in silence does not ring."""
        if now - self._woken_at > 3 * SWEEP:
            raise ConnectionError("the bell has been silent for too long")
        self._hub._wake()

    def _subscribe(self, places: Mapping[str, Keys]) -> None:
        """Subscribe to the threads that are new, and no longer to those that are gone."""
        wanted = {keys.bell: place for place, keys in places.items()}
        new = [bell for bell in wanted if bell not in self._channels]
        old = [bell for bell in self._channels if bell not in wanted]
        if new:
            self._pubsub.subscribe(*new)
        if old:
            self._pubsub.unsubscribe(*old)
        self._channels = wanted

    def _ring(self, seconds: float) -> set[str]:
        """Wait for the bell, and return the threads that it rang for."""
        dirty: set[str] = set()
        message = self._pubsub.get_message(timeout=max(0.0, seconds))
        while message is not None:
            channel = redis_log.text_of(message["channel"])
            place = self._channels.get(channel)
            if channel == self._name:
                self._woken_at = time.monotonic()
            if place is not None and message["type"] == "message":
                act = _BY_WORD.get(redis_log.text_of(message["data"]))
                if act is not None:
                    act(self._hub, place)
                dirty.add(place)
            elif place is not None:  # from now on it is heard: what came before is looked for
                self._hub.answer_requests(place)
                dirty.add(place)
            if len(dirty) >= redis_log.PAGE:
                break
            message = self._pubsub.get_message(timeout=0)
        return dirty
