"""Tests of which key goes to which server, and of the headers beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

import gpt_agent_sync as gpt
from tests.support.leaks import shown_by
from tests.support.stub import Answerer, Request, Response, StubServer

MakeStub = Callable[[Answerer], StubServer]

SERVICES: list[Any] = [gpt.AssistantsService, gpt.ResponsesService]


@pytest.fixture
def stub(make_stub: MakeStub) -> StubServer:
    """Return a server that makes whatever is asked for."""
    return make_stub(lambda request: Response({"id": "x"}))


@pytest.fixture(autouse=True)
def environment_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a key in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")


def sent(stub: StubServer, service: gpt.Service) -> Request:
    """Return what a service sends."""
    service.create_thread()
    return stub.requests[-1]


@pytest.mark.parametrize("service_class", SERVICES)
def test_key_of_the_environment_is_not_for_a_server_that_is_named(
    stub: StubServer, service_class: Any
) -> None:
    """A server that the program names by itself does not get OpenAI's key."""
    assert "authorization" not in sent(stub, service_class(stub.base_url)).headers


@pytest.mark.parametrize("service_class", SERVICES)
def test_key_of_the_environment_is_for_its_server(
    stub: StubServer, service_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that the environment names gets the environment's key, also if it is passed."""
    monkeypatch.setenv("OPENAI_BASE_URL", stub.base_url + "/")
    for service in (service_class(), service_class(stub.base_url)):
        assert sent(stub, service).headers["authorization"] == "Bearer sk-environment"


@pytest.mark.parametrize("service_class", SERVICES)
@pytest.mark.parametrize(
    "name", ["api-key", "Authorization", "X-API-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Token"]
)
def test_key_of_the_environment_does_not_go_beside_another(
    stub: StubServer, service_class: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers that carry a credential are sent without the environment's key."""
    monkeypatch.setenv("OPENAI_BASE_URL", stub.base_url)
    headers = sent(stub, service_class(headers={name: "its-own"})).headers
    assert headers[name.lower()] == "its-own"
    assert "sk-environment" not in headers.values()


@pytest.mark.parametrize("service_class", SERVICES)
def test_missing_key_is_named(make_stub: MakeStub, service_class: Any) -> None:
    """Where a server asks for a key, and none was sent, the error says so, and how to pass one."""
    stub = make_stub(lambda request: Response({"error": {"message": "no key"}}, 401))
    with pytest.raises(gpt.AuthenticationError, match="no key was sent: pass api_key") as caught:
        service_class(stub.base_url).create_thread()
    assert caught.value.status == 401


def test_wrong_key_is_not_called_missing(make_stub: MakeStub) -> None:
    """A key that is refused was sent."""
    stub = make_stub(lambda request: Response({"error": {"message": "bad key"}}, 401))
    with pytest.raises(gpt.AuthenticationError) as caught:
        gpt.AssistantsService(stub.base_url, "sk-wrong").create_thread()
    assert "no key was sent" not in str(caught.value)


def test_headers_have_no_case(stub: StubServer) -> None:
    """A header takes the place of the usual one, however it is written."""
    headers = {"openai-BETA": "mine", "AUTHORIZATION": "Bearer mine", "content-TYPE": "text/json"}
    kept = sent(stub, gpt.AssistantsService(stub.base_url, "sk-1", headers=headers)).headers
    assert kept["openai-beta"] == "mine"
    assert kept["authorization"] == "Bearer mine"
    assert kept["content-type"] == "text/json"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "HOST", "Connection"])
def test_framing_is_not_the_programs(name: str) -> None:
    """Headers that say where a request ends, or whom it is for, are refused when they are given."""
    with pytest.raises(gpt.ConfigurationError, match=f"header '{name}' is for the HTTP library"):
        gpt.AssistantsService("http://host/v1", headers={name: "1"})


def test_headers_are_a_mapping() -> None:
    """Anything else is refused, and not shown."""
    with pytest.raises(gpt.ConfigurationError, match="must be a mapping.*not a str") as caught:
        gpt.AssistantsService("http://host/v1", headers="X-Key: hidden")  # type: ignore[arg-type]  # the point
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://host/v1?key=hidden",
        "http://host/v1#hidden",
        "http://user:hidden@host/v1",
        "https://user:p/hidden@host/v1",
        "user:hidden@host/v1",
        "http:/user:hidden@host/v1",
    ],
)
@pytest.mark.parametrize("service_class", SERVICES)
def test_address_holds_no_more_than_an_address(service_class: Any, base_url: str) -> None:
    """A query, a fragment or a password in the address are refused, and not shown."""
    with pytest.raises(gpt.ConfigurationError, match="base_url must not h") as caught:
        service_class(base_url)
    assert not [text for text in shown_by(caught.value) if "hidden" in text]


@pytest.mark.parametrize(
    "base_url",
    ["http://[::1]:8080/v1", "http://[fe80::1%25eth0]/v1", "https://höst.example/v1"],
)
def test_hosts_of_all_kinds(base_url: str) -> None:
    """Addresses of IPv6 and names of other alphabets are hosts."""
    assert gpt.AssistantsService(base_url).base_url == base_url


@pytest.mark.parametrize("base_url", ["http://[::1/v1", "http://[nobody]/v1", "http://a b/v1"])
def test_hosts_that_are_none(base_url: str) -> None:
    """What can be no host is refused before any request."""
    with pytest.raises(gpt.ConfigurationError, match="base_url must be an http"):
        gpt.AssistantsService(base_url)


@pytest.mark.parametrize("timeout", [float("inf"), (1.0, float("inf")), float("nan"), -1])
def test_timeouts_are_finite(timeout: Any) -> None:
    """A timeout that never comes is none."""
    with pytest.raises(gpt.ConfigurationError, match="timeout must be seconds above 0"):
        gpt.AssistantsService("http://host/v1", timeout=timeout)


def test_identity_shows_no_secret() -> None:
    """Services of one key are the same, of two keys are not, and which key cannot be read."""
    one, other = (gpt.AssistantsService("http://host/v1", key) for key in ("sk-one-1", "sk-two-2"))
    assert one.identity == gpt.AssistantsService("http://host/v1", "sk-one-1").identity
    assert one.identity != other.identity
    assert "sk-one" not in repr(one.identity)


@pytest.mark.parametrize("service_class", SERVICES)
@pytest.mark.parametrize("object_id", [".", ".."])
def test_service_gives_no_id_that_leads_elsewhere(
    make_stub: MakeStub, service_class: Any, object_id: str
) -> None:
    """An id that has another meaning in a path is no answer."""
    stub = make_stub(lambda request: Response({"id": object_id}))
    with pytest.raises(gpt.ProtocolError, match="lacks a text in 'id'"):
        service_class(stub.base_url).create_thread()


@pytest.mark.parametrize("service_class", SERVICES)
@pytest.mark.parametrize("object_id", [".", ".."])
def test_program_gives_no_id_that_leads_elsewhere(
    stub: StubServer, service_class: Any, object_id: str
) -> None:
    """Such a thread is refused before any request."""
    with pytest.raises(gpt.InvalidThreadIdError):
        gpt.connect(object_id, service=service_class(stub.base_url))
    assert not stub.requests


@pytest.mark.parametrize("service_class", SERVICES)
def test_key_of_the_environment_does_not_go_beside_a_sessions(
    stub: StubServer, service_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session whose headers carry a credential is sent without the environment's key, too."""
    monkeypatch.setenv("OPENAI_BASE_URL", stub.base_url)
    session = requests.Session()
    session.headers["api-key"] = "its-own"
    headers = sent(stub, service_class(session=session)).headers
    assert headers["api-key"] == "its-own"
    assert "authorization" not in headers
