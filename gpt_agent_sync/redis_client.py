"""The client of a Redis: with bounds on its time, and for one process alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.secret import Secret, conceal, redact

if TYPE_CHECKING:
    import redis

COMMAND_TIMEOUT = 2.0
"""Seconds for a command, and as many for a connection."""

HEALTH_CHECK_INTERVAL = 10.0
"""Seconds without a command after which a connection is tried before it is used: one that a router
has dropped takes what is sent, and answers nothing."""

REPLICA_TIMEOUT = 1.0
"""Seconds for replicas to have a change."""

MAX_CONNECTIONS = 8
"""Connections for commands of a process; threads that come at the same time wait for one."""


class RedisClient:
    """The client of one Redis: one that is passed, or one that each process opens for itself.

    redis-py itself repeats a command that has timed out, ten times in version 8, whatever it did: a
    client of ours repeats none, and whoever uses it knows which may be.

    Args:
        source: A URL (``redis://``, ``rediss://``, ``unix://``), or a ``redis.Redis`` or
            ``redis.RedisCluster`` of the caller's, who closes it.

    Raises:
        ConfigurationError: If redis-py is not installed, or the source is neither.
    """

    def __init__(self, source: Any) -> None:
        source = conceal(source)
        try:
            import redis
        except ImportError as exc:
            raise ConfigurationError(
                "Redis needs the extra 'redis': pip install 'gpt-agent-sync[redis]'"
            ) from exc
        self.errors = (redis.RedisError, OSError, redis.exceptions.RedisClusterException)
        """What its commands raise where Redis fails."""
        self.refusal: type[Exception] = redis.ResponseError
        """What Redis answers to a command that it does not take."""
        self._given = None if isinstance(source, Secret) else source
        if isinstance(source, Secret):
            self._process = PerProcess[Any](_opener(source))
        elif not isinstance(source, (redis.Redis, redis.RedisCluster)):
            raise ConfigurationError(
                f"a Redis is named by its URL, or is a redis.Redis or redis.RedisCluster client,"
                f" not {source!r}"
            )

    def get(self) -> redis.Redis:
        """Return the client of this process."""
        client: redis.Redis = self._process.get() if self._given is None else self._given
        return client

    def run(
        self, script: str, keys: Sequence[Any], args: Sequence[Any], *, replicas: int = 0
    ) -> Any:
        """Run a script.

        Args:
            script: The script.
            keys: Its keys.
            args: Its arguments.
            replicas: How many replicas are to have what it has changed.

        Raises:
            redis.RedisError: If Redis fails, or too few replicas have it in time; it stands there
                all the same then, and the error has what was answered as its ``answer``.
        """
        client: Any = self.get()
        registered = client.register_script(script)
        if not replicas:
            return registered(keys=keys, args=args)
        both = client.pipeline(transaction=False)
        registered(keys=keys, args=args, client=both)
        # On the same connection: it tells of what that has changed.
        both.execute_command("WAIT", replicas, int(REPLICA_TIMEOUT * 1000))
        answer, have = both.execute()
        if int(have) < replicas:
            error: Any = self.errors[0](f"{have} of {replicas} replicas have it")
            error.answer = answer
            raise error
        return answer

    def evicts(self) -> str | None:
        """Return the policy by which Redis drops keys when its memory is full; ``None`` for none.

        Raises:
            redis.RedisError: If it cannot be asked.
        """
        told: dict[str, Any] = self.get().info("memory")
        # A cluster's client tells of each of its servers.
        servers = [each for each in told.values() if isinstance(each, dict)] or [told]
        policies = {str(each.get("maxmemory_policy", "noeviction")) for each in servers}
        return ", ".join(sorted(policies - {"noeviction"})) or None

    def pubsub(self) -> Any:
        """Return a connection that hears channels; it is used by one thread, and closed by it."""
        client: Any = self.get()
        return client.pubsub()

    def close(self) -> None:
        """Close this process's connections, unless the client was passed; they open by use."""
        if self._given is None:
            self._process.get().connection_pool.disconnect()

    @property
    def is_cluster(self) -> bool:
        """Whether the client that was passed is a cluster's."""
        return self._given is not None and not hasattr(self._given, "connection_pool")

    @property
    def place(self) -> str:
        """Where the Redis is, without its password."""
        client: Any = self.get()
        if not hasattr(client, "connection_pool"):
            return f"{client.get_default_node().name} and its cluster"
        known = client.connection_pool.connection_kwargs
        where = known.get("path") or f"{known.get('host')}:{known.get('port')}"
        return f"{where}/{known.get('db') or 0}"


def check_replicas(client: RedisClient, replicas: object) -> None:
    """Check how many replicas a program wants to have a change.

    Raises:
        ConfigurationError: If it is no such number, or the client is a cluster's.
    """
    if isinstance(replicas, bool) or not isinstance(replicas, int) or replicas < 0:
        raise ConfigurationError(f"replicas must be a whole number of 0 or more, not {replicas!r}")
    if replicas and client.is_cluster:
        raise ConfigurationError("replicas cannot be waited for with a cluster's client")


def _opener(url: Secret) -> Callable[[Sequence[Any]], Any]:
    """Return what opens a process's client.

    Raises:
        ConfigurationError: If the URL is none of a Redis.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    def open_client(inherited: Sequence[Any]) -> redis.Redis:
        # What was inherited is the parent's: its sockets are closed with its objects.
        pool = redis.BlockingConnectionPool.from_url(
            url.reveal(),
            max_connections=MAX_CONNECTIONS,
            timeout=COMMAND_TIMEOUT,
            socket_timeout=COMMAND_TIMEOUT,
            socket_connect_timeout=COMMAND_TIMEOUT,
            socket_keepalive=True,
            health_check_interval=HEALTH_CHECK_INTERVAL,
            retry=Retry(NoBackoff(), 0),
        )
        return redis.Redis(connection_pool=pool)

    try:
        open_client(())
    except ValueError as exc:
        raise ConfigurationError(f"unusable URL of a Redis: {redact(str(exc))}") from None
    return open_client


def place_of(prefix: str, service: str, thread_id: str) -> str:
    """Return what the keys of a conversation begin with; in a cluster all are in one slot.

    A digest stands for the conversation: ids are anybody's words, and may have braces in them,
    which a cluster reads.
    """
    named = f"{len(service)}:{service}{thread_id}".encode("utf-8", "surrogatepass")
    return f"{prefix}:{{{hashlib.sha256(named).hexdigest()[:32]}}}"
