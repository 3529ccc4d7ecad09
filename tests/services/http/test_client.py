"""Requests over HTTP: repeats, errors, connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import attrs
import pytest

from gpt_agent_sync.errors import (
    AuthenticationError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.services.http.answers import Answer, read_retry_after
from gpt_agent_sync.services.http.client import HttpClient, Limits
from gpt_agent_sync.services.http.errors import error_from_answer, read_error
from gpt_agent_sync.services.http.repeats import LONGEST_BACKOFF, backoff
from tests.support.forks import forks, in_forked_child
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, error, table

MakeStub = Callable[[Answerer], StubServer]


class Pauses:
    """A pause that takes no time, and keeps what was asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        """Keep a pause."""
        self.seconds.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    """Return a keeper of pauses."""
    return Pauses()


def client(retries: int = 2, read_timeout: float = 5.0, trust: bool = True) -> HttpClient:
    """Return a client."""
    return HttpClient(
        lambda: {"X-Test": "1"},
        lambda: Limits(1.0, read_timeout, retries),
        trust_environment=trust,
    )


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_read_is_repeated(make_stub: MakeStub, pauses: Pauses, status: int) -> None:
    """A read that fails in passing is repeated until it is answered."""
    stub = make_stub(
        table({"GET /x": [error(status, "no"), error(status, "no"), Response({"a": 1})]})
    )
    assert client().get(f"{stub.base_url}/x", pause=pauses).data == {"a": 1}
    assert len(stub.requests) == 3


@pytest.mark.parametrize("status", [409, 425])
def test_read_that_came_at_a_bad_moment_is_repeated(
    make_stub: MakeStub, pauses: Pauses, status: int
) -> None:
    """A read that meets a conflict, or comes too early, is repeated; a write is not."""
    stub = make_stub(
        table(
            {"GET /x": [error(status, "no"), Response({"a": 1})], "POST /x": [error(status, "no")]}
        )
    )
    assert client().get(f"{stub.base_url}/x", pause=pauses).data == {"a": 1}
    with pytest.raises(RequestRejectedError):
        client().post(f"{stub.base_url}/x", {}, pause=pauses)
    assert stub.lines == ["GET /x", "GET /x", "POST /x"]


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize("body", [b"<html>", b'{"a": ', b"", b"[]"])
def test_unreadable_answer_is_read_again(make_stub: MakeStub, pauses: Pauses, body: bytes) -> None:
    """An answer that is no JSON object, a proxy's page say, is asked for again."""
    stub = make_stub(table({"GET /x": [Response(body, headers=HTML), Response({"a": 1})]}))
    assert client().get(f"{stub.base_url}/x", pause=pauses).data == {"a": 1}


def test_unreadable_answer_to_a_write_is_in_doubt(make_stub: MakeStub, pauses: Pauses) -> None:
    """A write whose answer cannot be read may have been done, and is not sent again blindly."""
    stub = make_stub(table({"POST /x": [Response(b"<html>", headers=HTML)]}))
    with pytest.raises(ProtocolError) as failed:
        client().post(f"{stub.base_url}/x", {}, pause=pauses)
    assert (failed.value.in_doubt, len(stub.requests)) == (True, 1)


def test_unreadable_answer_to_a_write_is_looked_for(make_stub: MakeStub, pauses: Pauses) -> None:
    """A write whose answer cannot be read is done when what it made is found."""
    stub = make_stub(table({"POST /x": [Response(b"<html>", headers=HTML)]}))
    found = client().post(f"{stub.base_url}/x", {}, find=lambda: "made", pause=pauses)
    assert (found, len(stub.requests)) == ("made", 1)


@pytest.mark.parametrize(
    "headers, seconds", [({"Retry-After": "3"}, 3.0), ({"retry-after-ms": "250"}, 0.25)]
)
def test_retry_after_is_kept_on_503(
    make_stub: MakeStub, pauses: Pauses, headers: dict[str, str], seconds: float
) -> None:
    """A service that is away, and says for how long, is asked again after that."""
    away = attrs.evolve(error(503, "maintenance"), headers=headers)
    stub = make_stub(table({"GET /x": [away, Response({"a": 1})]}))
    client().get(f"{stub.base_url}/x", pause=pauses)
    assert pauses.seconds == [seconds]


def test_read_survives_a_broken_connection(make_stub: MakeStub, pauses: Pauses) -> None:
    """A read whose connection breaks is repeated."""
    stub = make_stub(table({"GET /x": [HangUp, Response({"a": 1})]}))
    assert client().get(f"{stub.base_url}/x", pause=pauses).data == {"a": 1}


def test_read_fails_after_its_retries(make_stub: MakeStub, pauses: Pauses) -> None:
    """A read is repeated as often as allowed and no more."""
    stub = make_stub(table({"GET /x": [error(500, "no")]}))
    with pytest.raises(ServiceUnavailableError) as failed:
        client(retries=3).get(f"{stub.base_url}/x", pause=pauses)
    assert failed.value.status == 500
    assert len(stub.requests) == 4


def test_pauses_grow(make_stub: MakeStub, pauses: Pauses) -> None:
    """Each pause may be twice as long as the one before, with jitter."""
    stub = make_stub(table({"GET /x": [error(500, "no")]}))
    with pytest.raises(ServiceUnavailableError):
        client(retries=3).get(f"{stub.base_url}/x", pause=pauses)
    for place, seconds in enumerate(pauses.seconds):
        assert 0.25 * 2**place <= seconds <= 0.5 * 2**place


def test_backoff_is_bounded() -> None:
    """However many tries there were, the pause has an upper bound."""
    assert backoff(1000) <= LONGEST_BACKOFF


@pytest.mark.parametrize("headers", [{"Retry-After": "3"}, {"retry-after-ms": "3000"}])
def test_retry_after_is_kept(make_stub: MakeStub, pauses: Pauses, headers: dict[str, str]) -> None:
    """The pause that the service asks for is taken."""
    stub = make_stub(
        table({"GET /x": [Response({}, status=429, headers=headers), Response({"a": 1})]})
    )
    client().get(f"{stub.base_url}/x", pause=pauses)
    assert pauses.seconds == [3.0]


def test_long_retry_after_is_told(make_stub: MakeStub, pauses: Pauses) -> None:
    """A pause too long to sit out is told, with its length."""
    stub = make_stub(table({"GET /x": [Response({}, status=429, headers={"Retry-After": "3600"})]}))
    with pytest.raises(RateLimitError) as limited:
        client().get(f"{stub.base_url}/x", pause=pauses)
    assert limited.value.retry_after == 3600.0
    assert pauses.seconds == []


def test_used_up_quota_is_not_repeated(make_stub: MakeStub, pauses: Pauses) -> None:
    """No repeat mends an empty account."""
    stub = make_stub(table({"GET /x": [error(429, "pay", code="insufficient_quota")]}))
    with pytest.raises(RateLimitError):
        client().get(f"{stub.base_url}/x", pause=pauses)
    assert len(stub.requests) == 1


def test_write_is_repeated_when_it_was_not_handled(make_stub: MakeStub, pauses: Pauses) -> None:
    """A write that was turned away by a rate limit is repeated."""
    stub = make_stub(table({"POST /x": [error(429, "slow"), Response({"a": 1})]}))
    made = client().post(f"{stub.base_url}/x", {}, pause=pauses)
    assert isinstance(made, Answer)
    assert len(stub.requests) == 2


@pytest.mark.parametrize("answer", [HangUp, error(500, "no"), error(408, "slow")])
def test_write_that_may_have_been_handled_is_not_repeated(
    make_stub: MakeStub, pauses: Pauses, answer: Response | type[Exception]
) -> None:
    """Without a way to look, a write in doubt fails, and says that it is in doubt."""
    stub = make_stub(table({"POST /x": [answer]}))
    with pytest.raises(ServiceUnavailableError) as failed:
        client().post(f"{stub.base_url}/x", {}, pause=pauses)
    assert failed.value.in_doubt
    assert len(stub.requests) == 1


def test_write_in_doubt_that_is_found_is_done(make_stub: MakeStub, pauses: Pauses) -> None:
    """What a look finds is the answer."""
    stub = make_stub(table({"POST /x": [HangUp]}))
    assert client().post(f"{stub.base_url}/x", {}, find=lambda: "it", pause=pauses) == "it"


def unused_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_unreachable_service_is_told(pauses: Pauses) -> None:
    """A service that cannot be reached is told with its address, and no doubt about the write."""
    url = f"http://127.0.0.1:{unused_port()}/v1/x"
    with pytest.raises(ServiceUnavailableError, match=url) as failed:
        client().post(url, {}, pause=pauses)
    assert not failed.value.in_doubt
    assert len(pauses.seconds) == 2


def test_silent_service_is_told(make_stub: MakeStub, pauses: Pauses) -> None:
    """A service that says nothing within the read timeout is told as such."""
    release = threading.Event()

    def answer(request: Request) -> Response:
        release.wait(10)
        return Response()

    stub = make_stub(answer)
    with pytest.raises(ServiceUnavailableError, match="Timeout"):
        client(retries=0, read_timeout=0.1).get(f"{stub.base_url}/x", pause=pauses)
    release.set()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1]", b"", b'"text"'])
def test_answer_that_is_no_object_is_a_protocol_error(make_stub: MakeStub, body: bytes) -> None:
    """An answer that is not a JSON object names the request."""
    stub = make_stub(table({"GET /x": [Response(body, headers={"Content-Type": "text/html"})]}))
    with pytest.raises(ProtocolError, match=r"GET .*/x .*not a JSON object"):
        client(retries=0).get(f"{stub.base_url}/x")


def test_redirect_is_not_followed(make_stub: MakeStub) -> None:
    """A redirect, which could carry the key elsewhere, is an error."""
    stub = make_stub(table({"GET /x": [Response({}, status=302, headers={"Location": "/y"})]}))
    with pytest.raises(ProtocolError, match="redirect"):
        client().get(f"{stub.base_url}/x")


def test_connections_are_kept(make_stub: MakeStub) -> None:
    """One request after the other uses one connection."""
    stub = make_stub(table({"GET /x": [Response()]}))
    shared = client()
    for _ in range(5):
        shared.get(f"{stub.base_url}/x")
    assert stub.connections == 1
    shared.close()


def test_threads_share_connections(make_stub: MakeStub) -> None:
    """Many threads at once get each their own answer, over no more connections than threads."""

    def echo(request: Request) -> Response:
        return Response({"n": request.query["n"]})

    stub = make_stub(echo)
    shared = client()
    got: dict[int, str] = {}

    def ask(number: int) -> None:
        for _ in range(5):
            got[number] = shared.get(f"{stub.base_url}/x", {"n": number}).data["n"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: str(number) for number in range(20)}
    assert stub.connections <= 20
    shared.close()


@forks
def test_child_uses_connections_of_its_own(make_stub: MakeStub) -> None:
    """After a fork the child opens its own connection, and the parent's still works."""
    stub = make_stub(table({"GET /x": [Response({"a": 1})]}))
    shared = client()
    shared.get(f"{stub.base_url}/x")
    assert in_forked_child(lambda: shared.get(f"{stub.base_url}/x").data == {"a": 1})
    shared.get(f"{stub.base_url}/x")
    assert stub.connections == 2
    shared.close()


def test_proxy_of_the_environment_is_used(
    make_stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names a proxy, requests go through it."""
    seen: list[str] = []

    def answer(request: Request) -> Response:
        seen.append(request.headers["host"])
        return Response()

    stub = make_stub(answer)
    monkeypatch.setenv("HTTP_PROXY", stub.base_url.removesuffix("/v1"))
    client().get("http://service.invalid/v1/x")
    assert seen == ["service.invalid"]


def test_environment_is_left_alone_on_request(
    make_stub: MakeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client told not to trust the environment uses no proxy."""
    stub = make_stub(table({"GET /x": [Response({"a": 1})]}))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    assert client(trust=False).get(f"{stub.base_url}/x").data == {"a": 1}


@pytest.mark.parametrize(
    "status, code, message, expected",
    [
        (400, None, "Can't add messages to t while a run r is active.", ServiceBusyError),
        (400, None, "Thread t already has an active run r.", ServiceBusyError),
        (400, "conversation_locked", "Another process is", ServiceBusyError),
        (
            409,
            None,
            "Another process is currently operating on this conversation.",
            ServiceBusyError,
        ),
        (400, None, "bad", RequestRejectedError),
        (404, None, "gone", RequestRejectedError),
        (422, None, "bad", RequestRejectedError),
        (401, None, "key", AuthenticationError),
        (403, None, "key", AuthenticationError),
        (408, None, "slow", ServiceUnavailableError),
        (429, None, "slow", RateLimitError),
        (500, None, "oops", ServiceUnavailableError),
        (500, None, "Pagination is not yet implemented", RequestRejectedError),
        (501, None, "no", RequestRejectedError),
        (503, None, "busy", ServiceUnavailableError),
        (302, None, "moved", ProtocolError),
    ],
)
def test_refusal_is_told_by_its_kind(
    status: int, code: str | None, message: str, expected: type[ServiceError]
) -> None:
    """Status, code and words decide which error a refusal is."""
    data = {"error": {"message": message, "code": code}}
    refused = error_from_answer("GET /x", status, data, "", request_id="req_1")
    assert type(refused) is expected
    assert (refused.status, refused.code, refused.request_id) == (status, code, "req_1")


@pytest.mark.parametrize(
    "message, run_id",
    [
        ("Can't add messages to t while a run run_9 is active.", "run_9"),
        ("Thread t already has an active run run_9.", "run_9"),
        ("there is something while a run goes on", None),
    ],
)
def test_live_run_is_read_out_of_the_refusal(message: str, run_id: str | None) -> None:
    """A busy refusal that names the run gives its id."""
    refused = error_from_answer("GET /x", 400, {"error": {"message": message}}, "")
    assert isinstance(refused, ServiceBusyError)
    assert refused.run_id == run_id


@pytest.mark.parametrize(
    "data, expected",
    [
        (None, (None, None)),
        ({"error": {"message": "m", "code": "c"}}, ("c", "m")),
        ({"error": {"message": "m", "code": 7}}, ("7", "m")),
        ({"error": "m"}, (None, "m")),
        ({"detail": "m"}, (None, "m")),
        (
            {"detail": [{"loc": ["body", 0], "msg": "Field required", "input": "hello"}]},
            (None, "body.0: Field required"),
        ),
        (
            {"detail": [{"loc": "x", "type": "missing"}, "?", {"type": "odd"}]},
            (None, "x: missing; None: odd"),
        ),
        ({"message": "m", "code": "c"}, ("c", "m")),
        ({}, (None, None)),
    ],
)
def test_error_bodies_are_read(
    data: dict[str, object] | None, expected: tuple[str | None, str | None]
) -> None:
    """Whatever shape a server gives its errors, code and message are found."""
    assert read_error(data) == expected


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({}, None),
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 +99999999999999999999"}, None),
        ({"retry-after": "Thu, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "2"}, 2.0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates are read; what is none of them is passed over."""
    assert read_retry_after(headers, 1000.0) == seconds
