"""The service of a program that names none: by the settings, else by the environment."""

from __future__ import annotations

import os
import threading

from gpt_agent_sync import forks
from gpt_agent_sync.configuration import get_settings
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import unknown_service

logger = get_logger(__name__)


class _Chosen:
    """The services made by name, one each."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_name: dict[str, Service] = {}


_chosen = _Chosen()


def _after_fork() -> None:
    _chosen.lock = threading.Lock()


forks.in_child(_after_fork)


def choose_service(service: Service | None = None) -> Service:
    """Return the service to use: the argument, else the configured one, else by the environment.

    Raises:
        ConfigurationError: If what is chosen is unknown, or cannot be made.
    """
    forks.check()
    wanted: object = service if service is not None else get_settings().service
    if isinstance(wanted, Service):
        return wanted
    if wanted is not None and not isinstance(wanted, str):
        raise ConfigurationError(f"service must be a Service, not {wanted!r}")
    name, why = (wanted, "the settings name it") if wanted else _by_environment()
    with _chosen.lock:
        known = _chosen.by_name.get(name)
    if known is not None:
        return known
    # Made outside the lock: a constructor may fail, or look at the file system. Of two threads
    # that come here at once the first one to be done wins, and both use its service.
    made = make_service(name)
    with _chosen.lock:
        first = _chosen.by_name.setdefault(name, made)
    if first is made:
        logger.info("using the %s service, because %s", name, why)
    return first


def reset() -> None:
    """Forget the services that were made by name."""
    with _chosen.lock:
        _chosen.by_name = {}


def _by_environment() -> tuple[str, str]:
    if os.environ.get("OPENAI_API_KEY", "").strip():
        return "responses", "OPENAI_API_KEY is set"
    return "local", "nothing else is configured"


def make_service(name: str) -> Service:
    """Make the service of a name, by the environment.

    Raises:
        ConfigurationError: If there is none of that name, or it cannot be made.
    """
    # Imported here: a program needs one of them, and pays for that one.
    if name == "local":
        from gpt_agent_sync.services.local import LocalService

        return LocalService()
    if name == "assistants":
        from gpt_agent_sync.services.assistants import AssistantsService

        return AssistantsService()
    if name == "responses":
        from gpt_agent_sync.services.responses import ResponsesService

        return ResponsesService()
    raise unknown_service(name)
