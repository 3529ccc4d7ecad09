"""The process-wide defaults: one frozen ``Settings`` behind a lock, and the default service."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.settings import Settings, from_environment, with_changes

if TYPE_CHECKING:
    from gpt_agent_sync.services.base import Service

logger = logging.getLogger(__name__)

SERVICE_NAMES = ("responses", "assistants", "local")


class _Defaults:
    """Hold what the process has settled on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.settings: Settings | None = None
        self.services: dict[str, Service] = {}


_defaults = _Defaults()


def _after_fork() -> None:
    _defaults.lock = threading.Lock()


forks.in_child(_after_fork)


def get_settings() -> Settings:
    """Give the process defaults: those of the environment, with ``configure()``'s changes.

    Raises:
        ConfigurationError: If a ``GPT_AGENT_*`` variable cannot be read.
    """
    with _defaults.lock:
        return _settings()


def _settings() -> Settings:
    if _defaults.settings is None:
        _defaults.settings = from_environment(os.environ)
    return _defaults.settings


def configure(**changes: Any) -> Settings:
    """Change process defaults, for agents made from now on.

    Args:
        changes: Any field of ``Settings``, such as ``heartbeat_interval=0.5``.

    Returns:
        The settings now in force.

    Raises:
        ConfigurationError: If a name is unknown or a value unusable; nothing is changed.
    """
    if "service" in changes:
        _check_service(changes["service"])
    with _defaults.lock:
        _defaults.settings = with_changes(_settings(), changes)
        return _defaults.settings


def reset() -> None:
    """Forget what was configured and chosen: the environment rules again."""
    with _defaults.lock:
        _defaults.settings = None
        _defaults.services = {}


def choose_service(service: Service | None = None) -> Service:
    """Give the service to use: the argument, else the configured one, else by the environment.

    Raises:
        ConfigurationError: If what is chosen is unknown, or cannot be made.
    """
    from gpt_agent_sync.services.base import Service

    chosen: object = service if service is not None else get_settings().service
    if isinstance(chosen, Service):
        return chosen
    if chosen is not None and not isinstance(chosen, str):
        raise ConfigurationError(f"service must be a Service, not {chosen!r}")
    name, why = (chosen, "the settings name it") if chosen else _by_environment()
    with _defaults.lock:
        known = _defaults.services.get(name)
    if known is not None:
        return known
    made = make_service(name)
    with _defaults.lock:
        first = _defaults.services.setdefault(name, made)
    if first is made:
        logger.info("using the %s service, because %s", name, why)
    return first


def _by_environment() -> tuple[str, str]:
    if os.environ.get("OPENAI_API_KEY", "").strip():
        return "responses", "OPENAI_API_KEY is set"
    return "local", "nothing else is configured"


def make_service(name: str) -> Service:
    """Make the service of a name, by the environment.

    Raises:
        ConfigurationError: If there is none of that name, or it cannot be made.
    """
    from gpt_agent_sync.services.assistants import AssistantsService
    from gpt_agent_sync.services.local import LocalService
    from gpt_agent_sync.services.responses import ResponsesService

    classes: tuple[type[LocalService | AssistantsService | ResponsesService], ...] = (
        LocalService,
        AssistantsService,
        ResponsesService,
    )
    for service_class in classes:
        if service_class.name == name:
            return service_class()
    raise _unknown(name)


def _unknown(name: object) -> ConfigurationError:
    names = ", ".join(map(repr, SERVICE_NAMES))
    return ConfigurationError(f"no service {name!r}: pass a Service object, or one of {names}")


def _check_service(value: object) -> None:
    from gpt_agent_sync.services.base import Service

    if value is None or isinstance(value, Service) or value in SERVICE_NAMES:
        return
    raise _unknown(value)
