"""The journal in a Redis, for the processes of several hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gpt_agent_sync.errors import JournalError
from gpt_agent_sync.journal import rules
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.journal.record_journal import Decide, RecordJournal
from gpt_agent_sync.journal.rules import Record
from gpt_agent_sync.redis_client import RedisClient, check_replicas, place_of

if TYPE_CHECKING:
    import redis

R = TypeVar("R", bound="Record | None")
T = TypeVar("T")

KEEP = 7 * 24 * 3600.0
"""Seconds for which a conversation's entries are kept after their last change."""

ATTEMPTS = 50
"""How often a record is read anew that others change at the same time."""

RESENDS = 2
"""How often a change is sent again whose answer was lost."""

# Reads one field of a hash, and the time of Redis.
# KEYS: the hash. ARGV: the field.
_READ = """
local time = redis.call('TIME')
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', time[1], time[2]}
"""

# Writes or deletes one field of a hash if it is as it was read, and says what is there otherwise.
# KEYS: the hash. ARGV: the field, what was read ("" for nothing), what to write ("" to delete),
# milliseconds to keep the hash.
_REPLACE = """
local found = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if found ~= ARGV[2] then return found end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return ARGV[3]
"""


class RedisJournal(RecordJournal):
    """A journal in a Redis that any processes of any hosts share.

    Leases go by the clock of Redis. What was done is as safe as what Redis keeps: with its default
    settings the last second may be lost in a crash of Redis, and what a replica had not got yet in
    a failover; a call that was begun then may be begun again. The Redis must not evict keys
    (``maxmemory-policy noeviction``).

    A method that raises ``JournalError`` after its answer was lost may have done what it was to do.

    Args:
        source: The URL of the Redis, or a client of the caller's, who closes it.
        prefix: What the keys begin with.
        keep: Seconds for which a conversation's entries are kept after their last change.
        replicas: How many replicas must have a change before it counts as made; where they do not
            in a second that is a ``JournalError``. Not with a cluster's client.

    Raises:
        ConfigurationError: If redis-py is not installed, or the source is unusable.
    """

    def __init__(
        self, source: Any, *, prefix: str = "gpt_agent", keep: float = KEEP, replicas: int = 0
    ) -> None:
        self._client = source if isinstance(source, RedisClient) else RedisClient(source)
        check_replicas(self._client, replicas)
        self._replicas = replicas
        self._closes = self._client is not source
        del source  # it may have a password in it
        self._prefix = prefix
        self._keep = int(keep * 1000)

    def _change(
        self, action: str, scope: Scope, kind: str, key: str, decide: Decide[R]
    ) -> tuple[R, bool]:
        return self._do(
            f"{action} {kind} {key!r}",
            lambda client: self._replace(client, self._hash(scope, kind), key, decide),
        )

    def _replace(
        self, client: redis.Redis, name: str, key: str, decide: Decide[R]
    ) -> tuple[R, bool]:
        field, resends = _field(key), RESENDS
        stored, *time = client.register_script(_READ)(keys=[name], args=[field])
        found, now = _as_bytes(stored), _seconds(time)
        for _ in range(ATTEMPTS):
            before = _record(found) if found else None
            after = decide(before, now)
            if after is None or after is before:
                return after, False
            written = _row(after, _number(found) or now)
            self._note_owner(client, name, key, before, after)
            try:
                answer = self._send(name, field, found, written)
            except self._client.errors:
                # It may have come through: then the same again changes nothing, and says so.
                resends -= 1
                if resends < 0:
                    raise
                answer = self._send(name, field, found, written)
            if answer == written:
                self._forget_owner(client, name, key, before, after)
                return after, True
            found = answer
        raise JournalError(repr(self), f"change {key!r}", "others change it all the time")

    def _send(self, name: str, field: bytes, found: bytes, written: bytes) -> bytes:
        args = [field, found, written, self._keep]
        return _as_bytes(self._client.run(_REPLACE, [name], args, replicas=self._replicas))

    def _note_owner(
        self, client: redis.Redis, name: str, key: str, before: Record | None, after: Record
    ) -> None:
        """List an entry among its owner's, before it is that: a renewal is to find it."""
        if after.owner is not None and (before is None or before.owner != after.owner):
            owned = self._owned(after.owner)
            listing = client.pipeline(transaction=False)
            listing.sadd(owned, _member(name, key))
            listing.pexpire(owned, self._keep)
            listing.execute()

    def _forget_owner(
        self, client: redis.Redis, name: str, key: str, before: Record | None, after: Record
    ) -> None:
        if before is not None and before.owner is not None and before.owner != after.owner:
            client.srem(self._owned(before.owner), _member(name, key))

    def _read(self, scope: Scope, kind: str, key: str) -> Record | None:
        stored = self._do(
            f"read {kind} {key!r}",
            lambda client: client.hget(self._hash(scope, kind), _field(key)),
        )
        return _record(_as_bytes(stored)) if stored else None

    def _list(self, scope: Scope, kind: str) -> Sequence[tuple[str, Record]]:
        found = self._do(
            f"list every {kind}", lambda client: client.hgetall(self._hash(scope, kind))
        )
        rows = sorted(
            ((_text(key), _as_bytes(row)) for key, row in found.items()),
            key=lambda pair: _number(pair[1]),
        )
        return [(key, _record(row)) for key, row in rows]

    def renew(self, owner: str, lease: float) -> None:
        """Have the leases of all that an owner still owns, in every scope, run from now."""

        def decide(record: Record | None, now: float) -> Record | None:
            if record is None:
                return None
            return rules.renewed(record, owner=owner, lease=lease, now=now)

        def renew(client: redis.Redis) -> None:
            for member in client.smembers(self._owned(owner)):
                name, key = json.loads(_as_bytes(member))
                self._replace(client, name, key, decide)

        self._do(f"renew the leases of {owner}", renew)

    def remove(self, scope: Scope, kind: str, prefix: str = "") -> None:
        """Drop the entries whose key begins with ``prefix``, whoever owns them."""
        name = self._hash(scope, kind)

        def remove(client: redis.Redis) -> None:
            keys = [key for key in client.hkeys(name) if _text(key).startswith(prefix)]
            if keys:
                client.hdel(name, *keys)

        self._do(f"remove every {kind} {prefix!r}...", remove)

    def purge(self, older_than: float) -> int:
        """Drop what was neither changed nor under a lease in the last so many seconds.

        Redis itself drops what nobody has changed for the time that this journal keeps entries.
        """

        def purge(client: redis.Redis) -> int:
            dropped = 0
            for name in client.scan_iter(match=f"{_escaped(self._prefix)}:*:journal:*", count=1000):
                _, *time = client.register_script(_READ)(keys=[name], args=[b""])
                before = _seconds(time) - older_than
                for field, row in client.hgetall(name).items():
                    row = _as_bytes(row)
                    if rules.outdated(_record(row), before=before):
                        script = client.register_script(_REPLACE)
                        gone = script(keys=[name], args=[field, row, b"", self._keep])
                        dropped += _as_bytes(gone) == b""
            return dropped

        return self._do("purge entries", purge)

    def close(self) -> None:
        """Close this process's connections, if they are the journal's own."""
        if self._closes:
            self._client.close()

    def __repr__(self) -> str:
        """Show where it is."""
        return f"RedisJournal({self._client.place!r}, prefix={self._prefix!r})"

    def _do(self, action: str, work: Callable[[redis.Redis], T]) -> T:
        try:
            return work(self._client.get())
        except self._client.errors as exc:
            raise JournalError(repr(self), action, f"{type(exc).__name__}: {exc}") from exc

    def _hash(self, scope: Scope, kind: str) -> str:
        place = place_of(self._prefix, scope.service, scope.thread_id)
        return f"{place}:journal:{_field(kind).hex()}"

    def _owned(self, owner: str) -> str:
        return f"{self._prefix}:owned:{_field(owner).hex()}"


# As JSON every text has its place, half a surrogate pair too, whatever a client decodes.
def _field(text: str) -> bytes:
    return json.dumps(text).encode()


def _text(stored: Any) -> str:
    return str(json.loads(stored))


def _as_bytes(stored: Any) -> bytes:
    """Return what a client has read, which may decode answers."""
    return stored.encode() if isinstance(stored, str) else stored or b""


def _seconds(time: Sequence[Any]) -> float:
    """Return a time of Redis as Unix time."""
    seconds, micros = time
    return int(seconds) + int(micros) / 1e6


def _escaped(prefix: str) -> str:
    """Return a prefix for a pattern of Redis."""
    return "".join(f"\\{each}" if each in "*?[]^\\" else each for each in prefix)


def _member(name: str, key: str) -> str:
    return json.dumps([name, key])


# A record as it is stored: the number keeps the order in which entries were created. The rows of
# two changes are never the same, as each has its own time.
def _row(record: Record, number: float) -> bytes:
    return json.dumps(
        [
            number,
            record.data,
            record.attempt,
            record.owner,
            record.lease_until,
            record.done,
            record.changed_at,
        ]
    ).encode()


def _number(row: bytes) -> float:
    return float(json.loads(row)[0]) if row else 0.0


def _record(row: bytes) -> Record:
    _, data, attempt, owner, lease_until, done, changed_at = json.loads(row)
    return Record(
        data=data,
        attempt=attempt,
        owner=owner,
        lease_until=lease_until,
        done=done,
        changed_at=changed_at,
    )
