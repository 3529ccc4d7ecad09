"""The one connection by which a process hears where there is something new."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from gpt_agent_sync.backplane import redis_log
from gpt_agent_sync.backplane.redis_log import Keys

SWEEP = 5.0
"""Seconds between two looks at all logs: a bell may be lost with a connection."""

REQUESTS, OWNERLESS = "requests", "ownerless"
"""What rings the bell when the owner is asked something, and when it leaves in a turn's middle."""


class Rung(Protocol):
    """What a bell rings for; called on the thread that reads it."""

    def places(self) -> Mapping[str, Keys]:
        """Return the threads that somebody listens to."""

    def take_dirty(self) -> set[str]:
        """Return the threads that somebody has begun to listen to."""

    def catch_up(self, places: Iterable[str]) -> None:
        """Read the logs of threads, and tell their listeners."""

    def rung(self, place: str, word: str) -> None:
        """Do what a word says that has rung for a thread."""

    def look_for_requests(self) -> None:
        """Answer what this process was asked, should the bell have been lost."""

    def wake(self) -> None:
        """Have this bell rung."""


class Bell:
    """One connection that hears where there is something new; used by one thread.

    Args:
        hub: Whom to tell.
        pubsub: The connection.
        name: The channel that wakes it.
    """

    def __init__(self, hub: Rung, pubsub: Any, name: str) -> None:
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
        self._hub.wake()

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
                self._hub.rung(place, redis_log.text_of(message["data"]))
                dirty.add(place)
            elif place is not None:  # from now on it is heard: what came before is looked for
                self._hub.rung(place, REQUESTS)
                dirty.add(place)
            if len(dirty) >= redis_log.PAGE:
                break
            message = self._pubsub.get_message(timeout=0)
        return dirty
