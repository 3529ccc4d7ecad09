"""A program's own ``requests.Session``, and the ecosystem that comes with ``requests``."""

from __future__ import annotations

import base64
import copy
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
import responses
import vcr
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

import gpt_agent_sync as gpt
from gpt_agent_sync.services.http.sessions import IDLE_CONNECTIONS
from gpt_agent_sync.testing import CallTools, Reply
from tests.support.forks import forks, in_forked_child
from tests.support.plain import PlainServer, Speak, read_request
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import (
    Answerer,
    HangUp,
    Request,
    Response,
    StubServer,
    error,
    stream,
    table,
)
from tests.support.tls import Authority, TlsStub

MakeStub = Callable[[Answerer], StubServer]
MakeServer = Callable[..., ScriptedServer]

PATIENCE = 30.0
BASE = "http://service.invalid/v1"

THREAD = {"id": "thread_1", "object": "thread"}
MESSAGE = {"id": "msg_1", "object": "thread.message", "role": "user", "content": []}
RUN = {"id": "run_1", "object": "thread.run", "status": "completed", "assistant_id": "asst_1"}
REPLY = {
    "id": "msg_2",
    "object": "thread.message",
    "role": "assistant",
    "run_id": "run_1",
    "content": [{"type": "text", "text": {"value": "hello", "annotations": []}}],
}
TURN: dict[str, Any] = {
    "GET /threads/thread_1": THREAD,
    "GET /threads/thread_1/runs": {"object": "list", "data": [], "has_more": False},
    "POST /threads/thread_1/messages": MESSAGE,
    "POST /threads/thread_1/runs": RUN,
    "GET /threads/thread_1/messages": {"object": "list", "data": [REPLY], "has_more": False},
}
"""What a service answers in a turn from connecting to the reply."""


def asked(service: gpt.Service, thread_id: str = "thread_1", text: str = "hi") -> str:
    """Have a turn, and return the reply."""
    with gpt.connect(thread_id, "asst_1", service=service) as agent:
        return agent.ask(text, timeout=PATIENCE)


# stand-ins of tests


def test_responses_answers_for_the_service(polled: None) -> None:
    """A program's tests may have ``responses`` answer in place of the service."""
    with responses.RequestsMock() as mock:
        for line, body in TURN.items():
            method, path = line.split()
            mock.add(method, BASE + path, json=body)
        assert asked(gpt.AssistantsService(BASE, "key")) == "hello"


def test_requests_mock_answers_for_the_service(polled: None) -> None:
    """A program's tests may have ``requests-mock`` answer in place of the service."""
    with requests_mock.Mocker() as mock:
        for line, body in TURN.items():
            method, path = line.split()
            mock.register_uri(method, BASE + path, json=body)
        assert asked(gpt.AssistantsService(BASE, "key")) == "hello"


def test_requests_mock_answers_with_a_stream() -> None:
    """A stand-in may answer with events: they are read, though there is no socket to end."""
    events = (
        'event: thread.run.created\ndata: {"id": "run_1", "status": "queued"}\n\n'
        'event: thread.run.completed\ndata: {"id": "run_1", "status": "completed"}\n\n'
    )
    with requests_mock.Mocker() as mock:
        for line, body in TURN.items():
            method, path = line.split()
            mock.register_uri(method, BASE + path, json=body)
        mock.post(
            f"{BASE}/threads/thread_1/runs",
            text=events,
            headers={"Content-Type": "Text/Event-Stream; charset=utf-8"},
        )
        service = gpt.AssistantsService(BASE, "key", additional_messages=False)
        assert asked(service) == "hello"


@pytest.mark.filterwarnings("ignore::DeprecationWarning:vcr")
def test_vcr_replays_a_turn_with_a_tool_call(
    make_server: MakeServer, tmp_path: Path, polled: None
) -> None:
    """VCR.py records a polled turn with a tool call, and replays it without the server."""
    calls: list[int] = []

    def double(number: int) -> int:
        """Double a number."""
        calls.append(number)
        return 2 * number

    def turn() -> str:
        service = gpt.AssistantsService(server.base_url, "key")
        thread_id = gpt.create_thread(service=service)
        assistant_id = gpt.create_assistant(model="scripted", service=service)
        with gpt.connect(thread_id, assistant_id, service=service, tools=[double]) as agent:
            said = agent.ask("double 2", timeout=PATIENCE)
        service.close()
        return said

    server = make_server([CallTools(("double", {"number": 2})), Reply("it is 4")])
    cassette = str(tmp_path / "turn.yaml")
    with vcr.use_cassette(cassette, record_mode="once"):
        recorded = turn()
    server.stop()
    with vcr.use_cassette(cassette, record_mode="none"):
        assert turn() == recorded == "it is 4"
    assert calls == [2, 2]


# instrumentation


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Return where the spans go that are made in a test."""
    return InMemorySpanExporter()


@pytest.fixture(params=[RequestsInstrumentor, URLLib3Instrumentor])
def instrumented(request: pytest.FixtureRequest, spans: InMemorySpanExporter) -> Iterator[None]:
    """Instrument one of the two libraries."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = request.param()
    instrumentor.instrument(tracer_provider=provider)
    yield
    instrumentor.uninstrument()


def test_each_request_is_one_client_span(
    make_stub: MakeStub, spans: InMemorySpanExporter, instrumented: None, polled: None
) -> None:
    """OpenTelemetry sees each request once, as a client's."""
    stub = make_stub(table({line: [Response(body)] for line, body in TURN.items()}))
    assert asked(gpt.AssistantsService(stub.base_url, "key")) == "hello"
    kinds = [span.kind for span in spans.get_finished_spans()]
    assert kinds == [SpanKind.CLIENT] * len(stub.requests)


# what a session brings


class Signature(AuthBase):
    """An auth that signs each request by its path."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request."""
        request.headers["X-Signature"] = f"signed {request.method} {request.path_url}"
        return request


class CountingAdapter(HTTPAdapter):
    """An adapter that counts what it sends."""

    sent = 0

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Count and send."""
        self.sent += 1
        return super().send(*arguments, **options)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """Return a program's session; it is closed."""
    with requests.Session() as session:
        yield session


def created(stub: StubServer, session: requests.Session, **options: Any) -> Request:
    """Create a thread over a program's session, and return the request that came in."""
    service = gpt.AssistantsService(stub.base_url, session=session, **options)
    assert service.create_thread() == "thread_1"
    return stub.requests[-1]


@pytest.fixture
def stub(make_stub: MakeStub) -> StubServer:
    """Return a server that creates threads."""
    return make_stub(table({"POST /threads": [Response(THREAD)]}))


def test_auth_of_the_session_signs_every_request(
    stub: StubServer, session: requests.Session
) -> None:
    """A session's auth sees each request as it is sent."""
    session.auth = Signature()
    assert created(stub, session).headers["x-signature"] == "signed POST /v1/threads"


def test_key_goes_along_with_the_session(stub: StubServer, session: requests.Session) -> None:
    """A key that the program gives is sent whatever session carries it."""
    assert created(stub, session, api_key="sk-1").headers["authorization"] == "Bearer sk-1"


def test_key_of_the_environment_does_not_overrule_a_session(
    stub: StubServer, session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that says who asks is not sent with a key that nobody passed."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    session.headers["Authorization"] = "Bearer of-the-session"
    assert created(stub, session).headers["authorization"] == "Bearer of-the-session"


def test_netrc_does_not_take_the_place_of_a_key(
    stub: StubServer, session: requests.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A password in .netrc is not put in place of the program's key."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert created(stub, session, api_key="sk-1").headers["authorization"] == "Bearer sk-1"
    gpt.AssistantsService(stub.base_url, "sk-2").create_thread()
    assert stub.requests[-1].headers["authorization"] == "Bearer sk-2"


def test_headers_of_the_session_are_sent(stub: StubServer, session: requests.Session) -> None:
    """A session's headers go with each request, also those set after the service was made."""
    service = gpt.AssistantsService(stub.base_url, session=session)
    service.create_thread()
    session.headers["X-Team"] = "blue"
    service.create_thread()
    assert [request.headers.get("x-team") for request in stub.requests] == [None, "blue"]


@pytest.mark.parametrize("agent, sent", [(None, "gpt_agent_sync/"), ("shop/7", "shop/7")])
def test_user_agent_is_ours_unless_the_session_has_one(
    stub: StubServer, session: requests.Session, agent: str | None, sent: str
) -> None:
    """A session that names the program keeps that name."""
    if agent is not None:
        session.headers["User-Agent"] = agent
    assert created(stub, session).headers["user-agent"].startswith(sent)


def test_hook_of_the_session_sees_the_answer(stub: StubServer, session: requests.Session) -> None:
    """A session's hooks are called with each answer."""
    seen: list[int] = []

    def note(response: requests.Response, **options: Any) -> None:
        seen.append(response.status_code)

    session.hooks["response"].append(note)
    created(stub, session)
    assert seen == [200]


def test_adapter_of_the_session_sends(stub: StubServer, session: requests.Session) -> None:
    """An adapter that the program mounted sends each request."""
    adapter = CountingAdapter()
    session.mount("http://", adapter)
    created(stub, session)
    created(stub, session)
    assert adapter.sent == 2


def test_proxy_of_the_session_is_used(stub: StubServer, session: requests.Session) -> None:
    """A session's proxy is asked, with its password."""
    address = stub.base_url.removeprefix("http://").removesuffix("/v1")
    session.proxies = {"http": f"http://user:secret@{address}"}
    service = gpt.AssistantsService("http://service.invalid/v1", session=session)
    service.create_thread()
    password = base64.b64encode(b"user:secret").decode()
    assert stub.requests[0].headers["proxy-authorization"] == f"Basic {password}"
    assert stub.requests[0].headers["host"] == "service.invalid"


def test_certificates_of_the_session_are_trusted(
    authority: Authority, session: requests.Session
) -> None:
    """A server whose certificate the program's own authority has signed is spoken to."""
    session.verify = authority.path
    with TlsStub(authority, table({"POST /threads": [Response(THREAD)]})) as stub:
        assert created(stub, session).line == "POST /threads"


def test_unknown_certificate_is_refused_before_anything_is_sent(authority: Authority) -> None:
    """A server that nobody vouches for gets no request, and there is no doubt about that."""
    with TlsStub(authority, table({"POST /threads": [Response(THREAD)]})) as stub:
        service = gpt.AssistantsService(stub.base_url, "key", http_retries=0)
        with pytest.raises(gpt.ServiceUnavailableError, match="certificate") as refused:
            service.create_thread()
        assert (refused.value.in_doubt, stub.requests) == (False, [])


def test_redirects_are_refused(make_stub: MakeStub, session: requests.Session) -> None:
    """A redirect is not followed, whoever's session it is."""
    moved = Response(status=307, headers={"Location": "/v1/elsewhere"})
    stub = make_stub(table({"POST /threads": [moved], "POST /elsewhere": [Response(THREAD)]}))
    with pytest.raises(gpt.ProtocolError, match="redirect"):
        created(stub, session)
    assert stub.lines == ["POST /threads"]


def test_key_of_a_session_is_not_told_again(make_stub: MakeStub, session: requests.Session) -> None:
    """A refusal that echoes the key is told without it, though the session brought the key."""
    session.headers["Authorization"] = "Bearer sk-very-secret"
    refusal = error(401, "Incorrect API key provided: sk-very-secret")
    stub = make_stub(table({"POST /threads": [refusal]}))
    with pytest.raises(gpt.AuthenticationError) as refused:
        created(stub, session)
    assert "sk-very-secret" not in str(refused.value)


def logging_hook(response: requests.Response, **options: Any) -> None:
    """Read a body, as hooks do that log answers."""
    assert response.text is not None


def test_interim_answer_does_not_get_past_a_hook(
    make_plain: Callable[[Speak], PlainServer], session: requests.Session
) -> None:
    """A hook that reads bodies does not give one caller's answer to the next."""
    numbers = itertools.count(1)

    def say(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
        number = next(numbers)
        while read_request(reader):
            if number == 1:
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            body = b'{"id": "thread_%d"}' % number
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    session.hooks["response"].append(logging_hook)
    server = make_plain(say)
    service = gpt.AssistantsService(server.base_url, session=session)
    with pytest.raises(gpt.ServiceUnavailableError, match="interim answer 103") as failed:
        service.create_thread()
    assert failed.value.in_doubt
    assert service.create_thread() == "thread_2"


def test_stream_that_a_hook_has_read_is_read_all_the_same(
    make_stub: MakeStub, session: requests.Session
) -> None:
    """A hook that reads bodies takes no event away, and has no run started twice."""
    begun = b'event: thread.run.created\ndata: {"id": "run_1", "status": "queued"}\n\n'
    ended = b'event: thread.run.completed\ndata: {"id": "run_1", "status": "completed"}\n\n'
    answers = {line: [Response(body)] for line, body in TURN.items()}
    stub = make_stub(table({**answers, "POST /threads/thread_1/runs": [stream(begun, ended)]}))
    session.hooks["response"].append(logging_hook)
    service = gpt.AssistantsService(
        stub.base_url, "key", session=session, additional_messages=False
    )
    assert asked(service) == "hello"
    assert stub.lines.count("POST /threads/thread_1/runs") == 1


def test_hook_that_raises_for_statuses_changes_no_error(
    make_stub: MakeStub, session: requests.Session
) -> None:
    """A hook that calls ``raise_for_status()`` leaves refusals what they are."""

    def check(response: requests.Response, **options: Any) -> None:
        response.raise_for_status()

    session.hooks["response"].append(check)
    stub = make_stub(table({"POST /threads": [error(401, "no such key")]}))
    with pytest.raises(gpt.AuthenticationError, match="no such key"):
        created(stub, session)


def test_request_that_a_proxy_passed_on_is_in_doubt(
    make_stub: MakeStub, session: requests.Session
) -> None:
    """A server behind a proxy that drops the connection may have the request."""
    stub = make_stub(table({"POST /threads": [HangUp]}))
    session.proxies = {"http": stub.base_url.removesuffix("/v1")}
    service = gpt.AssistantsService("http://service.invalid/v1", session=session)
    with pytest.raises(gpt.ServiceUnavailableError) as failed:
        service.create_thread()
    assert (failed.value.in_doubt, stub.lines) == (True, ["POST /threads"])


def test_error_that_is_being_handled_says_nothing_of_a_request(
    make_stub: MakeStub, session: requests.Session, nowhere: str
) -> None:
    """A request made while another error is handled is judged by its own."""
    stub = make_stub(table({"POST /threads": [HangUp]}))
    try:
        session.get(nowhere, timeout=PATIENCE)
    except requests.ConnectionError:
        with pytest.raises(gpt.ServiceUnavailableError) as failed:
            created(stub, session)
    assert (failed.value.in_doubt, stub.lines) == (True, ["POST /threads"])


def test_header_that_cannot_be_sent_is_not_shown(
    stub: StubServer, session: requests.Session, caplog: pytest.LogCaptureFixture
) -> None:
    """A session's key that no header can carry is refused without being quoted."""
    session.headers["Authorization"] = " Bearer sk-very-secret"
    with pytest.raises(gpt.ConfigurationError, match="InvalidHeader") as refused:
        created(stub, session)
    assert "sk-very-secret" not in str(refused.value) + caplog.text
    assert (refused.value.__cause__, refused.value.__suppress_context__) == (None, True)


def test_certificates_that_are_not_there_are_told(
    stub: StubServer, session: requests.Session, tmp_path: Path
) -> None:
    """A file of certificates that is not there is a matter of configuration."""
    session.verify = str(tmp_path / "nowhere.pem")
    service = gpt.AssistantsService("https://127.0.0.1:1/v1", session=session)
    with pytest.raises(gpt.ConfigurationError, match=r"nowhere\.pem"):
        service.create_thread()


@pytest.mark.parametrize("of", ["verify", "cert"])
def test_file_without_certificates_is_told(
    session: requests.Session, authority: Authority, tmp_path: Path, of: str
) -> None:
    """A file that holds no certificates is a matter of configuration, and no outage."""
    path = tmp_path / "empty.pem"
    path.write_text("none")
    session.verify = authority.path
    setattr(session, of, str(path))
    with TlsStub(authority, table({})) as stub:
        service = gpt.AssistantsService(stub.base_url, session=session)
        with pytest.raises(gpt.ConfigurationError, match="holds none that can be read"):
            service.create_thread()


def test_package_for_socks_is_named(stub: StubServer, session: requests.Session) -> None:
    """A SOCKS proxy without the package that it needs is told with the remedy."""
    session.proxies["http"] = "socks5://127.0.0.1:1"
    with pytest.raises(gpt.ConfigurationError, match=r"pip install 'requests\[socks\]'"):
        created(stub, session)


# what stays the program's


def test_session_is_not_changed(stub: StubServer, session: requests.Session) -> None:
    """A program's session is as it was before, whatever was sent with it."""
    names = ("headers", "auth", "proxies", "hooks", "params", "verify", "cert", "trust_env")
    before = {name: copy.copy(getattr(session, name)) for name in names}
    adapters = dict(session.adapters)
    created(stub, session, api_key="sk-1", headers={"X-Test": "1"})
    assert {name: getattr(session, name) for name in names} == before
    assert dict(session.adapters) == adapters


def test_session_is_not_closed(stub: StubServer, session: requests.Session) -> None:
    """A service that is closed leaves a program's connections open."""
    service = gpt.AssistantsService(stub.base_url, session=session)
    service.create_thread()
    service.close()
    session.post(f"{stub.base_url}/threads", json={}, timeout=PATIENCE)
    assert stub.connections == 1


def test_what_is_no_session_is_refused() -> None:
    """What is passed as a session must be one."""
    wrong: Any = HTTPAdapter()
    with pytest.raises(gpt.ConfigurationError, match=r"session must be a requests\.Session"):
        gpt.ResponsesService("http://host/v1", session=wrong)


def test_services_with_other_sessions_are_equal(session: requests.Session) -> None:
    """Services are equal whatever session carries the same key, so that they share their agents."""
    with requests.Session() as other:
        one, same = (gpt.ResponsesService(BASE, "key", session=each) for each in (session, other))
        assert (one, hash(one)) == (same, hash(same))


def test_services_whose_sessions_say_who_asks_are_not_equal(session: requests.Session) -> None:
    """Sessions with credentials of their own make services that are equal by those alone."""
    session.headers["Authorization"] = "Bearer one"
    with requests.Session() as other:
        other.auth = ("somebody", "secret")
        one, same, different = (
            gpt.ResponsesService(BASE, session=each) for each in (session, session, other)
        )
        assert (one == same, one == different) == (True, False)
        assert "Bearer" not in repr(one.identity)
        assert "secret" not in repr(different.identity)


def test_identity_does_not_change_with_the_session(session: requests.Session) -> None:
    """A service stays equal to itself, whatever becomes of its session."""
    service = gpt.ResponsesService(BASE, "key", session=session)
    before = service.identity
    session.auth = ("somebody", "secret")
    assert service.identity == before


def test_session_needs_no_key_for_openai(session: requests.Session) -> None:
    """A session that carries credentials is enough where a key is needed."""
    session.headers["Authorization"] = "Bearer of-the-session"
    service = gpt.ResponsesService(session=session)
    assert service.base_url == "https://api.openai.com/v1"


@forks
def test_child_leaves_the_connections_of_a_session_to_its_parent(
    stub: StubServer, session: requests.Session
) -> None:
    """A forked child that uses the program's session opens connections of its own."""
    service = gpt.AssistantsService(stub.base_url, session=session)
    service.create_thread()
    assert in_forked_child(lambda: service.create_thread() == "thread_1")
    service.create_thread()
    assert stub.connections == 2


# sessions of ours


def test_cookies_are_not_kept(make_stub: MakeStub) -> None:
    """A cookie of one request does not go with the next one, which may be another user's."""
    answer = Response(THREAD, headers={"Set-Cookie": "user=alice; Path=/"})
    stub = make_stub(table({"POST /threads": [answer]}))
    service = gpt.AssistantsService(stub.base_url, "key")
    service.create_thread()
    service.create_thread()
    assert ["cookie" in request.headers for request in stub.requests] == [False, False]


def test_burst_leaves_few_connections(make_stub: MakeStub) -> None:
    """Of the connections of a burst few stay open when it is over."""
    many = 60
    together = threading.Barrier(many)

    def answer(request: Request) -> Response:
        together.wait(PATIENCE)
        return Response(THREAD)

    stub = make_stub(answer)
    service = gpt.AssistantsService(stub.base_url, "key")
    with ThreadPoolExecutor(many) as callers:
        assert len(list(callers.map(lambda _: service.create_thread(), range(many)))) == many
    assert stub.connections == many
    assert stub.wait_for_open(IDLE_CONNECTIONS, PATIENCE)
    service.close()
