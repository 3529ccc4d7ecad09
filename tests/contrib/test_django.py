"""What is Django's alone: settings, checks, templates, connections of tools, ASGI."""

from __future__ import annotations

import re
from typing import Any

import pytest

pytest.importorskip("django", reason="not installed: django; the extra of this name has it")

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory, override_settings

import gpt_agent_sync as gpt
from gpt_agent_sync.tools import default_toolbox
from tests.plugins.web import everybody
from tests.support.web_sites import django_app


@pytest.fixture(autouse=True)
def project() -> None:
    """Have a project."""
    django_app()


def connect(thread_id: str) -> gpt.Agent:
    """Connect, as ``GPT_AGENT`` names it."""
    return gpt.connect(thread_id)


HERE = "tests.contrib.test_django"

GIVEN: dict[str, Any] = {
    "AUTHORIZE": "tests.plugins.web.everybody",
    "CONNECT": f"{HERE}.connect",
}


def found(given: Any) -> list[tuple[str, str]]:
    """Return id and words of what the system checks find."""
    with override_settings(GPT_AGENT=given):
        return [(each.id or "", each.msg) for each in checks.run_checks(tags=["gpt_agent_sync"])]


def test_settings_that_are_right() -> None:
    """Are found to be so; hooks are named by their paths, or are functions."""
    assert found(GIVEN) == []
    assert found({"AUTHORIZE": everybody, "CONNECT": connect}) == []


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, "needs 'AUTHORIZE'"),
        ({"AUTHORIZE": everybody}, "needs 'CONNECT'"),
        ({**GIVEN, "AUTHORISE": 1}, "has no AUTHORISE"),
        ({**GIVEN, "CONNECT": "nowhere.at_all"}, "'CONNECT'.*nowhere"),
        ({**GIVEN, "CONNECT": 7}, "connect must be a function"),
        ({**GIVEN, "HEARTBEAT": -1}, "heartbeat must be seconds"),
        ({**GIVEN, "MAX_BODY": "x"}, "max_body must be bytes"),
        ([], "must be a dictionary"),
    ],
)
def test_settings_that_are_wrong(given: Any, words: str) -> None:
    """Are told by the system check, before anything is served."""
    ((name, told),) = found(given)
    assert name == "gpt_agent_sync.E001"
    assert re.search(words, told)


def test_missing_middleware_is_told() -> None:
    """Without it another site could write in a user's name."""
    with override_settings(MIDDLEWARE=[]):
        assert [name for name, _ in found(GIVEN)] == ["gpt_agent_sync.W001"]


def test_request_with_wrong_settings_is_an_error() -> None:
    """Of Django's own kind."""
    from gpt_agent_sync.contrib.django import views

    with override_settings(GPT_AGENT={}), pytest.raises(ImproperlyConfigured):
        views.show_page(RequestFactory().get("/"))


def test_missing_token_is_refused() -> None:
    """By Django's middleware, as for any other view."""
    from django.test import Client

    with override_settings(GPT_AGENT=GIVEN, ALLOWED_HOSTS=["testserver"]):
        client = Client(enforce_csrf_checks=True)
        answer = client.post("/chat/threads", "{}", content_type="application/json")
    assert answer.status_code == 403


def test_files_of_the_page_are_found() -> None:
    """By the finders that ``collectstatic`` uses."""
    from django.contrib.staticfiles import finders

    assert finders.find("gpt_agent_sync/chat.js")
    assert finders.find("gpt_agent_sync/vendor/purify.js")


def test_stream_over_asgi_is_refused() -> None:
    """In words: Django would gather it first, and it has no end."""
    from django.core.handlers.asgi import ASGIRequest

    from gpt_agent_sync.contrib.django import views

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    with override_settings(GPT_AGENT=GIVEN):
        answer = views.events(ASGIRequest(scope, b""), "thread_1")  # type: ignore[arg-type]
    assert answer.status_code == 501


class _Connection:
    """A connection that counts."""

    in_atomic_block = False

    def __init__(self) -> None:
        self.looked_after = self.closed = 0

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def close_if_unusable_or_obsolete(self) -> None:
        """Count."""
        self.looked_after += 1


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> _Connection:
    """Return the connection that this thread has."""
    from django import db

    made = _Connection()
    monkeypatch.setattr(db.connections, "all", lambda initialized_only=False: [made])
    return made


def test_connections_of_a_tool_are_looked_after(connection: _Connection) -> None:
    """Before it, as one may be broken, and after it, also when it raises."""
    from gpt_agent_sync.contrib.django.database import closing_connections

    @closing_connections
    def fail() -> None:
        """Fail."""
        assert connection.looked_after == 1
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert connection.looked_after == 2


def test_stream_holds_no_connection(connection: _Connection) -> None:
    """The request goes on for as long as its client reads; one in a transaction is left alone."""
    from gpt_agent_sync.contrib.django.database import release_connections

    release_connections()
    connection.in_atomic_block = True
    release_connections()
    assert connection.closed == 1


def test_page_may_be_included_anywhere() -> None:
    """Under other namespaces, and several times: its addresses are below its own."""
    from django.test import Client

    with override_settings(
        GPT_AGENT=GIVEN, ALLOWED_HOSTS=["testserver"], ROOT_URLCONF="tests.support.django_urls"
    ):
        shown = Client().get("/shop/help/").content.decode()
    assert 'data-face-url="/shop/help/"' in shown


def test_transaction_of_a_caller_is_left_alone(connection: _Connection) -> None:
    """A tool that a program calls itself does not end it."""
    from gpt_agent_sync.contrib.django.database import closing_connections

    connection.in_atomic_block = True
    closing_connections(lambda: None)()
    assert connection.looked_after == 0


def test_wrapped_tool_keeps_its_schema() -> None:
    """And its docstring."""
    from gpt_agent_sync.contrib.django.database import closing_connections

    @gpt.tool
    @closing_connections
    def find_order(number: int) -> str:
        """Find an order."""
        return str(number)

    (described,) = default_toolbox.schemas
    assert described.description == "Find an order."
    assert described.parameters["properties"] == {"number": {"type": "integer"}}
