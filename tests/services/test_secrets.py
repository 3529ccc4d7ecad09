"""Tests of keys and other secrets: whatever goes wrong, nothing shows them."""

from __future__ import annotations

import functools
import html
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import gpt_agent_sync as gpt
from tests.support.event_streams import DONE, ResponseEvents, event
from tests.support.leaks import shown_by, shown_by_logs
from tests.support.stub import Answerer, Request, Response, StubServer, listing, stream

MakeStub = Callable[[Answerer], StubServer]

CORE = "4711hidden"
"""Is in every secret here, however that is written."""

KEY = f'sk-"/<&>\\{CORE}'
SECRETS: dict[str, dict[str, Any]] = {
    "key": {"api_key": KEY},
    "short": {"api_key": CORE[:7]},
    "token": {"auth": lambda: KEY},
    "header": {"headers": {"X-Gateway": KEY}},
    "authorization": {"headers": {"authorization": f"Bearer {KEY}"}},
    "cookie": {"headers": {"Cookie": f"id=7; session={KEY}"}},
}


def echo(request: Request) -> str:
    """Return all that came with a request: the whole, and each part by itself."""
    headers = [
        value
        for name, value in request.headers.items()
        if name.lower() in ("authorization", "x-gateway", "cookie")
    ]
    parts = [value.rpartition(" ")[2].rpartition("=")[2] for value in headers]
    return " ".join([*headers, *parts])


def said(request: Request) -> dict[str, Any]:
    """Return an error's body that echoes in every field."""
    text = f"who is {echo(request)}?"
    return {"error": {"message": text, "code": text, "type": text, "param": {"in": [text]}}}


def refuse(status: int, request: Request) -> Response:
    """Answer with an error that echoes, in its headers too."""
    headers = {"x-request-id": quote(echo(request)), "Retry-After": "0"}
    return Response(said(request), status, headers)


ANSWERS: dict[str, Callable[[Request], Response]] = {
    **{
        f"{status}": functools.partial(refuse, status)
        for status in (302, 400, 401, 403, 404, 409, 429, 500, 501)
    },
    "detail": lambda request: Response({"detail": [{"input": echo(request)}]}, 422),
    "text": lambda request: Response(f"<p>{html.escape(echo(request))}".encode(), 502),
    "page": lambda request: Response(
        f"<html>{'x' * 150}{html.escape(echo(request))}".encode(),
        headers={"Content-Type": f"text/html; of={quote(echo(request))}"},
    ),
    "half": lambda request: Response(json.dumps(said(request))[:-3].encode()),
    "list": lambda request: Response([echo(request)]),
    "no id": lambda request: Response(
        {"object": echo(request)}, headers={"x-request-id": quote(echo(request))}
    ),
    "escaped": lambda request: Response(
        json.dumps(said(request)).replace("/", "\\/").encode(), 400
    ),
}


@pytest.fixture
def quick(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Have requests that fail repeated once, and everything logged."""
    caplog.set_level(logging.DEBUG)
    gpt.configure(http_retries=1, rate_limit_retries=0, heartbeat_interval=0.05)
    return caplog


def failures(service: gpt.Service) -> Iterator[BaseException]:
    """Yield what fails of a service whose server fails."""
    calls: list[Callable[[], object]] = [
        service.create_thread,
        lambda: gpt.connect("thread_1", "assistant_1", service=service),
    ]
    for call in calls:
        with pytest.raises(gpt.GptAgentError) as caught:
            call()
        yield caught.value


def assert_hidden(texts: Iterator[str]) -> None:
    """Check that no text has a secret in it."""
    found = [text for text in texts if CORE in text or CORE[:7] in text]
    assert not found, found


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("service_class", [gpt.AssistantsService, gpt.ResponsesService])
def test_no_failure_shows_a_secret(
    make_stub: MakeStub,
    short_pauses: None,
    quick: pytest.LogCaptureFixture,
    service_class: Any,
    secret: str,
    answer: Callable[[Request], Response],
) -> None:
    """What a service echoes is in no error, log, pickle or variable of a traceback."""
    service = service_class(make_stub(answer).base_url, **SECRETS[secret])
    for error in failures(service):
        assert_hidden(shown_by(error))
    assert quick.records
    assert_hidden(shown_by_logs(quick.records))


def run_of(request: Request, path: str) -> Any:
    """Answer what a turn asks for besides its run, on either wire."""
    if request.path.endswith(("/runs", "/messages", "/items")) and request.method == "GET":
        return listing()
    if path in ("POST /threads/t/messages", "POST /conversations/c/items"):
        return Response({"id": "msg_1", "role": "user", "content": []})
    return Response({"id": request.path.rpartition("/")[2], "metadata": {}, "tools": []})


FAILED: dict[str, Callable[[Any], Response]] = {
    "polled": lambda error: Response(
        {"id": "r", "status": "failed", "last_error": error, "error": error}
    ),
    "event of the run": lambda error: stream(
        event("thread.run.created", {"id": "r", "status": "queued"}),
        event("thread.run.failed", {"id": "r", "status": "failed", "last_error": error}),
        DONE,
    ),
    "event of the response": lambda error: stream(
        ResponseEvents("r").response("queued"),
        ResponseEvents("r").response("failed", error=error),
    ),
    "error": lambda error: stream(event("error", {"error": error})),
    "error of a type": lambda error: stream(event("", {"type": "error", **error})),
    "wrapped error": lambda error: stream(event("", {"event": "error", "data": {"error": error}})),
    "no JSON": lambda error: stream(event("error", f"{{{error['message']}")),
}


@pytest.mark.parametrize("failed", FAILED.values(), ids=FAILED)
@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "service_class, thread_id", [(gpt.AssistantsService, "t"), (gpt.ResponsesService, "c")]
)
def test_no_run_tells_a_secret(
    make_stub: MakeStub,
    short_pauses: None,
    quick: pytest.LogCaptureFixture,
    service_class: Any,
    thread_id: str,
    secret: str,
    failed: Callable[[Any], Response],
) -> None:
    """What a service says of a run that fails is in no event either, streamed or polled."""

    def answer(request: Request) -> Response:
        if request.line in ("POST /threads/t/runs", "POST /responses") or request.path.endswith(
            ("/r", "/cancel")
        ):
            text = f"who is {echo(request)}?"
            return failed({"code": "server_error", "message": text})
        answered: Response = run_of(request, request.line)
        return answered

    options: dict[str, Any] = dict(SECRETS[secret])
    if service_class is gpt.AssistantsService:
        options["additional_messages"] = False
    service = service_class(make_stub(answer).base_url, **options)
    events: list[gpt.Event] = []
    agent = gpt.connect(thread_id, "a", service=service, on_event=events.append)
    with pytest.raises(gpt.GptAgentError) as caught:
        agent.ask("hello", timeout=20)
    assert_hidden(iter([repr(events), repr(pickle.dumps(events))]))
    assert_hidden(shown_by(caught.value))
    assert_hidden(shown_by_logs(quick.records))


UPSTREAM: dict[str, Callable[[Request], Response]] = {
    **{f"{status}": functools.partial(refuse, status) for status in (302, 400, 401, 404, 429, 500)},
    "page": lambda request: Response(f"<html>{html.escape(echo(request))}".encode()),
    "error": lambda request: Response(said(request)),
    "event": lambda request: stream(event("", said(request))),
}


@pytest.mark.parametrize("answer", UPSTREAM.values(), ids=UPSTREAM)
@pytest.mark.parametrize("wire", [gpt.AssistantsService, gpt.ResponsesService])
def test_no_client_is_told_the_key_of_the_upstream(
    make_stub: MakeStub, quick: pytest.LogCaptureFixture, tmp_path: Path, wire: Any, answer: Any
) -> None:
    """What an upstream echoes reaches no client, log or file, and nor does its address."""
    stub = make_stub(answer)
    address = stub.base_url.partition("://")[2].partition("/")[0]
    local = gpt.LocalService(tmp_path / "local.db", upstream=stub.base_url, upstream_api_key=KEY)
    service = wire(local.base_url, local.api_key)
    assistant_id = gpt.create_assistant(model="far", service=service)
    events: list[gpt.Event] = []
    agent = gpt.connect(
        gpt.create_thread(service=service), assistant_id, service=service, on_event=events.append
    )
    with pytest.raises(gpt.RunFailedError) as caught:
        agent.ask("hello", timeout=20)
    agent.shutdown()
    service.close()
    local.close()
    kept = [each.read_bytes().decode("latin-1") for each in tmp_path.iterdir()]
    told = [repr(events), repr(pickle.dumps(events)), *shown_by(caught.value)]
    assert_hidden(iter([*kept, *told, repr(local.identity), *shown_by_logs(quick.records)]))
    assert not [text for text in [*kept, repr(events)] if address in text]


def test_errors_of_any_number_are_bounded(make_stub: MakeStub) -> None:
    """A service cannot have a client look for secrets without end: what comes late is not shown."""
    many = {f"field{number}": KEY for number in range(50_000)}
    stub = make_stub(lambda request: Response({"error": {**many, "message": "at the end"}}, 400))
    with pytest.raises(gpt.RequestRejectedError) as caught:
        gpt.AssistantsService(stub.base_url, KEY).create_thread()
    assert_hidden(shown_by(caught.value))
