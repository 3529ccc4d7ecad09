"""Events of a thread as server-sent events, in Flask and in Django, over real HTTP."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, current_app, g

import gpt_agent_sync as gpt
from gpt_agent_sync.contrib.flask import chat_blueprint
from gpt_agent_sync.contrib.web import event_streams
from gpt_agent_sync.contrib.web.event_streams import EventLines, end_event_streams, write_event
from gpt_agent_sync.contrib.web.showing import show_to_users
from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply, ScriptedService
from tests.plugins.services import WIRES
from tests.plugins.web import MakeSite, everybody
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer
from tests.support.web_sites import PATIENCE, SentEvent, Site, open_streams, read_events, read_until


def names(sent: list[SentEvent]) -> list[str]:
    """Return the kinds of events, those of one kind in a row as one."""
    return [name for name, _ in itertools.groupby(type(each.event).__name__ for each in sent)]


@pytest.mark.parametrize("wire", WIRES)
def test_conversation_with_a_tool_call(make_site: MakeSite, make_server: Any, wire: str) -> None:
    """Its events come in order, text as it arrives."""

    @gpt.tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server: ScriptedServer = make_server([CallTools(("add", {"a": 2, "b": 3})), Reply("five")])
    site = make_site(service=WIRES[wire](server.base_url, "key"))
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "What is 2 + 3?")
        events = read_until(response, gpt.AssistantMessageAdded)
    assert names(events) == [
        "UserMessageAdded",
        "RunStarted",
        "ToolCallRequested",
        "ToolCallOutputRecorded",
        "AssistantMessageDelta",
        "RunCompleted",
        "AssistantMessageAdded",
    ]


def test_head_of_a_stream(site: Site) -> None:
    """It is what browsers ask for, and no proxy keeps it back."""
    with site.listen(site.create_thread()) as response:
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"


def test_events_have_their_cursors(site: Site) -> None:
    """As the ids that a browser comes back with."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "hello")
        events = read_until(response, gpt.AssistantMessageAdded)
    assert [sent.place for sent in events] == [sent.event.cursor for sent in events]
    assert len({sent.place for sent in events}) == len(events)


@pytest.mark.parametrize("how", ["header", "address", "both"])
def test_returning_page_is_told_what_it_missed(site: Site, how: str) -> None:
    """From the last event on that it saw; the header is newer than the address."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "one")
        first, *others = read_until(response, gpt.AssistantMessageAdded)
    newer = {"Last-Event-ID": first.place} if how != "address" else {}
    older = first.place if how == "address" else ("1-1" if how == "both" else None)
    with site.listen(thread_id, older, **newer) as response:
        assert read_until(response, gpt.AssistantMessageAdded) == others


def test_page_opened_in_the_middle_of_a_turn(make_site: MakeSite) -> None:
    """Is told of it from its beginning, and of no former turn."""
    service = ScriptedService([Reply("one"), Hold(Reply("two"))])
    site = make_site(service=service)
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "first")
        read_until(response, gpt.AssistantMessageAdded)
    site.say(thread_id, "second")
    with site.listen(thread_id) as response:
        service.release()
        events = [sent.event for sent in read_until(response, gpt.AssistantMessageAdded)]
    assert isinstance(events[0], gpt.UserMessageAdded)
    assert events[0].content == "second"
    assert isinstance(events[-1], gpt.AssistantMessageAdded)
    assert events[-1].content == "two"


def test_gap_is_told(site: Site) -> None:
    """A page that comes back too late is told that something is missing."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "one")
        first = read_until(response, gpt.AssistantMessageAdded)[0]
    log = gpt.connect(thread_id).backplane._process.get().logs  # type: ignore[attr-defined]
    (kept,) = log.values()
    kept.entries.popleft()
    kept.entries.popleft()
    with site.listen(thread_id, first.place) as response:
        missed = next(read_events(response)).event
    assert isinstance(missed, gpt.EventsMissed)


def test_silent_stream_says_that_it_is_alive(make_site: MakeSite) -> None:
    """By a comment each heartbeat."""
    site = make_site(heartbeat=0.05)
    with site.listen(site.create_thread()) as response:
        lines = (line.decode() for line in response.iter_lines(chunk_size=1) if line)
        told = list(itertools.islice(lines, 3))
    assert told == ["retry: 1000", ": alive", ": alive"]


def test_stream_of_a_client_that_went_away_is_closed(make_site: MakeSite) -> None:
    """Nobody listens any more once the client's connection is gone."""
    site = make_site(heartbeat=0.05)
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        next(response.iter_lines(chunk_size=1))
        assert open_streams() == 1
    assert site.stream_closed.wait(PATIENCE)
    wait_for(open_streams, lambda number: number == 0, timeout=PATIENCE)


def test_server_that_stops_ends_its_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are open, and those that are opened while it stops."""
    monkeypatch.setattr(event_streams, "_open", event_streams._OpenStreams())
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        end_event_streams()
        assert response.content.strip() == b"retry: 1000"
    with site.listen(thread_id) as response:
        assert response.content.strip() == b"retry: 1000"


def test_stream_outlives_its_agent(site: Site) -> None:
    """An agent that stopped for idleness is there again when its thread has a turn."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        gpt.connect(thread_id).shutdown()
        site.say(thread_id, "hello")
        events = read_until(response, gpt.AssistantMessageAdded)
    assert names(events)[0] == "UserMessageAdded"
    assert "AgentStopped" not in names(events)


def open_lines(connect: Callable[[str], gpt.Agent], thread_id: str, **options: Any) -> EventLines:
    """Return a stream that somebody reads."""
    given = {"show_event": show_to_users, "heartbeat": 0.05, "stream_time": 60.0, **options}
    return EventLines(connect(thread_id), connect, None, **given)


def test_stream_ends_when_its_time_is_up(make_site: MakeSite) -> None:
    """The browser comes back, and is authorized anew."""
    asked: list[str | None] = []

    def authorize(request: object, thread_id: str | None) -> bool:
        asked.append(thread_id)
        return asked.count(thread_id) < 3 or thread_id is None

    site = make_site(authorize=authorize, stream_time=0.1)
    thread_id = site.create_thread()
    for _ in range(2):
        with site.listen(thread_id) as response:
            assert response.content.startswith(b"retry: 1000")
    with site.listen(thread_id) as response:
        assert response.status_code == 403


def test_stream_that_nobody_reads_holds_nothing() -> None:
    """A framework may drop an answer before it has begun to read it."""
    service = ScriptedService()
    thread_id = gpt.create_thread(service=service)
    lines = open_lines(lambda thread_id: gpt.connect(thread_id, service=service), thread_id)
    backplane = lines._agent.backplane
    (log,) = backplane._process.get().logs.values()  # type: ignore[attr-defined]
    assert len(log.listeners) == 1
    del lines
    gc.collect()
    assert log.listeners == ()


def test_words_of_services_and_exceptions_are_not_shown(make_site: MakeSite) -> None:
    """They tell of hosts and accounts; the event says what happened in words of its own."""

    @gpt.tool
    def look_up() -> str:
        """Fail."""
        raise RuntimeError("could not connect to db.internal")

    site = make_site([CallTools(("look_up", {})), Fail("server_error", "org-1 on 10.0.0.3")])
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "hello")
        events = [sent.event for sent in read_until(response, gpt.RunFailed)]
    told = {type(event): event for event in events}
    failed, ended = told[gpt.ToolCallFailed], told[gpt.RunFailed]
    assert isinstance(failed, gpt.ToolCallFailed)
    assert isinstance(ended, gpt.RunFailed)
    assert (failed.message, ended.message) == ("the tool failed", "the assistant met an error")
    assert (ended.code, ended.cursor) == ("server_error", events[-1].cursor)


@pytest.mark.parametrize(
    "status, code, words",
    [
        ("expired", None, "it took too long"),
        ("failed", "rate_limit_exceeded", "the assistant is busy"),
        ("incomplete", "max_completion_tokens", "it was cut off"),
    ],
)
def test_reasons_that_are_known_have_words(status: str, code: str | None, words: str) -> None:
    """For those that users can do something about."""
    event = gpt.RunFailed(
        thread_id="t", id="r", assistant_id="a", status=status, code=code, message="secret"
    )
    shown = show_to_users(event)
    assert isinstance(shown, gpt.RunFailed)
    assert shown.message == words


def test_program_says_what_is_shown(make_site: MakeSite) -> None:
    """By a hook that returns an event, or nothing."""

    def show(event: gpt.Event) -> gpt.Event | None:
        return event if isinstance(event, gpt.AssistantMessageAdded) else None

    site = make_site([Reply("hi")], show_event=show)
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "hello")
        events = read_until(response, gpt.AssistantMessageAdded)
    assert names(events) == ["AssistantMessageAdded"]


def test_hook_connects_in_the_requests_context() -> None:
    """And in the application's, where the request is over when a stream connects again."""
    app = Flask("site")
    service = ScriptedService([Reply("hi")])
    seen: list[str] = []

    def connect(thread_id: str) -> gpt.Agent:
        seen.append(f"{current_app.name} {g.get('user', 'nobody')}")
        return gpt.connect(thread_id, "asst", service=service)

    app.register_blueprint(chat_blueprint(authorize=everybody, connect=connect, heartbeat=0.05))
    app.before_request(lambda: setattr(g, "user", "ada"))
    thread_id = gpt.create_thread(service=service)
    with app.test_client().get(f"/threads/{thread_id}/events") as response:
        stream = response.iter_encoded()
        next(stream)
        gpt.connect(thread_id, service=service).shutdown()
        gpt.connect(thread_id, "asst", service=service).ask("hello", timeout=PATIENCE)
        gpt.connect(thread_id, service=service).shutdown()
        for _ in range(3):
            next(stream)
    assert seen == ["site ada", "site nobody"]


@pytest.mark.parametrize("number, text", [("NaN", "nan"), ("Infinity", "inf")])
def test_numbers_that_json_does_not_have_are_texts(number: str, text: str) -> None:
    """Python reads them in what a model writes; browsers would refuse the event."""
    arguments = json.loads(f'{{"a": [{number}], "b": 1.5}}')
    event = gpt.ToolCallRequested(thread_id="t", id="c", run_id="r", name="f", arguments=arguments)
    data = json.loads(write_event(event).decode().partition("data: ")[2], parse_constant=float)
    assert data["arguments"] == {"a": [text], "b": 1.5}


def test_agent_is_connected_again_for_a_turn_elsewhere() -> None:
    """So that this process can go on with it when the one that began it is gone."""
    service = ScriptedService([Reply("hi")])
    thread_id = gpt.create_thread(service=service)
    made: list[gpt.Agent] = []

    def connect(thread_id: str) -> gpt.Agent:
        made.append(gpt.connect(thread_id, "asst", service=service))
        return made[-1]

    lines = open_lines(connect, thread_id)
    made[0].shutdown()
    other = gpt.connect(thread_id, "asst", service=service)
    other.ask("hello", timeout=PATIENCE)
    for _ in range(3):  # the third look comes after the turn was told
        next(lines)
    lines.close()
    assert made[1:] == [other]


@pytest.mark.parametrize("error", [gpt.ServiceUnavailableError("away"), RuntimeError("away")])
def test_agent_that_cannot_be_had_again_ends_no_stream(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the program's hook raises is logged, and the events go on."""
    service = ScriptedService([Reply("hi")])
    thread_id = gpt.create_thread(service=service)
    agents = [gpt.connect(thread_id, "asst", service=service)]

    def connect(thread_id: str) -> gpt.Agent:
        if agents:
            return agents.pop()
        raise error

    lines = open_lines(connect, thread_id)
    gpt.connect(thread_id, service=service).shutdown()
    gpt.connect(thread_id, "asst", service=service).ask("hello", timeout=PATIENCE)
    written = next(lines) + next(lines)
    assert b"UserMessageAdded" in written
    assert next(lines) == b": alive\n\n"
    lines.close()
    assert "followed without an agent" in caplog.text
    assert "away" in caplog.text


@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nb", "a\rb", "a\u2028b", "data: x\n\nid: 7", "\ud800"]
)
def test_event_is_one_line(text: str) -> None:
    """Whatever is in it, so that it neither ends early nor forges another."""
    event = gpt.AssistantMessageDelta(thread_id="t", message_id="m", run_id="r", text=text)
    written = write_event(event).decode()
    assert written.endswith("\n\n")
    assert len(written.rstrip("\n").replace("\r", "\n").split("\n")) == 1


def test_event_without_a_place_has_no_id() -> None:
    """A browser then comes back with the one before it."""
    event = gpt.AgentStopped(thread_id="t", reason="idle")
    assert write_event(event).startswith(b"data: ")
