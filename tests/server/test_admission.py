"""Which requests are let in: by key, host, origin, content type and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from gpt_agent_sync.server.admission import host_name
from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.paths import wire_path
from gpt_agent_sync.server.wsgi.server import WsgiServer, listen

JSON = {"Content-Type": "application/json"}

Ask = Callable[..., requests.Response]


@pytest.fixture
def ask() -> Iterator[Callable[..., Ask]]:
    """Yield a maker of servers, by their options; it returns what asks one of them."""
    made: list[tuple[Any, WsgiServer]] = []

    def make(**options: Any) -> Ask:
        engine = make_engine(":memory:")
        size = {} if "max_body" not in options else {"most_body": options["max_body"]}
        server = WsgiServer(create_app(engine, **options), [listen("127.0.0.1", 0)], **size)
        server.start()
        made.append((engine, server))

        def send(method: str = "GET", path: str = "/v1/threads", **more: Any) -> requests.Response:
            url = f"http://127.0.0.1:{server.port}{path}"
            return requests.request(method, url, timeout=20, **more)

        return send

    yield make
    for engine, server in made:
        engine.close()
        server.stop()


def refusal(answer: requests.Response) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Authorization": "Bearer secret"}, 200),
        ({"Authorization": "bearer secret"}, 200),
        ({"api-key": "secret"}, 200),
        ({"Authorization": "Bearer x", "api-key": "secret"}, 200),
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "secret"}, 401),
        ({"Authorization": "Basic secret"}, 401),
        ({"api-key": "secre"}, 401),
        ({"api-key": ""}, 401),
        ({"Authorization": "Bearer s\u00e9cret".encode("latin-1")}, 401),
    ],
)
def test_key(ask: Callable[..., Ask], headers: dict[str, Any], status: int) -> None:
    """The key is taken as a bearer token and as Azure's clients send it, and nothing else."""
    assert ask(api_key="secret")(headers=headers).status_code == status


@pytest.mark.parametrize(
    "options, host, status",
    [
        ({}, "localhost", 200),
        ({}, "127.0.0.1:9", 200),
        ({}, "LocalHost:80", 200),
        ({}, "[::1]:8000", 200),
        ({}, "evil.example", 403),
        ({}, "localhost.evil.example", 403),
        ({}, "evil.example:127", 403),
        ({}, "localhost@evil.example", 403),
        ({"hosts": ["api.example"]}, "api.example:443", 200),
        ({"hosts": ["API.example"]}, "api.EXAMPLE", 200),
        ({"hosts": ["api.example"]}, "localhost", 403),
        ({"hosts": ["*"]}, "evil.example", 200),
        ({"api_key": "k"}, "evil.example", 200),
        ({"api_key": "k", "hosts": ["api.example"]}, "evil.example", 403),
    ],
)
def test_hosts(ask: Callable[..., Ask], options: dict[str, Any], host: str, status: int) -> None:
    """A server without a key is asked under loopback's names alone, unless others are allowed."""
    answer = ask(**options)(headers={"Host": host, "api-key": "k"})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "origin, status",
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost:1", 403),
        ("https://page.example", 200),
        ("https://page.example.evil.example", 403),
    ],
)
def test_origins(ask: Callable[..., Ask], origin: str, status: int) -> None:
    """A web page of another origin is refused, unless it is allowed."""
    answer = ask(origins=["https://page.example"])(headers={"Origin": origin})
    assert answer.status_code == status


def test_allowed_page_may_read_the_answer(ask: Callable[..., Ask]) -> None:
    """A browser is told that a page of an allowed origin may ask, before it does, and read."""
    send = ask(api_key="k", origins=["https://page.example"])
    page = {"Origin": "https://page.example"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "api-key"}
    allowed = send("OPTIONS", headers={**page, **asks})
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Headers"]) == (
        204,
        "api-key",
    )
    answer = send(headers={**page, "api-key": "k"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.example"


def test_other_pages_are_told_nothing(ask: Callable[..., Ask]) -> None:
    """A browser is not told of a page that is not allowed."""
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    refused = ask()("OPTIONS", headers=headers)
    assert (refused.status_code, "Access-Control-Allow-Origin" in refused.headers) == (403, False)


@pytest.mark.parametrize("origin", ["http://[", "://", "x", ""])
def test_origins_that_are_none(ask: Callable[..., Ask], origin: str) -> None:
    """What is no origin is a foreign one."""
    assert ask()(headers={"Origin": origin}).status_code == 403


def test_own_origin(ask: Callable[..., Ask]) -> None:
    """A page of the server's own address may ask it."""
    headers = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert ask()(headers=headers).ok


@pytest.mark.parametrize(
    "kind, status",
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/merge-patch+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_content_types(ask: Callable[..., Ask], kind: str, status: int) -> None:
    """A body has to say that it is JSON: what a page can send without asking plants nothing."""
    answer = ask()("POST", data=b"{}", headers={"Content-Type": kind})
    assert answer.status_code == status


def test_planted_thread(ask: Callable[..., Ask]) -> None:
    """What a form of a page posts is refused, and makes no thread."""
    send = ask()
    planted = send("POST", data=b'{"a": "="}', headers={"Content-Type": "text/plain"})
    assert refusal(planted) == (415, "unsupported_content_type")
    assert send().json()["data"] == []


def test_empty_body_needs_no_content_type(ask: Callable[..., Ask]) -> None:
    """A request without fields may come without a body, and says nothing of it."""
    assert ask()("POST").json()["object"] == "thread"


@pytest.mark.parametrize("size, status", [(1000, 200), (1001, 413)])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_size(ask: Callable[..., Ask], size: int, status: int, chunked: bool) -> None:
    """A body that is too large is refused in the wire's words, its length said or not."""
    body = b'{"metadata": {}}'.ljust(size)
    data = iter([body]) if chunked else body
    answer = ask(max_body=1000)("POST", data=data, headers=JSON)
    assert answer.status_code == status
    assert ("1000 bytes are the most" in answer.text) is (status == 413)


@pytest.mark.parametrize(
    "host, name",
    [
        ("localhost", "localhost"),
        ("LOCALHOST:80", "localhost"),
        ("[::1]:80", "::1"),
        ("[::1", ""),
        ("", ""),
        ("a:b:c", "a"),
    ],
)
def test_host_names(host: str, name: str) -> None:
    """A host's name is what stands before the port, in lower case."""
    assert host_name(host) == name


@pytest.mark.parametrize(
    "path, found",
    [
        ("/v1/threads", ("/v1/threads", None)),
        ("/openai/threads", ("/v1/threads", None)),
        ("/openai/v1/responses", ("/v1/responses", None)),
        ("/openai/deployments/gpt/chat/completions", ("/v1/chat/completions", "gpt")),
        ("/openai/v1/deployments/gpt/embeddings", ("/v1/embeddings", "gpt")),
        ("/api/projects/p/threads/t/runs", ("/v1/threads/t/runs", None)),
        ("/openai", ("/openai", None)),
        ("/openaix/threads", ("/openaix/threads", None)),
        ("/v1/openai/threads", ("/v1/openai/threads", None)),
        ("/", ("/", None)),
    ],
)
def test_wire_paths(path: str, found: tuple[str, str | None]) -> None:
    """Azure's paths are those of the wire below other prefixes."""
    assert wire_path(path) == found


def test_azures_path_over_http(ask: Callable[..., Ask]) -> None:
    """A thread that is made under Azure's path, its version in the query, is found under both."""
    send = ask()
    made = send("POST", "/openai/threads?api-version=2024-05-01-preview").json()
    assert send("GET", f"/v1/threads/{made['id']}").json() == made
