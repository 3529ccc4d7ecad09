"""The objects of the Assistants wire over HTTP: their shapes, changes and pages."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gpt_agent_sync.testing import CallTools, Hold
from tests.support.server_setup import MakeClient, MakeServer
from tests.support.wire_client import Json, WireClient, calls_of, id_prefix


def test_assistant_shape(wire: WireClient) -> None:
    """An assistant has all the fields of the wire."""
    made = wire.post("/assistants", {"model": "any", "name": "tutor"})
    assert id_prefix(made.pop("id")) == "asst"
    assert isinstance(made.pop("created_at"), int)
    assert made == {
        "object": "assistant",
        "name": "tutor",
        "description": None,
        "model": "any",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
        "reasoning_effort": None,
    }


def test_thread_shape(wire: WireClient) -> None:
    """A thread has all the fields of the wire."""
    made = wire.post("/threads", {"metadata": {"a": "b"}})
    assert id_prefix(made.pop("id")) == "thread"
    assert isinstance(made.pop("created_at"), int)
    assert made == {"object": "thread", "metadata": {"a": "b"}, "tool_resources": {}}


def test_message_shape(wire: WireClient) -> None:
    """A message of the user's has all the fields of the wire."""
    thread_id = wire.thread()
    made = wire.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "hi"})
    assert id_prefix(made.pop("id")) == "msg"
    assert isinstance(made.pop("created_at"), int)
    assert isinstance(made.pop("completed_at"), int)
    assert made == {
        "object": "thread.message",
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "incomplete_at": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
    }


def test_reply_shape(wire: WireClient) -> None:
    """The assistant's message names its run and its assistant."""
    thread_id, assistant_id = wire.thread("hi"), wire.assistant()
    run_id = wire.start(thread_id, assistant_id=assistant_id)
    wire.settled(thread_id, run_id)
    reply = wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (reply["role"], reply["status"], reply["run_id"], reply["assistant_id"]) == (
        "assistant",
        "completed",
        run_id,
        assistant_id,
    )


def test_new_run_shape(make_client: MakeClient) -> None:
    """A new run has all the fields of the wire, and no others."""
    wire = make_client(Hold())
    thread_id, assistant_id = wire.thread("hi"), wire.assistant(instructions="Be kind.")
    made = wire.post(f"/threads/{thread_id}/runs", {"assistant_id": assistant_id})
    assert id_prefix(made.pop("id")) == "run"
    assert made.pop("expires_at") == made.pop("created_at") + 600
    assert made == {
        "object": "thread.run",
        "thread_id": thread_id,
        "assistant_id": assistant_id,
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "usage": None,
        "model": "any",
        "instructions": "Be kind.",
        "tools": [],
        "metadata": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
        "reasoning_effort": None,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


def test_completed_run_shape(wire: WireClient) -> None:
    """A completed run says when and at which cost, and no longer expires."""
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    assert (run["status"], run["expires_at"], run["usage"]) == (
        "completed",
        None,
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    )
    assert run["created_at"] <= run["started_at"] <= run["completed_at"]


def test_required_action_shape(make_client: MakeClient) -> None:
    """A waiting run names its calls as the wire does."""
    wire = make_client(CallTools(("add", {"a": 1})))
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    (call,) = calls_of(run)
    assert id_prefix(call.pop("id")) == "call"
    assert call == {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.mark.parametrize(
    "own, given",
    [
        ({"instructions": "Be brief."}, {"instructions": "Be brief."}),
        ({"additional_instructions": "Be brief."}, {"instructions": "Be kind.\nBe brief."}),
        ({"model": "other"}, {"model": "other"}),
        ({"temperature": 0.0}, {"temperature": 0.0, "top_p": 0.5}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"tools": []}, {"tools": []}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"tool_choice": "none"}, {"tool_choice": "none"}),
        ({}, {"instructions": "Be kind.", "model": "any", "temperature": 1.0, "metadata": {}}),
    ],
)
def test_run_takes_or_changes(wire: WireClient, own: Json, given: Json) -> None:
    """A run does as its assistant does, except for what it says itself."""
    assistant_id = wire.assistant(
        instructions="Be kind.",
        temperature=1.0,
        top_p=0.5,
        metadata={"of": "assistant"},
        tools=[{"type": "function", "function": {"name": "add"}}],
    )
    run = wire.post(f"/threads/{wire.thread()}/runs", {"assistant_id": assistant_id, **own})
    assert {name: run[name] for name in given} == given


def test_default_model_is_named(make_server: MakeServer) -> None:
    """A run of the model ``default`` names the model that stands for it."""
    wire = WireClient(make_server(model="demo").base_url)
    thread_id = wire.thread("hi")
    run = wire.run(thread_id, wire.start(thread_id, assistant_id=wire.assistant(model="default")))
    wire.close()
    assert run["model"] == "demo"


def test_run_with_additional_messages(wire: WireClient) -> None:
    """A run may bring messages along, which come before its reply."""
    thread_id = wire.thread("one")
    more = [{"role": "user", "content": "two"}]
    wire.settled(thread_id, wire.start(thread_id, additional_messages=more))
    assert wire.texts(thread_id) == ["one", "two", "ok"]


def test_thread_and_run(wire: WireClient) -> None:
    """A thread and its first run are made in one request."""
    thread = {"messages": [{"role": "user", "content": "one"}]}
    run = wire.post("/threads/runs", {"assistant_id": wire.assistant(), "thread": thread})
    wire.settled(run["thread_id"], run["id"])
    assert wire.texts(run["thread_id"]) == ["one", "ok"]


def test_thread_and_run_without_a_thread(wire: WireClient) -> None:
    """The thread of a thread-and-run request may be left out."""
    run = wire.post("/threads/runs", {"assistant_id": wire.assistant()})
    assert wire.get(f"/threads/{run['thread_id']}")["metadata"] == {}


def test_refused_thread_and_run_leaves_nothing(tmp_path: Path, make_client: MakeClient) -> None:
    """A thread-and-run request that is refused makes no thread."""
    wire = make_client(location=str(tmp_path / "a.db"))
    wire.refusal("POST", "/threads/runs", json={"assistant_id": "asst_x"})
    connection = sqlite3.connect(tmp_path / "a.db")
    found = connection.execute("SELECT count(*) FROM threads").fetchone()
    connection.close()
    assert found == (0,)


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"data": ""}], ids=["none", "object", "empty"])
def test_thread_without_a_body(wire: WireClient, body: Json) -> None:
    """A thread may be made with nothing said."""
    assert wire.send("POST", "/threads", **body).json()["object"] == "thread"


def test_thread_keeps_its_history(wire: WireClient) -> None:
    """A thread may begin with messages of both roles, in their order."""
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    thread_id = wire.post("/threads", {"messages": messages})["id"]
    found = wire.get(f"/threads/{thread_id}/messages", order="asc")["data"]
    assert [message["role"] for message in found] == ["user", "assistant"]


def test_refused_message_leaves_no_thread(tmp_path: Path, make_client: MakeClient) -> None:
    """A thread with an empty message is not made at all."""
    wire = make_client(location=str(tmp_path / "a.db"))
    wire.refusal("POST", "/threads", json={"messages": [{"role": "user", "content": ""}]})
    connection = sqlite3.connect(tmp_path / "a.db")
    found = connection.execute("SELECT count(*) FROM threads").fetchone()
    connection.close()
    assert found == (0,)


@pytest.mark.parametrize(
    "change, changed",
    [
        ({"name": "b"}, {"name": "b", "instructions": "Be kind.", "model": "any"}),
        ({"model": "other"}, {"name": "a", "model": "other"}),
        ({"instructions": None}, {"name": "a", "instructions": None}),
        ({"metadata": {"x": "y"}}, {"metadata": {"x": "y"}}),
        ({"model": None}, {"model": "any"}),
        ({}, {"name": "a", "instructions": "Be kind."}),
    ],
)
def test_assistant_update(wire: WireClient, change: Json, changed: Json) -> None:
    """An update changes what it says, and nothing else."""
    path = f"/assistants/{wire.assistant(name='a', instructions='Be kind.')}"
    wire.post(path, change)
    found = wire.get(path)
    assert {name: found[name] for name in changed} == changed


def test_thread_update(wire: WireClient) -> None:
    """A thread's metadata and resources are replaced."""
    path = f"/threads/{wire.thread()}"
    resources: Json = {"file_search": {"vector_store_ids": []}}
    wire.post(path, {"metadata": {"a": "b"}, "tool_resources": resources})
    found = wire.get(path)
    assert (found["metadata"], found["tool_resources"]) == ({"a": "b"}, resources)


def test_update_without_metadata_keeps_it(wire: WireClient) -> None:
    """An update that says nothing of the metadata leaves it."""
    path = f"/threads/{wire.post('/threads', {'metadata': {'a': 'b'}})['id']}"
    wire.post(path, {})
    assert wire.get(path)["metadata"] == {"a": "b"}


def test_message_update(wire: WireClient) -> None:
    """A message's metadata is replaced, and its text stays."""
    thread_id = wire.thread("hi")
    path = f"/threads/{thread_id}/messages"
    message_id = wire.get(path)["data"][0]["id"]
    wire.post(f"{path}/{message_id}", {"metadata": {"a": "b"}})
    found = wire.get(f"{path}/{message_id}")
    assert (found["metadata"], found["content"][0]["text"]["value"]) == ({"a": "b"}, "hi")


@pytest.mark.parametrize("change, metadata", [({"metadata": {"c": "d"}}, "d"), ({}, "b")])
def test_run_update(wire: WireClient, change: Json, metadata: str) -> None:
    """A run's metadata is replaced if the update has any."""
    thread_id = wire.thread("hi")
    run_id = wire.start(thread_id, metadata={"c": "b"})
    wire.settled(thread_id, run_id)
    wire.post(f"/threads/{thread_id}/runs/{run_id}", change)
    assert wire.run(thread_id, run_id)["metadata"] == {"c": metadata}


def test_deletion_receipts(wire: WireClient) -> None:
    """Deleting answers with the id and the kind of what is gone."""
    thread_id, assistant_id = wire.thread("hi"), wire.assistant()
    message_id = wire.get(f"/threads/{thread_id}/messages")["data"][0]["id"]
    paths = (
        f"/threads/{thread_id}/messages/{message_id}",
        f"/threads/{thread_id}",
        f"/assistants/{assistant_id}",
    )
    assert [wire.delete(path) for path in paths] == [
        {"id": message_id, "object": "thread.message.deleted", "deleted": True},
        {"id": thread_id, "object": "thread.deleted", "deleted": True},
        {"id": assistant_id, "object": "assistant.deleted", "deleted": True},
    ]


def test_deleted_message_is_gone(wire: WireClient) -> None:
    """A deleted message is no longer in its thread's list."""
    thread_id = wire.thread("one", "two")
    message_id = wire.get(f"/threads/{thread_id}/messages")["data"][0]["id"]
    wire.delete(f"/threads/{thread_id}/messages/{message_id}")
    assert wire.texts(thread_id) == ["one"]


def test_reading_is_hinted_to_wait_while_a_run_is_live(make_client: MakeClient) -> None:
    """The answer about a live run says after how many milliseconds to poll again."""
    wire = make_client(Hold())
    thread_id = wire.thread("hi")
    answer = wire.send("GET", f"/threads/{thread_id}/runs/{wire.start(thread_id)}")
    assert answer.headers["openai-poll-after-ms"] == "20"


def test_reading_is_not_hinted_to_wait_for_a_run_that_is_final(wire: WireClient) -> None:
    """The answer about a final run has no hint to poll again."""
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    answer = wire.send("GET", f"/threads/{thread_id}/runs/{run['id']}")
    assert "openai-poll-after-ms" not in answer.headers


@pytest.mark.parametrize("path", ["/assistants", "/threads/thread_x"])
def test_answers_carry_a_request_id(wire: WireClient, path: str) -> None:
    """Every answer, refusals too, has an id of its own."""
    first, second = (wire.send("GET", path).headers["x-request-id"] for _ in range(2))
    assert id_prefix(first) == id_prefix(second) == "req"
    assert first != second


TEXTS = tuple("abcde")


@pytest.mark.parametrize(
    "query, texts, more",
    [
        ({}, "edcba", False),
        ({"order": "asc"}, "abcde", False),
        ({"order": "desc", "limit": 2}, "ed", True),
        ({"order": "asc", "limit": 5}, "abcde", False),
        ({"order": "asc", "after": "b"}, "cde", False),
        ({"order": "asc", "after": "b", "limit": 2}, "cd", True),
        ({"after": "c"}, "ba", False),
        ({"order": "asc", "before": "d", "limit": 2}, "bc", True),
        ({"before": "c"}, "ed", False),
        ({"order": "asc", "after": "a", "before": "d"}, "bc", False),
    ],
)
def test_message_pages(wire: WireClient, query: Json, texts: str, more: bool) -> None:
    """A page is in its order, between its cursors, and says whether more follow."""
    thread_id = wire.thread(*TEXTS)
    listed = wire.get(f"/threads/{thread_id}/messages", order="asc")["data"]
    ids = dict(zip(TEXTS, (message["id"] for message in listed), strict=True))
    page = wire.get(
        f"/threads/{thread_id}/messages",
        **{name: ids.get(value, value) for name, value in query.items()},
    )
    found = "".join(message["content"][0]["text"]["value"] for message in page["data"])
    assert (found, page["has_more"]) == (texts, more)


def test_page_shape(wire: WireClient) -> None:
    """A page names its first and its last entry."""
    page = wire.get(f"/threads/{wire.thread(*TEXTS)}/messages", limit=3)
    data = page.pop("data")
    assert page == {
        "object": "list",
        "first_id": data[0]["id"],
        "last_id": data[2]["id"],
        "has_more": True,
    }


def test_empty_page(wire: WireClient) -> None:
    """An empty page has no first and no last entry."""
    assert wire.get(f"/threads/{wire.thread()}/messages") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_twenty_a_page(wire: WireClient) -> None:
    """A page holds twenty when nothing else is asked for."""
    page = wire.get(f"/threads/{wire.thread(*'abcdefghijklmnopqrstu')}/messages")
    assert (len(page["data"]), page["has_more"]) == (20, True)


def test_messages_of_a_run(wire: WireClient) -> None:
    """Messages may be asked for by the run that wrote them."""
    thread_id = wire.thread("hi")
    first, second = (
        wire.settled(thread_id, wire.start(thread_id, metadata={"n": number}))["id"]
        for number in "12"
    )
    found = [
        message["run_id"]
        for message in wire.get(f"/threads/{thread_id}/messages", run_id=second)["data"]
    ]
    assert found == [second]
    assert first != second


def test_run_pages(wire: WireClient) -> None:
    """Runs are listed newest first, page by page, as they are shown one by one."""
    thread_id = wire.thread("hi")
    runs = [wire.settled(thread_id, wire.start(thread_id)) for _ in range(3)]
    path = f"/threads/{thread_id}/runs"
    first = wire.get(path, limit=2)
    second = wire.get(path, limit=2, after=first["last_id"])
    assert first["data"] + second["data"] == runs[::-1]


def test_assistant_pages(make_client: MakeClient) -> None:
    """Assistants are listed page by page."""
    wire = make_client()
    made = [wire.assistant() for _ in range(3)]
    first = wire.get("/assistants", order="asc", limit=2)
    second = wire.get("/assistants", order="asc", limit=2, after=first["last_id"])
    assert [assistant["id"] for assistant in first["data"] + second["data"]] == made


@pytest.mark.parametrize("kind", ["assistants", "runs"])
def test_run_filter_is_for_messages(make_client: MakeClient, kind: str) -> None:
    """A list that has no filter by run passes it over."""
    wire = make_client()
    thread_id = wire.thread("hi")
    wire.settled(thread_id, wire.start(thread_id))
    path = "/assistants" if kind == "assistants" else f"/threads/{thread_id}/runs"
    assert len(wire.get(path, run_id="run_x")["data"]) == 1


@pytest.mark.parametrize("cursor", ["after", "before"])
def test_unknown_cursor(wire: WireClient, cursor: str) -> None:
    """A cursor that is not there is refused by its id."""
    path = f"/threads/{wire.thread('hi')}/messages"
    status, error = wire.refusal("GET", path, params={cursor: "msg_x"})
    assert (status, error["message"]) == (404, "No message found with id 'msg_x'.")
