"""The process-wide defaults as one frozen value, and how they are read and checked."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, runtime_checkable

import attrs

from gpt_agent_sync.errors import ConfigurationError

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


def _no_journal(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        raise _refuse(field.name, value, "None: this version keeps no tool journal")


@attrs.frozen(kw_only=True)
class Settings:
    """The process defaults; times are seconds.

    ``configure()`` changes them, and each but ``service`` objects may come from the
    environment as ``GPT_AGENT_<NAME>``. An agent keeps the settings it was made under; the bounds
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
        http_retries: How often a request is repeated where that is safe.
        rate_limit_retries: How often a run that met a rate limit is started again.
        rate_limit_delay: The pause before that, where the service names none.
        tool_workers: How many handlers run at once, over all agents.
        tool_timeout: How long a handler may take; ``None`` for ever. Its thread goes on, and what
            it returns is dropped.
        journal: Reserved for the tool journal; only ``None`` for now.
    """

    service: AnyService | str | None = None
    heartbeat_interval: float = attrs.field(default=1.0, validator=_seconds(above_zero=True))
    streaming: bool = attrs.field(default=True, validator=_flag)
    idle_timeout: float | None = attrs.field(
        default=120.0, validator=_seconds(above_zero=True, optional=True)
    )
    connect_timeout: float = attrs.field(default=5.0, validator=_seconds(above_zero=True))
    read_timeout: float = attrs.field(default=30.0, validator=_seconds(above_zero=True))
    http_retries: int = attrs.field(default=4, validator=_count(0))
    rate_limit_retries: int = attrs.field(default=10, validator=_count(0))
    rate_limit_delay: float = attrs.field(default=30.0, validator=_seconds())
    tool_workers: int = attrs.field(default=16, validator=_count(1))
    tool_timeout: float | None = attrs.field(
        default=None, validator=_seconds(above_zero=True, optional=True)
    )
    journal: str | None = attrs.field(default=None, validator=_no_journal)


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
    "http_retries": int,
    "rate_limit_retries": int,
    "rate_limit_delay": float,
    "tool_workers": int,
    "tool_timeout": _read_optional_seconds,
    "journal": str,
}

SETTING_VARIABLES = tuple(ENVIRONMENT_PREFIX + name.upper() for name in _READERS)
