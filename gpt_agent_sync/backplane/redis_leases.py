"""The leases that one process holds and renews, and those of others that it waits for."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

import attrs

from gpt_agent_sync.backplane import redis_log, redis_scripts
from gpt_agent_sync.backplane.base import Lease
from gpt_agent_sync.backplane.redis_log import Keys
from gpt_agent_sync.backplane.timer import Timer
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.redis_client import RedisClient

logger = get_logger(__name__)

JITTER = 0.05
"""Seconds over which processes spread that see a lease run out."""


@attrs.define(eq=False)
class Held:
    """A lease that this process renews.

    Attributes:
        keys: The keys of its thread.
        lease: The lease.
    """

    keys: Keys
    lease: Lease


class Leases:
    """One process's leases; safe to share.

    Args:
        client: The client.
        lease: Seconds that a lease lasts.
        timer: What renews them, and looks at those of others.
        tell_lost: Called when one is another's by now, with the thread's place and the lease.
        tell_ownerless: Called when that of another has run out, with the thread's place.
    """

    def __init__(
        self,
        client: RedisClient,
        lease: float,
        timer: Timer,
        tell_lost: Callable[[str, Lease], None],
        tell_ownerless: Callable[[str], None],
    ) -> None:
        self._client = client
        self._lease = lease
        self._timer = timer
        self._tell_lost = tell_lost
        self._tell_ownerless = tell_ownerless
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._watched: set[str] = set()
        self._troubled = False

    def hold(self, keys: Keys, lease: Lease) -> None:
        """Renew a lease from now on."""
        with self._lock:
            self._held[keys.place] = Held(keys, lease)
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
        self._timer.call_in(self._lease / 3, lambda: self._renew(keys, lease))

    def _renew(self, keys: Keys, lease: Lease) -> None:
        if not self.holds(keys, lease):
            return
        try:
            if not self.renew(keys, lease):
                self.let_go(keys, lease)
                self._tell_lost(keys.place, lease)
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

    # The leases of others

    def watch(self, keys: Keys, *, now: bool = False) -> None:
        """Tell the thread's listeners when its lease has run out, once."""
        with self._lock:
            if keys.place in self._watched and not now:
                return
            self._watched.add(keys.place)
        self._timer.call_in(0.0 if now else self._lease, lambda: self._look(keys))

    def _look(self, keys: Keys) -> None:
        try:
            left = self._client.get().pttl(keys.lease)
        except self._client.errors as exc:
            logger.info("cannot see the lease of %s: %s", keys.place, exc)
            left = 1000
        if left > 0:  # it was renewed
            pause = left / 1000 + random.uniform(0.0, JITTER)
            self._timer.call_in(pause, lambda: self._look(keys))
            return
        with self._lock:
            self._watched.discard(keys.place)
        self._tell_ownerless(keys.place)

    # All of them

    def held(self) -> Sequence[Held]:
        """Return those that are renewed."""
        with self._lock:
            return list(self._held.values())

    def held_at(self, place: str) -> Held | None:
        """Return that of a thread, if it is renewed."""
        with self._lock:
            return self._held.get(place)

    def drop(self) -> None:
        """Renew none any longer."""
        with self._lock:
            self._held.clear()
