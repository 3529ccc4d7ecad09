"""The backplane in a Redis, for the processes of a whole deployment."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from gpt_agent_sync import waits
from gpt_agent_sync.backplane import redis_log, redis_scripts
from gpt_agent_sync.backplane.base import Backplane, Lease, LeaseLostError, Listener
from gpt_agent_sync.backplane.redis_hub import Hub, Subscriber
from gpt_agent_sync.backplane.redis_log import Keys
from gpt_agent_sync.errors import BackplaneError, ConfigurationError
from gpt_agent_sync.event_log import Page, cursor_of
from gpt_agent_sync.events import Event
from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.redis import RedisJournal
from gpt_agent_sync.redis_client import RedisClient, check_replicas, place_of

if TYPE_CHECKING:
    import redis

T = TypeVar("T")

LEASE = 15.0
SHORTEST_LEASE = 2.0

ANSWER_PAUSES = 0.01, 0.25
"""Seconds between two looks for an owner's answer, at first and at most."""


@attrs.define
class _Own:
    """What one process has; another hub takes the place of one that was closed."""

    hub: Hub


class RedisBackplane(Backplane):
    """A backplane that any processes of any hosts share through one Redis.

    A process has two threads for it, one connection that hears, however many threads it listens to,
    and as many for commands as were needed at once, eight at most. Redis must be 6.2 or newer
    (or Valkey), and not evict keys (``maxmemory-policy noeviction``). What is guaranteed is as good
    as what Redis keeps: a failover may lose the newest lease.

    Args:
        source: The URL of the Redis, or a client of the caller's, who closes it; its timeouts are
            the caller's, too.
        prefix: What the keys begin with.
        lease: Seconds after which others take over from a process that fell silent.
        keep: How many entries of a thread's log are kept at least; a day at most.
        replicas: How many replicas must have a lease, and the claim of a call, before anything is
            done by it, so that a failover loses none; where they do not in a second, no turn is
            begun. Not with a cluster's client.

    Raises:
        ConfigurationError: If redis-py is not installed, or an argument is unusable.
    """

    def __init__(
        self,
        source: Any,
        *,
        prefix: str = "gpt_agent",
        lease: float = LEASE,
        keep: int = 1000,
        replicas: int = 0,
    ) -> None:
        client = RedisClient(source)
        del source  # it may have a password in it
        if isinstance(lease, bool) or not isinstance(lease, (int, float)) or lease < SHORTEST_LEASE:
            raise ConfigurationError(
                f"lease must be {SHORTEST_LEASE:g} seconds or more, not {lease!r}"
            )
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ConfigurationError(f"keep must be a whole number of 1 or more, not {keep!r}")
        check_replicas(client, replicas)
        self._client = client
        self._replicas = replicas
        self._prefix, self._lease, self._keep = prefix, float(lease), keep
        self._journal = RedisJournal(client, prefix=prefix, replicas=replicas)
        self._process = PerProcess[_Own](lambda inherited: _Own(Hub(client, float(lease))))

    @property
    def journal(self) -> RedisJournal:
        """The journal in the same Redis."""
        return self._journal

    @property
    def _hub(self) -> Hub:
        return self._process.get().hub

    def _keys(self, scope: Scope) -> Keys:
        return Keys(place_of(self._prefix, scope.service, scope.thread_id))

    def acquire(self, scope: Scope, owner: str) -> Lease | None:
        """Take the lease of a thread if nobody holds it, and append the mark ``"begun"``."""
        keys, token = self._keys(scope), uuid.uuid4().hex
        answers: list[Any] = []

        def acquire(client: redis.Redis) -> Lease | None:
            began = time.monotonic()
            try:
                answer = self._client.run(
                    redis_scripts.ACQUIRE,
                    [keys.lease, keys.fence, keys.events],
                    [token, self._ms, redis_log.KEEP_MS, self._keep, keys.bell, owner],
                    replicas=self._replicas,
                )
            except self._client.errors as exc:
                answers.append(getattr(exc, "answer", None))
                raise
            taken, fence, before, follows = answer
            if not taken:
                return None
            until, number = began + self._lease - 1.0, int(fence)
            return Lease(
                scope,
                number,
                token,
                until,
                newest=cursor_of(number, 0),
                before=before if isinstance(before, str) else before.decode(),
                follows_turn=bool(follows),
            )

        try:
            lease = self._do("take the lease", acquire, again=True)
        except BackplaneError:
            if self._replicas:
                # The first answer says whether it follows a turn; a later one does not know.
                follows_turn = not answers or answers[0] is None or bool(answers[0][3])
                self._give_up(keys, token, settled=not follows_turn)
            raise
        if lease is not None:
            self._hub.leases.hold(keys, lease)
        return lease

    def _give_up(self, keys: Keys, token: str, *, settled: bool) -> None:
        """Release a lease that was taken, and that too few replicas have; nothing if it is not.

        A turn that it follows is still to be taken over.
        """

        def give_up(client: redis.Redis) -> None:
            held = redis_log.text_of(client.get(keys.lease) or "")
            fence, _, holder = held.partition(":")
            if holder == token:
                taken = Lease(Scope(service="", thread_id=""), int(fence), token, 0.0)
                taken.newest = cursor_of(taken.fence, 0)
                self._release(client, keys, taken, settled=settled)

        with contextlib.suppress(BackplaneError):
            self._do("release the lease", give_up)

    @property
    def _ms(self) -> int:
        return int(self._lease * 1000)

    def confirm(self, lease: Lease) -> bool:
        """Return whether a lease is still held; where its time is up, by asking."""
        hub, keys = self._hub, self._keys(lease.scope)
        if not hub.leases.holds(keys, lease):
            return False
        if time.monotonic() < lease.until:
            return True
        kept = self._do("renew the lease", lambda _: hub.leases.renew(keys, lease), again=True)
        if not kept:
            hub.leases.let_go(keys, lease)
        return kept

    def release(self, lease: Lease, *, settled: bool = True) -> None:
        """Append the mark ``"settled"`` and let others have the lease; nothing if it is lost."""
        keys = self._keys(lease.scope)
        self._hub.leases.let_go(keys, lease)
        self._do(
            "release the lease",
            lambda client: self._release(client, keys, lease, settled=settled),
            again=True,
        )

    def _release(self, client: redis.Redis, keys: Keys, lease: Lease, *, settled: bool) -> None:
        client.register_script(redis_scripts.RELEASE)(
            keys=[keys.lease, keys.events],
            args=[
                f"{lease.fence}:{lease.token}",
                redis_log.mark_place(lease) if settled else "",
                lease.newest,
                self._keep,
                redis_log.KEEP_MS,
                keys.bell,
            ],
        )

    def forget(self, lease: Lease) -> None:
        """Renew a lease no longer: another has it."""
        self._hub.leases.let_go(self._keys(lease.scope), lease)

    def append(self, lease: Lease, events: tuple[Event, ...], key: str | None = None) -> None:
        """Append events with cursors of the lease; what is there already is not doubled."""
        keys = self._keys(lease.scope)
        self._do(
            "append events",
            lambda client: redis_log.append(
                client, self._client.refusal, keys, lease, events, key, self._keep
            ),
            again=True,
        )

    def read(self, scope: Scope, after: str) -> Page:
        """Return what is kept of a thread's log after a cursor."""
        keys = self._keys(scope)
        return self._do("read events", lambda client: redis_log.read(client, keys, after))

    def newest(self, scope: Scope) -> str:
        """Return the newest cursor of a thread's log."""
        keys = self._keys(scope)
        return self._do("read events", lambda client: redis_log.newest(client, keys))

    def is_held(self, scope: Scope) -> bool:
        """Return whether anybody holds a thread's lease."""
        keys = self._keys(scope)
        return bool(self._do("look at the lease", lambda client: client.exists(keys.lease)))

    def listen(self, scope: Scope, after: str, listener: Listener) -> Subscriber:
        """Have a listener told of all that comes after a cursor, at once and from now on."""
        return self._hub.add(self._keys(scope), after, listener)

    def watch(self, scope: Scope, *, now: bool = False) -> None:
        """Tell the listeners in this process, once, when a lease has run out; idempotent."""
        self._hub.leases.watch(self._keys(scope), now=now)

    def ask_owner(
        self, scope: Scope, request: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        """Return what the listener of the process that holds the lease answers."""
        keys, request_id = self._keys(scope), uuid.uuid4().hex
        text = json.dumps({**request, "id": request_id})

        self._do(
            "ask the owner",
            lambda client: client.register_script(redis_scripts.ASK)(
                keys=[keys.requests], args=[text, int(timeout * 1000) + 1000, keys.bell]
            ),
        )
        until, pause, never = time.monotonic() + timeout, ANSWER_PAUSES[0], threading.Event()
        while time.monotonic() < until:
            found = self._do(
                "read the owner's answer",
                lambda client: client.getdel(keys.answer(request_id)),
                again=True,
            )
            if found is not None:
                answer: Mapping[str, Any] = json.loads(found)
                return answer
            waits.wait(never.wait, pause)
            pause = min(pause * 1.5, ANSWER_PAUSES[1])
        raise BackplaneError(repr(self), "ask the owner", f"no answer within {timeout:g} s")

    def call_in(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something called on the timer's thread; it is not to block for long."""
        self._hub.timer.call_in(seconds, call)

    def close(self) -> None:
        """Let go of connections and threads of this process; the next call opens them again."""
        own = self._process.get()
        hub, own.hub = own.hub, Hub(self._client, self._lease)
        hub.close()
        self._client.close()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"RedisBackplane({self._client.place!r}, prefix={self._prefix!r})"

    def _do(self, action: str, work: Callable[[redis.Redis], T], *, again: bool = False) -> T:
        """Do something at Redis, once more where that does no harm.

        Raises:
            BackplaneError: If Redis fails.
        """
        try:
            try:
                return work(self._client.get())
            except self._client.errors:
                if not again:
                    raise
                return work(self._client.get())
        except LeaseLostError:
            raise
        except self._client.errors as exc:
            raise BackplaneError(repr(self), action, f"{type(exc).__name__}: {exc}") from exc
