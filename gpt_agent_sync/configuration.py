"""The process-wide defaults: one frozen ``Settings`` behind a lock."""

from __future__ import annotations

import os
import threading
from typing import Any

from gpt_agent_sync import forks
from gpt_agent_sync.settings import Settings, check_service, from_environment, with_changes


class _Defaults:
    """The settings of the process; ``None`` until they are first needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.settings: Settings | None = None


_defaults = _Defaults()


def _after_fork() -> None:
    # Another thread of the parent may have held it, and there is nobody to release it here.
    _defaults.lock = threading.Lock()


forks.in_child(_after_fork)


def get_settings() -> Settings:
    """Return the process defaults: those of the environment, with ``configure()``'s changes.

    Raises:
        ConfigurationError: If a ``GPT_AGENT_*`` variable cannot be read.
    """
    forks.check()
    with _defaults.lock:
        return _settings()


def _settings() -> Settings:
    # Not at import: a program may set its environment first.
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
        check_service(changes["service"])
    forks.check()
    with _defaults.lock:
        _defaults.settings = with_changes(_settings(), changes)
        return _defaults.settings


def reset() -> None:
    """Drop what was configured: the environment is read again when settings are next needed."""
    with _defaults.lock:
        _defaults.settings = None
