"""The HTTP face, in Flask and in Django, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.records import Message
from gpt_agent_sync.testing import CallTools, Hold, Reply, ScriptedService
from tests.plugins.web import MakeSite
from tests.support.polling import wait_for
from tests.support.web_sites import PATIENCE, Site


def test_thread_is_created(site: Site) -> None:
    """With status 201, and its id."""
    thread_id = site.create_thread()
    assert gpt.connect(thread_id).thread_id == thread_id


def test_message_is_added(make_site: MakeSite) -> None:
    """With status 202 and its id, and its run goes on by itself."""
    site = make_site([Reply("hi")])
    thread_id = site.create_thread()
    answer = site.say(thread_id, "hello")
    assert answer.status_code == 202
    agent = gpt.connect(thread_id)
    agent.wait(PATIENCE)
    asked, said = agent.messages()
    assert (asked.id, asked.content, said.content) == (answer.json()["id"], "hello", "hi")


def test_messages_are_listed(make_site: MakeSite) -> None:
    """With what a page needs of them."""
    site = make_site([Reply("hi")])
    thread_id = site.create_thread()
    gpt.connect(thread_id, "asst").ask("hello", timeout=PATIENCE)
    listed = site.get(f"/threads/{thread_id}/messages").json()
    assert [(each["role"], each["content"]) for each in listed["messages"]] == [
        ("user", "hello"),
        ("assistant", "hi"),
    ]
    assert set(listed["messages"][0]) == {"id", "role", "content", "run_id", "created_at"}
    assert listed["running"] is False


def test_messages_are_paged(site: Site) -> None:
    """From a message on, in either order, and no more than were asked for."""
    thread_id = site.create_thread()
    agent = gpt.connect(thread_id, "asst")
    for text in ("one", "two", "three"):
        agent.ask(text, timeout=PATIENCE)
    path = f"/threads/{thread_id}/messages"
    newest = site.get(path, params={"order": "desc", "limit": 3}).json()["messages"]
    assert [each["content"] for each in newest] == ["ok", "three", "ok"]
    query = {"order": "desc", "limit": 2, "after": newest[-1]["id"]}
    before = site.get(path, params=query).json()["messages"]
    assert [each["content"] for each in before] == ["two", "ok"]


def test_run_that_is_active_is_told_with_the_messages(make_site: MakeSite) -> None:
    """So that a page knows whether there is something to stop."""
    service = ScriptedService([Hold(Reply("late"))])
    site = make_site(service=service)
    thread_id = site.create_thread()
    site.say(thread_id, "hello")
    assert site.get(f"/threads/{thread_id}/messages").json()["running"] is True
    service.release()


def test_run_is_cancelled(make_site: MakeSite) -> None:
    """With status 202, and the event follows."""
    site = make_site([Hold()])
    thread_id = site.create_thread()
    site.say(thread_id, "hello")
    assert site.post(f"/threads/{thread_id}/cancel").status_code == 202
    assert isinstance(gpt.connect(thread_id).wait(PATIENCE), gpt.RunCancelled)


@pytest.mark.parametrize("output, sent", [("sunny", "sunny"), ({"sky": "blue"}, '{"sky":"blue"}')])
def test_output_of_a_tool_call_is_taken(make_site: MakeSite, output: Any, sent: str) -> None:
    """A text as it is, anything else as JSON."""
    service = ScriptedService([CallTools(("weather", {})), Reply("done")])
    site = make_site(service=service)
    thread_id = site.create_thread()
    site.say(thread_id, "hello")
    agent = gpt.connect(thread_id)
    (call,) = wait_for(lambda: agent.state.tool_calls, bool, timeout=PATIENCE)
    recorded: list[gpt.ToolCallOutputRecorded] = []
    agent.on(gpt.ToolCallOutputRecorded, recorded.append)
    answer = site.post(f"/threads/{thread_id}/tool_calls/{call.id}/output", {"output": output})
    assert answer.status_code == 202
    agent.wait(PATIENCE)
    (event,) = recorded
    assert event.output.replace(" ", "") == sent


def test_message_is_queued(make_site: MakeSite) -> None:
    """While a run is active, where that is asked for; without an id."""
    service = ScriptedService([Hold(Reply("one")), Reply("two")])
    site = make_site(service=service)
    thread_id = site.create_thread()
    site.say(thread_id, "first")
    queued = site.say(thread_id, "second", when_busy="queue")
    assert (queued.status_code, queued.json()) == (202, {"id": None})
    service.release()
    agent = gpt.connect(thread_id)
    agent.wait(PATIENCE)
    assert [each.content for each in agent.messages()] == ["first", "one", "second", "two"]


def test_message_is_added_elsewhere(make_site: MakeSite) -> None:
    """Where the program has a hook for it, which gets request, thread and text."""
    told: list[tuple[str, str, str]] = []

    def add(request: Any, thread_id: str, content: str) -> None:
        told.append((request.path, thread_id, content))

    site = make_site(add_message=add)
    thread_id = site.create_thread()
    answer = site.say(thread_id, "hello")
    assert (answer.status_code, answer.json()) == (202, {"id": None})
    assert told == [(f"/chat/threads/{thread_id}/messages", thread_id, "hello")]


def test_program_creates_threads(make_site: MakeSite) -> None:
    """Where it has a hook for it, which gets the request."""
    asked: list[str] = []

    def create(request: Any) -> str:
        asked.append(request.path)
        return gpt.create_thread()

    site = make_site(create_thread=create)
    site.create_thread()
    assert asked == ["/chat/threads"]


# what is refused


def refused(answer: Any) -> tuple[int, str]:
    """Return the status and the kind of a refusal, which has words too."""
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "in_doubt"}
    assert error["message"]
    return answer.status_code, error["type"]


ADDRESSES = [
    ("POST", "/threads"),
    ("POST", "/threads/thread_1/messages"),
    ("GET", "/threads/thread_1/messages"),
    ("GET", "/threads/thread_1/events"),
    ("POST", "/threads/thread_1/cancel"),
    ("POST", "/threads/thread_1/tool_calls/call_1/output"),
    ("GET", "/?thread=thread_1"),
    ("GET", "/"),
]


@pytest.mark.parametrize("method, path", ADDRESSES)
@pytest.mark.parametrize("verdict", [False, None, "yes", 1])
def test_nothing_is_open(make_site: MakeSite, method: str, path: str, verdict: Any) -> None:
    """What the program does not authorize, by ``True`` and nothing else, is refused."""
    asked: list[str | None] = []
    open_for_the_token = [True]

    def authorize(request: Any, thread_id: str | None) -> Any:
        if open_for_the_token[0]:
            return True
        asked.append(thread_id)
        return verdict

    def connect(thread_id: str) -> gpt.Agent:
        raise AssertionError

    site = make_site(authorize=authorize, connect=connect)
    if method == "GET":
        open_for_the_token[0] = False
        answer = site.get(path)
    else:
        token = site.get("/").text.partition('data-csrf-token="')[2].partition('"')[0]
        open_for_the_token[0] = False
        answer = site.request(method, path, json={}, headers={"X-CSRFToken": token})
    assert refused(answer) == (403, "ForbiddenError")
    assert asked == ["thread_1" if "thread_1" in path else None]


@pytest.mark.parametrize("content", [" \n", "", None, 7, ["hello"], "a\0b"])
def test_message_that_is_no_text_is_refused(site: Site, content: Any) -> None:
    """With status 400."""
    answer = site.post(f"/threads/{site.create_thread()}/messages", {"content": content})
    assert refused(answer)[0] == 400


def test_half_of_a_character_is_refused(site: Site) -> None:
    """JSON can hold it, but no text can."""
    path = f"/threads/{site.create_thread()}/messages"
    answer = site.post(path, {"content": "a\ud800"})
    assert refused(answer) == (400, "InvalidMessageError")


@pytest.mark.parametrize("wanted", ["wait", "", 1])
def test_wait_of_a_request_is_refused(site: Site, wanted: Any) -> None:
    """It would hold a worker of the server until the run ends."""
    thread_id = site.create_thread()
    assert refused(site.say(thread_id, "hello", when_busy=wanted))[0] == 400


def raw(site: Site, path: str, data: bytes, content_type: str | None) -> Any:
    """Post anything."""
    token = site.get("/").text.partition('data-csrf-token="')[2].partition('"')[0]
    headers = {"X-CSRFToken": token, "Content-Type": content_type}
    return site.request("POST", path, data=data, headers=headers)


@pytest.mark.parametrize("body", [b"{", b"[]", b"7", b"\xff", b"[" * 5000, b'{"a":' * 300])
def test_body_that_is_no_object_is_refused(site: Site, body: bytes) -> None:
    """With status 400."""
    assert refused(raw(site, "/threads", body, "application/json")) == (400, "InvalidJsonError")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded"])
def test_other_content_types_are_refused(site: Site, kind: str) -> None:
    """Pages of other sites can send them without asking."""
    assert refused(raw(site, "/threads", b"{}", kind)) == (415, "ContentTypeError")


def test_long_body_is_refused(make_site: MakeSite) -> None:
    """With status 413, and it is not read to its end."""
    site = make_site(max_body=100)
    assert site.say(site.create_thread(), "x" * 50).status_code == 202
    answer = site.say(site.create_thread(), "x" * 100)
    assert refused(answer) == (413, "BodyTooLargeError")


@pytest.mark.parametrize("thread_id", ["a b", "..", "x" * 129, "a%2Fb", "é", "%00"])
def test_ids_are_checked(make_site: MakeSite, thread_id: str) -> None:
    """What cannot be one is not there, and nobody is asked."""
    site = make_site(authorize=lambda request, thread_id: thread_id is None)
    assert site.get(f"/threads/{thread_id}/messages").status_code == 404


def test_message_during_a_run_is_refused(make_site: MakeSite) -> None:
    """With status 409."""
    service = ScriptedService([Hold(Reply("done"))])
    site = make_site(service=service)
    thread_id = site.create_thread()
    site.say(thread_id, "first")
    answer = site.say(thread_id, "second")
    service.release()
    assert refused(answer) == (409, "RunInProgressError")


def test_cancel_without_a_run_is_refused(site: Site) -> None:
    """With status 409."""
    answer = site.post(f"/threads/{site.create_thread()}/cancel")
    assert refused(answer) == (409, "RunNotInProgressError")


def test_output_that_nothing_waits_for_is_refused(make_site: MakeSite) -> None:
    """With status 404."""
    site = make_site([CallTools(("weather", {}))])
    thread_id = site.create_thread()
    site.say(thread_id, "hello")
    agent = gpt.connect(thread_id)
    wait_for(lambda: agent.state.tool_calls, bool, timeout=PATIENCE)
    answer = site.post(f"/threads/{thread_id}/tool_calls/other/output", {"output": "x"})
    assert refused(answer) == (404, "InvalidToolCallIdError")


def test_output_of_the_programs_own_tool_is_refused(make_site: MakeSite) -> None:
    """What its handlers do is not a client's to say."""
    release = threading.Event()

    @gpt.tool
    def check_payment() -> str:
        """Check."""
        release.wait(PATIENCE)
        return "not paid"

    service = ScriptedService([CallTools(("check_payment", {})), Reply("done")])
    site = make_site(service=service)
    thread_id = site.create_thread()
    site.say(thread_id, "hello")
    agent = gpt.connect(thread_id)
    outputs: list[gpt.ToolCallOutputRecorded] = []
    agent.on(gpt.ToolCallOutputRecorded, outputs.append)
    (call,) = wait_for(lambda: agent.state.tool_calls, bool, timeout=PATIENCE)
    answer = site.post(f"/threads/{thread_id}/tool_calls/{call.id}/output", {"output": "paid"})
    release.set()
    assert refused(answer) == (403, "ForbiddenError")
    agent.wait(PATIENCE)
    assert [event.output for event in outputs] == ["not paid"]


def test_output_must_be_there(site: Site) -> None:
    """``null`` is one, nothing is none."""
    path = f"/threads/{site.create_thread()}/tool_calls/call_1/output"
    assert refused(site.post(path)) == (400, "InvalidOutputError")
    assert refused(site.post(path, {"output": None})) == (409, "RunNotInProgressError")


@pytest.mark.parametrize("method, path", [("GET", "events"), ("GET", "messages")])
def test_unknown_thread(site: Site, method: str, path: str) -> None:
    """Is answered with status 404."""
    answer = site.request(method, f"/threads/thread_unknown/{path}")
    assert refused(answer) == (404, "InvalidThreadIdError")


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"order": "up"}, {"after": "a b"}],
)
def test_query_is_checked(site: Site, query: dict[str, str]) -> None:
    """With status 400 or 404, and words."""
    answer = site.get(f"/threads/{site.create_thread()}/messages", params=query)
    assert refused(answer)[0] in (400, 404)


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "msg_1", f"{2**64}-1", f"1-{2**64 - 1}"])
def test_cursor_is_checked(site: Site, cursor: str) -> None:
    """In the address and in the header, with status 400."""
    thread_id = site.create_thread()
    with site.listen(thread_id, cursor) as by_address:
        assert refused(by_address) == (400, "InvalidCursorError")
    with site.listen(thread_id, **{"Last-Event-ID": cursor}) as by_header:
        assert refused(by_header) == (400, "InvalidCursorError")


class AwayService(ScriptedService):
    """Know all threads, and fail to read them."""

    def messages(self, thread_id: str, **how: Any) -> Iterator[Message]:
        """Fail."""
        raise gpt.ServiceUnavailableError("POST https://secret.example/ failed: away")


def test_failure_of_the_service_is_told(make_site: MakeSite) -> None:
    """With status 503; its words, which tell of hosts, are for the log."""
    site = make_site(service=AwayService())
    answer = site.get(f"/threads/{site.create_thread()}/messages")
    assert refused(answer) == (503, "ServiceUnavailableError")
    assert "secret.example" not in answer.text
    assert answer.headers["Retry-After"] == "1"


def test_wrong_method_is_refused(site: Site) -> None:
    """With status 405."""
    assert site.get("/threads").status_code == 405


def test_answers_are_not_kept(site: Site) -> None:
    """By no cache."""
    answer = site.get(f"/threads/{site.create_thread()}/messages")
    assert answer.headers["Cache-Control"] == "no-store"


def test_agent_that_stops_for_idleness_is_replaced(make_site: MakeSite) -> None:
    """A request that meets one in that moment is done by a new agent."""
    stopped: list[gpt.Agent] = []

    def connect(thread_id: str) -> gpt.Agent:
        agent = gpt.connect(thread_id, "asst")
        if not stopped:
            stopped.append(agent)
            agent.shutdown()
        return agent

    site = make_site([Reply("hi")], connect=connect)
    thread_id = site.create_thread()
    assert site.say(thread_id, "hello").status_code == 202
    assert len(stopped) == 1
