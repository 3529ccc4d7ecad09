"""The process-wide defaults as one frozen value, and how they are read and checked."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, runtime_checkable

import attrs

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.secret import Secret, conceal

ENVIRONMENT_PREFIX = "GPT_AGENT_"

SERVICE_NAMES = ("responses", "assistants", "local")


@runtime_checkable
class AnyService(Protocol):
    """Anything that may be configured as a service; ``gpt_agent_sync.Service`` is the contract.

    The settings are values that every module may import, so they import no service.
    """

    @property
    def name(self) -> str:
        """The name that chooses it in settings."""

    @property
    def identity(self) -> Hashable:
        """What makes two services the same."""


@runtime_checkable
class AnyJournal(Protocol):
    """Anything that may be configured as a journal; ``gpt_agent_sync.Journal`` is the contract.

    As with services, the settings import none.
    """

    def claim(
        self,
        scope: Any,
        kind: str,
        key: str,
        *,
        owner: str,
        lease: float,
        data: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take an entry to work on it, if it is free."""

    def renew(self, owner: str, lease: float) -> None:
        """Have the leases of all that an owner still owns run from now."""


@runtime_checkable
class AnyBackplane(Protocol):
    """Anything that may be a backplane; ``gpt_agent_sync.Backplane`` is the contract.

    As with services, the settings import none.
    """

    def acquire(self, scope: Any) -> Any:
        """Take the lease of a thread if nobody holds it."""

    def confirm(self, lease: Any) -> bool:
        """Return whether a lease is still held."""


def unknown_service(value: object) -> ConfigurationError:
    """Return the error for what is neither a service nor the name of one."""
    names = ", ".join(map(repr, SERVICE_NAMES))
    return ConfigurationError(f"no service {value!r}: pass a Service object, or one of {names}")


def check_service(value: object) -> None:
    """Check what is configured as a service.

    Raises:
        ConfigurationError: If it is neither a service, the name of one, nor ``None``.
    """
    # A class has what its instances have, to a protocol, and was passed by mistake.
    is_service = isinstance(value, AnyService) and not isinstance(value, type)
    if value is not None and not is_service and value not in SERVICE_NAMES:
        raise unknown_service(value)


def _refuse(name: str, value: object, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"setting {name} must be {wanted}, not {value!r}")


def _seconds(*, above_zero: bool = False, optional: bool = False) -> Any:
    wanted = "a number of seconds " + ("above 0" if above_zero else "of 0 or more")
    wanted += ", or None" if optional else ""

    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if optional and value is None:
            return
        # True would pass as one second.
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _refuse(field.name, value, wanted)
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            raise _refuse(field.name, value, wanted)

    return check


def _count(low: int) -> Any:
    def check(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise _refuse(field.name, value, f"a whole number of {low} or more")

    return check


def _flag(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _refuse(field.name, value, "True or False")


def _journal(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    is_path = isinstance(value, os.PathLike) or (isinstance(value, str) and bool(value.strip()))
    is_journal = isinstance(value, AnyJournal) and not isinstance(value, type)
    if value is not None and not is_path and not is_journal:
        raise _refuse(field.name, value, "a Journal object, the path of a file, or None")


def _backplane(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    is_url = isinstance(value, Secret)
    is_backplane = isinstance(value, AnyBackplane) and not isinstance(value, type)
    if value is not None and not is_url and not is_backplane:
        raise _refuse(field.name, value, "a Backplane object, the URL of a Redis, or None")


@attrs.frozen(kw_only=True)
class Settings:
    """The process defaults; times are seconds.

    ``configure()`` changes them, and each but objects may come from the environment as
    ``GPT_AGENT_<NAME>``. An agent keeps the settings it was made under; the bounds
    of requests and ``tool_workers`` belong to the process and change at once.

    Attributes:
        service: The service used where none is passed: an object, or one of the names
            ``"responses"``, ``"assistants"``, ``"local"``; ``None`` chooses by the environment.
        heartbeat_interval: The longest pause between two polls of a run that is not streamed.
        streaming: Whether runs are followed by a stream where the service has one; where there is
            none, or it is lost, they are polled.
        idle_timeout: How long an agent without a run lives; ``None`` for ever.
        connect_timeout: How long opening a connection may take.
        read_timeout: How long a service may be silent within a request.
        request_timeout: How long a request may take altogether, however its answer trickles in; of
            a stream, up to the event that opens it. Where a longer silence is allowed that counts.
        max_answer_bytes: How large an answer may be, unpacked. A larger one is a ``ProtocolError``.
        http_retries: How often a request is repeated where that is safe.
        rate_limit_retries: How often a run that met a rate limit is started again.
        rate_limit_delay: The pause before that, where the service names none.
        tool_workers: How many handlers run at once, over all agents. Calls that have waited for
            10 s go past handlers that have run for as long; at most as many again run then.
        tool_timeout: How long a handler may take; ``None`` for ever. Its thread goes on, and what
            it returns is dropped.
        journal: What keeps tool calls and waiting messages over a crash: a ``Journal`` object, or
            the path of a file, which a ``SqliteJournal`` keeps; ``None`` keeps them in memory.
        backplane: What processes share that have agents of the same threads: a ``Backplane``
            object, or the URL of a Redis; ``None`` where there is one process. It is kept as a
            secret, as the URL may have a password.
        watch: How often an agent without a run looks for runs of other callers, while somebody
            hears its events, to tell how they ended and their messages; ``None`` for never. Over a
            shared backplane others tell themselves.
        run_timeout: How long a run may take; ``None`` for as long as the service lets it. One that
            takes longer is cancelled and told as ``RunFailed`` with the code ``"run_timeout"``.
    """

    service: AnyService | str | None = None
    heartbeat_interval: float = attrs.field(default=1.0, validator=_seconds(above_zero=True))
    streaming: bool = attrs.field(default=True, validator=_flag)
    idle_timeout: float | None = attrs.field(
        default=120.0, validator=_seconds(above_zero=True, optional=True)
    )
    connect_timeout: float = attrs.field(default=5.0, validator=_seconds(above_zero=True))
    read_timeout: float = attrs.field(default=30.0, validator=_seconds(above_zero=True))
    request_timeout: float = attrs.field(default=120.0, validator=_seconds(above_zero=True))
    max_answer_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=_count(1))
    http_retries: int = attrs.field(default=4, validator=_count(0))
    rate_limit_retries: int = attrs.field(default=10, validator=_count(0))
    rate_limit_delay: float = attrs.field(default=30.0, validator=_seconds())
    tool_workers: int = attrs.field(default=16, validator=_count(1))
    tool_timeout: float | None = attrs.field(
        default=None, validator=_seconds(above_zero=True, optional=True)
    )
    journal: AnyJournal | str | os.PathLike[str] | None = attrs.field(
        default=None, validator=_journal
    )
    backplane: AnyBackplane | Secret | None = attrs.field(
        default=None, converter=conceal, validator=_backplane
    )
    watch: float | None = attrs.field(
        default=None, validator=_seconds(above_zero=True, optional=True)
    )
    run_timeout: float | None = attrs.field(
        default=900.0, validator=_seconds(above_zero=True, optional=True)
    )


SETTING_NAMES = tuple(field.name for field in attrs.fields(Settings))


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return the settings with some of them changed.

    Raises:
        ConfigurationError: If a name is unknown or a value unusable.
    """
    for name in changes:
        if name not in SETTING_NAMES:
            close = difflib.get_close_matches(name, SETTING_NAMES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigurationError(
                f"no setting {name!r}{hint} (there are: {', '.join(SETTING_NAMES)})"
            )
    return attrs.evolve(settings, **changes)


def from_environment(environ: Mapping[str, str]) -> Settings:
    """Return the defaults, with the values of ``GPT_AGENT_<NAME>`` variables.

    Args:
        environ: The environment, such as ``os.environ``.

    Raises:
        ConfigurationError: If a variable cannot be read; it names the variable.
    """
    changes = {}
    for name, read in _READERS.items():
        text = environ.get(ENVIRONMENT_PREFIX + name.upper(), "").strip()
        if text:
            try:
                changes[name] = read(text)
                # One by one, so that the error can name the variable.
                with_changes(Settings(), {name: changes[name]})
            except (ValueError, ConfigurationError) as exc:
                raise ConfigurationError(
                    f"{ENVIRONMENT_PREFIX}{name.upper()}={text!r}: {exc}"
                ) from exc
    return with_changes(Settings(), changes)


def _read_flag(text: str) -> bool:
    flags = {"1": True, "true": True, "yes": True, "on": True}
    flags |= {"0": False, "false": False, "no": False, "off": False}
    try:
        return flags[text.lower()]
    except KeyError:
        raise ValueError("say true or false") from None


def _read_optional_seconds(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


_READERS: dict[str, Callable[[str], Any]] = {
    "service": str,
    "heartbeat_interval": float,
    "streaming": _read_flag,
    "idle_timeout": _read_optional_seconds,
    "connect_timeout": float,
    "read_timeout": float,
    "request_timeout": float,
    "max_answer_bytes": int,
    "http_retries": int,
    "rate_limit_retries": int,
    "rate_limit_delay": float,
    "tool_workers": int,
    "tool_timeout": _read_optional_seconds,
    "journal": str,
    "backplane": str,
    "watch": _read_optional_seconds,
    "run_timeout": _read_optional_seconds,
}

SETTING_VARIABLES = tuple(ENVIRONMENT_PREFIX + name.upper() for name in _READERS)
