"""The setting ``GPT_AGENT``: what it may hold, and the hooks that it names.

- ``AUTHORIZE``: called with the request and a thread's id before anything is done, on the thread of
  the request; ``True`` lets it pass, anything else is refused (403). The id is ``None`` where a
  thread is to be created, and for the page without one.
- ``CONNECT``: connects to a thread, by ``gpt.connect(thread_id, ...)``.
- ``CREATE_THREAD``: creates a thread for a request, and notes whose it is; returns its id. Else
  ``gpt.create_thread()`` does it.
- ``ADD_MESSAGE``: adds a message elsewhere, in a queue of tasks, say: called with the request, the
  thread's id and the text; returns the message's id, or ``None`` where it is not known yet. Else
  the thread's agent in this process adds it.
- ``SHOW_EVENT``: called with each event of a stream; returns what the client is to see of it,
  ``None`` for nothing. Else words of services and exceptions are replaced.
- ``TEMPLATE``: the page's template, ``None`` for no page. One of the project's own may extend
  ``gpt_agent_sync/chat.html``.
- ``HEARTBEAT``: seconds of silence after which an event stream writes a comment.
- ``STREAM_TIME``: seconds after which an event stream ends: a browser comes back by itself, and is
  authorized anew.
- ``MAX_BODY``: bytes of a request's body at most.

Hooks are functions, or the dotted paths of some.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.utils.module_loading import import_string

from gpt_agent_sync.contrib.web import page
from gpt_agent_sync.contrib.web.face import ChatFace

NAME = "GPT_AGENT"

REQUIRED = ("AUTHORIZE", "CONNECT")
HOOKS = (*REQUIRED, "CREATE_THREAD", "ADD_MESSAGE", "SHOW_EVENT")
NUMBERS = ("HEARTBEAT", "STREAM_TIME", "MAX_BODY")
KNOWN = (*HOOKS, *NUMBERS, "TEMPLATE")


@functools.cache
def get_face() -> ChatFace[HttpRequest]:
    """Return the HTTP face that the settings describe.

    Raises:
        ImproperlyConfigured: If they are unusable.
    """
    given = _given()
    unknown = sorted(set(given) - set(KNOWN))
    if unknown:
        raise ImproperlyConfigured(f"{NAME} has no {', '.join(unknown)}; it has {', '.join(KNOWN)}")
    for name in REQUIRED:
        if given.get(name) is None:
            raise ImproperlyConfigured(f"{NAME} needs {name!r}: there is no default for it")
    hooks: dict[str, Any] = {
        name.lower(): _read_hook(name, given[name]) for name in HOOKS if given.get(name) is not None
    }
    numbers: dict[str, Any] = {name.lower(): given[name] for name in NUMBERS if name in given}
    try:
        return ChatFace(**hooks, **numbers)
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(f"{NAME}: {exc}") from exc


def get_template() -> str | None:
    """Return the name of the page's template; ``None`` where there is no page."""
    template: str | None = _given().get("TEMPLATE", page.TEMPLATE)
    return template


def _given() -> Mapping[str, Any]:
    given = getattr(settings, NAME, {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(f"{NAME} must be a dictionary, not {given!r}")
    return given


def _read_hook(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except ImportError as exc:
        raise ImproperlyConfigured(f"{NAME}[{name!r}]: {exc}") from exc


def _forget(*, setting: str, **others: object) -> None:
    """Read the settings again after a test has changed them."""
    if setting == NAME:
        get_face.cache_clear()


setting_changed.connect(_forget)
