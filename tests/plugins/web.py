"""Web applications with the chat in them, one of each framework."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.testing import ScriptedService
from tests.support.web_sites import PATIENCE, Site, django_app, flask_app, open_streams

MakeSite = Callable[..., Site]


def everybody(request: object, thread_id: str | None) -> bool:
    """Authorize everything."""
    return True


@pytest.fixture(params=["flask", "django"])
def make_site(request: pytest.FixtureRequest) -> Iterator[MakeSite]:
    """Return a maker of sites over a service: of Flask, and of Django.

    Options are those of the blueprint; ``script`` is what the service follows.
    """
    if find_spec(request.param) is None:
        pytest.skip(f"not installed: {request.param}; the extra of this name has it")
    stack = contextlib.ExitStack()

    def make(script: Any = (), *, service: Service | None = None, **options: Any) -> Site:
        used = ScriptedService(script) if service is None else service
        gpt.configure(service=used)
        assistant_id = gpt.create_assistant(model="demo")
        given = {
            "authorize": everybody,
            "connect": lambda thread_id: gpt.connect(thread_id, assistant_id),
            **options,
        }
        if request.param == "flask":
            app = flask_app(given)
        else:
            app = django_app()
            from django.test import override_settings

            named = {name.upper(): value for name, value in given.items()}
            stack.enter_context(override_settings(GPT_AGENT=named))
        site = Site(app)
        stack.callback(site.stop)
        # Before that, as the server waits for the requests in hand.
        stack.callback(_end_streams)
        return site

    yield make
    gpt.shutdown_all(PATIENCE)
    stack.close()


def _end_streams() -> None:
    from gpt_agent_sync.contrib.web import event_streams

    for stream in list(event_streams._open._streams):
        stream.close()
    assert open_streams() == 0


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """Return a site over a service that answers everything with ``ok``."""
    return make_site()
