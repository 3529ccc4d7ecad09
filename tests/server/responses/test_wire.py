"""What the server answers on the Responses wire over HTTP: shapes, locks, refusals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.responses.response_work import ResponseWork
from gpt_agent_sync.server.storage import Storage
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.responses_client import (
    ResponsesClient,
    call,
    message,
    output,
    outputs_of,
    text_of,
)
from tests.support.scripted_model import ScriptedModel, ScriptedServer
from tests.support.server_setup import (
    START,
    MakeResponseSetup,
    MakeServer,
    ResponseSetup,
    change_stored,
    drop_table,
    post_at_once,
    stored_ids,
    wait_until_idle,
)
from tests.support.wire_client import Json

CALL = CallTools(("add", {"a": 1}))
TWO_CALLS = CallTools(("add", {"a": 1}), ("add", {"a": 2}))

LOCKED = {
    "message": "Another process is currently operating on this conversation. "
    "Please retry in a few seconds.",
    "type": "invalid_request_error",
    "param": "conversation",
    "code": "conversation_locked",
}


@pytest.fixture(scope="module")
def wire() -> Iterator[ResponsesClient]:
    """Give a client of a server that always says ok, one for all tests."""
    server = ScriptedServer()
    client = ResponsesClient(server.base_url)
    yield client
    client.close()
    server.stop()


def prefix(object_id: str) -> str:
    """Give the kind that an id names."""
    return object_id.split("_")[0]


def plain(text: str, **fields: str) -> Json:
    """Give the error of the wire that has nothing but a text, save for some fields."""
    nothing = {"type": "invalid_request_error", "param": None, "code": None}
    return {"message": text, **nothing, **fields}


# Shapes.


def test_conversation_shape(wire: ResponsesClient) -> None:
    """A conversation has all the fields of the wire."""
    made = wire.post("/conversations", {"metadata": {"a": "b"}})
    assert prefix(made.pop("id")) == "conv"
    assert isinstance(made.pop("created_at"), int)
    assert made == {"object": "conversation", "metadata": {"a": "b"}}


@pytest.mark.parametrize("body", [{}, {"json": {}}, {"data": ""}], ids=["none", "object", "empty"])
def test_conversation_without_a_body(wire: ResponsesClient, body: Json) -> None:
    """A conversation may be made with nothing said."""
    assert wire.send("POST", "/conversations", **body).json()["object"] == "conversation"


def test_new_response_shape(response_setup: MakeResponseSetup) -> None:
    """A new response has all the fields of the wire, and no others."""
    wire = response_setup(Hold()).wire
    conversation_id = wire.conversation()
    made = wire.respond(conversation=conversation_id, background=True)
    assert prefix(made.pop("id")) == "resp"
    assert made == {
        "object": "response",
        "created_at": int(START),
        "status": "queued",
        "background": True,
        "completed_at": None,
        "conversation": {"id": conversation_id},
        "error": None,
        "incomplete_details": None,
        "output": [],
        "previous_response_id": None,
        "usage": None,
        "model": "any",
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "user": None,
    }


def test_response_at_work(response_setup: MakeResponseSetup) -> None:
    """A response whose model is at work is in progress."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    assert setup.wire.response(response_id)["status"] == "in_progress"


def test_completed_response_shape(response_setup: MakeResponseSetup) -> None:
    """A completed response says when and at which cost."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 5.5
    setup.release()
    response = setup.wire.final(response_id)
    assert (response["status"], response["created_at"], response["completed_at"]) == (
        "completed",
        START,
        START + 5,
    )
    assert response["usage"] == {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 3,
    }


@pytest.mark.parametrize(
    "step, status", [(Fail(), "failed"), (Incomplete(), "incomplete")], ids=["failed", "cut short"]
)
def test_only_completed_responses_say_when(
    response_setup: MakeResponseSetup, step: Any, status: str
) -> None:
    """A response that failed or was cut short was never completed."""
    _, response = response_setup(step).answered()
    assert (response["status"], response["completed_at"]) == (status, None)


def test_failed_response_shape(response_setup: MakeResponseSetup) -> None:
    """A failed response has an error, and neither output nor cost."""
    _, response = response_setup(Fail("invalid_prompt", "No.")).answered()
    assert (response["error"], response["output"], response["usage"]) == (
        {"code": "invalid_prompt", "message": "No."},
        [],
        None,
    )


def test_reply_shape(response_setup: MakeResponseSetup) -> None:
    """A model's text, though given in pieces, is one message of the assistant's."""
    _, response = response_setup(Reply("Hel", "lo")).answered()
    (item,) = response["output"]
    assert prefix(item.pop("id")) == "msg"
    part = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    assert item == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def test_call_shape(response_setup: MakeResponseSetup) -> None:
    """A model's call is an item with two ids."""
    _, response = response_setup(CALL).answered()
    (item,) = response["output"]
    assert (prefix(item.pop("id")), prefix(item.pop("call_id"))) == ("fc", "call")
    assert item == {
        "type": "function_call",
        "status": "completed",
        "name": "add",
        "arguments": '{"a": 1}',
    }


def test_response_with_calls_has_no_message(response_setup: MakeResponseSetup) -> None:
    """A model that only asks for calls has said nothing."""
    _, response = response_setup(TWO_CALLS).answered()
    assert [item["type"] for item in response["output"]] == ["function_call", "function_call"]


def test_silent_model_has_an_empty_message(response_setup: MakeResponseSetup) -> None:
    """A model that says nothing at all is kept as an empty message."""
    _, response = response_setup(Reply()).answered()
    assert [text_of(item) for item in response["output"]] == [""]


def test_message_cut_short_is_incomplete(response_setup: MakeResponseSetup) -> None:
    """The message of a response that was cut short says that it is not whole."""
    _, response = response_setup(Incomplete("content_filter", "so far")).answered()
    assert [item["status"] for item in response["output"]] == ["incomplete"]


def test_default_model_is_named(make_server: MakeServer) -> None:
    """A response of the model ``default`` names the model that stands for it."""
    wire = ResponsesClient(make_server(model="demo").base_url)
    response = wire.respond(model="default")
    wire.close()
    assert response["model"] == "demo"


def test_deletion_receipts(wire: ResponsesClient) -> None:
    """Deleting answers with the id and the kind of what is gone."""
    conversation_id, response_id = wire.conversation(), wire.respond()["id"]
    paths = (f"/responses/{response_id}", f"/conversations/{conversation_id}")
    assert [wire.delete(path) for path in paths] == [
        {"id": response_id, "object": "response", "deleted": True},
        {"id": conversation_id, "object": "conversation.deleted", "deleted": True},
    ]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_reading_is_asked_to_wait_while_a_response_is_live(
    response_setup: MakeResponseSetup, method: str
) -> None:
    """The answer about a live response says after how many milliseconds to look again."""
    wire = response_setup(Hold()).wire
    body = {"model": "any", "input": "hi", "background": True}
    answer = wire.send("POST", "/responses", json=body)
    if method == "GET":
        answer = wire.send("GET", f"/responses/{answer.json()['id']}")
    assert answer.headers["openai-poll-after-ms"] == "20"


def test_reading_is_not_asked_to_wait_for_a_response_that_is_over(wire: ResponsesClient) -> None:
    """The answer about a response that is over asks for no other look."""
    answer = wire.send("GET", f"/responses/{wire.respond()['id']}")
    assert answer.ok
    assert "openai-poll-after-ms" not in answer.headers


# Conversations and their items.


def test_conversation_update(wire: ResponsesClient) -> None:
    """An update replaces a conversation's metadata."""
    path = f"/conversations/{wire.post('/conversations', {'metadata': {'a': 'b'}})['id']}"
    wire.post(path, {"metadata": {"c": "d"}})
    assert wire.get(path)["metadata"] == {"c": "d"}


@pytest.mark.parametrize("where", ["with the conversation", "later"])
def test_twenty_items_at_once(wire: ResponsesClient, where: str) -> None:
    """Twenty items are taken at once, in their order."""
    said = [str(number) for number in range(20)]
    given = [message(text) for text in said]
    conversation_id = wire.conversation(*(given if where != "later" else ()))
    if where == "later":
        wire.post(f"/conversations/{conversation_id}/items", {"items": given})
    assert wire.item_texts(conversation_id) == said


@pytest.mark.parametrize("path", ["/conversations", "/conversations/{conversation}/items"])
def test_too_many_items(wire: ResponsesClient, path: str) -> None:
    """More than twenty items at once are refused in the wire's words."""
    body = {"items": [message("x")] * 21}
    path = path.format(conversation=wire.conversation())
    assert wire.refusal("POST", path, json=body) == (
        400,
        plain(
            "Invalid 'items': array too long. Expected an array with maximum length 20, "
            "but got an array with length 21 instead.",
            param="items",
            code="array_above_max_length",
        ),
    )


@pytest.mark.parametrize("items", [[message("x")] * 21, [message("x"), {"type": "nothing"}]])
def test_refused_items_leave_no_conversation(
    response_setup: MakeResponseSetup, tmp_path: Path, items: list[Json]
) -> None:
    """A conversation whose items are refused is not made at all."""
    setup = response_setup(location=str(tmp_path / "a.db"))
    status, _ = setup.wire.refusal("POST", "/conversations", json={"items": items})
    assert (status, stored_ids(tmp_path / "a.db", "conversations")) == (400, [])


def test_refused_items_leave_nothing(wire: ResponsesClient) -> None:
    """Of items with a bad one among them none is added."""
    conversation_id = wire.conversation(message("one"))
    body = {"items": [message("two"), {"type": "nothing"}]}
    status, _ = wire.refusal("POST", f"/conversations/{conversation_id}/items", json=body)
    assert (status, wire.item_texts(conversation_id)) == (400, ["one"])


def test_added_items_are_answered(wire: ResponsesClient) -> None:
    """Adding items answers with a list of them, oldest first."""
    path = f"/conversations/{wire.conversation(message('one'))}/items"
    answer = wire.post(path, {"items": [message("two"), message("three")]})
    found = wire.get(path, order="asc")["data"][1:]
    assert answer == {
        "object": "list",
        "data": found,
        "first_id": found[0]["id"],
        "last_id": found[1]["id"],
        "has_more": False,
    }


def test_empty_page(wire: ResponsesClient) -> None:
    """The list of a conversation without items is empty and has no ends."""
    assert wire.get(f"/conversations/{wire.conversation()}/items") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


TEXTS = "abcde"


@pytest.mark.parametrize(
    "query, texts, more",
    [
        ({}, "edcba", False),
        ({"order": "asc"}, "abcde", False),
        ({"limit": 2}, "ed", True),
        ({"limit": 5}, "edcba", False),
        ({"order": "asc", "limit": 2, "after": 1}, "cd", True),
        ({"order": "asc", "after": 4}, "", False),
        ({"after": 2}, "ba", False),
        ({"limit": 1, "after": 2}, "b", True),
    ],
)
@pytest.mark.parametrize("of", ["conversation", "response"])
def test_item_pages(wire: ResponsesClient, of: str, query: Json, texts: str, more: bool) -> None:
    """Items of a conversation, and of a response's input, are listed in either order by pages."""
    given = [message(text) for text in TEXTS]
    if of == "conversation":
        path = f"/conversations/{wire.conversation(*given)}/items"
    else:
        path = f"/responses/{wire.respond(input=given)['id']}/input_items"
    ids = [item["id"] for item in wire.get(path, order="asc")["data"]]
    if "after" in query:
        query = {**query, "after": ids[query["after"]]}
    page = wire.get(path, **query)
    assert ("".join(text_of(item) for item in page["data"]), page["has_more"]) == (texts, more)


def test_items_of_another_conversation(wire: ResponsesClient) -> None:
    """An item is found in its own conversation only."""
    item_id = wire.items(wire.conversation(message("hi")))[0]["id"]
    assert wire.refusal("GET", f"/conversations/{wire.conversation()}/items/{item_id}") == (
        404,
        plain(f"Item with id '{item_id}' not found."),
    )


def test_deleted_item_is_gone(wire: ResponsesClient) -> None:
    """A deleted item is no longer in its conversation."""
    conversation_id = wire.conversation(message("one"), message("two"))
    path = f"/conversations/{conversation_id}/items/{wire.items(conversation_id)[0]['id']}"
    wire.delete(path)
    assert (wire.refusal("GET", path)[0], wire.item_texts(conversation_id)) == (404, ["two"])


def test_deleted_conversation_takes_its_items(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """With a conversation its items are deleted, and no other's."""
    wire = response_setup(location=str(tmp_path / "a.db")).wire
    gone, left = wire.conversation(message("one")), wire.conversation(message("two"))
    wire.delete(f"/conversations/{gone}")
    assert stored_ids(tmp_path / "a.db", "items") == [item["id"] for item in wire.items(left)]


def test_added_item_starts_nothing(response_setup: MakeResponseSetup) -> None:
    """A user's message added to a conversation is not answered by itself."""
    setup = response_setup()
    conversation_id = setup.wire.conversation()
    setup.wire.post(f"/conversations/{conversation_id}/items", {"items": [message("hi")]})
    wait_until_idle()
    assert setup.model.requests == []
    assert setup.wire.item_texts(conversation_id) == ["hi"]


# What comes into a conversation, and when.


def test_live_response_leaves_its_conversation(response_setup: MakeResponseSetup) -> None:
    """While a response is live not even its input is in the conversation."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    assert setup.wire.items(conversation_id) == []


def test_completed_response_is_in_its_conversation(response_setup: MakeResponseSetup) -> None:
    """When a response is completed its input and its output are at the conversation's end."""
    wire = response_setup(Reply("hello")).wire
    conversation_id = wire.conversation(message("one"))
    wire.final(wire.start_background(conversation_id, input=[message("two"), message("three")]))
    assert wire.item_texts(conversation_id) == ["one", "two", "three", "hello"]


def test_output_keeps_its_ids(response_setup: MakeResponseSetup) -> None:
    """The items of a response's output are in the conversation as the response shows them."""
    setup = response_setup(TWO_CALLS)
    conversation_id, response = setup.answered()
    assert setup.wire.items(conversation_id)[1:] == response["output"]


def test_incomplete_response_is_in_its_conversation(response_setup: MakeResponseSetup) -> None:
    """A response that was cut short leaves its input and what was written until then."""
    setup = response_setup(Incomplete("max_completion_tokens", "so far"))
    conversation_id, _ = setup.answered()
    assert setup.wire.item_texts(conversation_id) == ["hi", "so far"]


def test_failed_response_leaves_nothing(response_setup: MakeResponseSetup) -> None:
    """A failed response leaves nothing in its conversation."""
    setup = response_setup(Fail())
    conversation_id, response = setup.answered()
    assert (response["status"], setup.wire.items(conversation_id)) == ("failed", [])


def test_cancelled_response_leaves_nothing(response_setup: MakeResponseSetup) -> None:
    """What a model says after its response was cancelled is not kept anywhere."""
    setup = response_setup(Hold())
    conversation_id, response_id = setup.in_progress()
    setup.wire.cancel(response_id)
    setup.release()
    wait_until_idle()
    response = setup.wire.response(response_id)
    assert (response["status"], response["output"]) == ("cancelled", [])
    assert setup.wire.items(conversation_id) == []


def test_expired_response_leaves_nothing(response_setup: MakeResponseSetup) -> None:
    """What a model says after its response is out of time is not kept anywhere."""
    setup = response_setup(Hold())
    conversation_id, response_id = setup.in_progress()
    setup.clock.now += 600
    setup.release()
    wait_until_idle()
    response = setup.wire.response(response_id)
    assert (response["status"], response["output"]) == ("failed", [])
    assert setup.wire.items(conversation_id) == []


def test_response_that_is_not_stored_is_in_its_conversation(
    response_setup: MakeResponseSetup,
) -> None:
    """A conversation keeps what was said in a response that is not stored itself."""
    setup = response_setup(Reply("hello"))
    conversation_id, _ = setup.answered(store=False)
    assert setup.wire.item_texts(conversation_id) == ["hi", "hello"]


def test_deleted_response_stays_in_its_conversation(response_setup: MakeResponseSetup) -> None:
    """A conversation keeps what was said in a response that was deleted afterwards."""
    setup = response_setup(Reply("hello"))
    conversation_id, response = setup.answered()
    setup.wire.delete(f"/responses/{response['id']}")
    assert setup.wire.item_texts(conversation_id) == ["hi", "hello"]


def test_response_deleted_at_work_leaves_nothing(
    caplog: pytest.LogCaptureFixture, response_setup: MakeResponseSetup
) -> None:
    """A response may be deleted while its model is at work, whose reply then goes nowhere."""
    setup = response_setup(Hold())
    conversation_id, response_id = setup.in_progress()
    setup.wire.delete(f"/responses/{response_id}")
    setup.release()
    wait_until_idle()
    assert setup.wire.items(conversation_id) == []
    assert setup.wire.send("GET", f"/responses/{response_id}").status_code == 404
    assert caplog.records == []


def test_conversation_deleted_under_a_response(
    caplog: pytest.LogCaptureFixture, response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """A conversation may be deleted under a response at work, whose reply is then its own only."""
    setup = response_setup(Hold(Reply("hello")), location=str(tmp_path / "a.db"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.delete(f"/conversations/{conversation_id}")
    setup.release()
    response = setup.wire.final(response_id)
    assert [text_of(item) for item in response["output"]] == ["hello"]
    assert stored_ids(tmp_path / "a.db", "items") == []
    assert caplog.records == []


# The lock.


def test_live_response_locks_its_conversation(response_setup: MakeResponseSetup) -> None:
    """While a response is live no other is made for its conversation."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    assert setup.wire.refused(conversation=conversation_id) == (400, LOCKED)


@pytest.mark.parametrize("background", [False, True])
def test_lock_is_for_all_responses(response_setup: MakeResponseSetup, background: bool) -> None:
    """A locked conversation refuses responses of both kinds, however it is named."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    refusal = setup.wire.refused(conversation={"id": conversation_id}, background=background)
    assert refusal == (400, LOCKED)


def test_foreground_response_locks_its_conversation(
    executor: ThreadPoolExecutor, response_setup: MakeResponseSetup
) -> None:
    """A response that its caller waits for locks the conversation as well."""
    setup = response_setup(Hold())
    conversation_id = setup.wire.conversation()
    other = ResponsesClient(setup.server.base_url)
    answer = executor.submit(other.respond, conversation=conversation_id)
    wait_for(lambda: setup.model.requests, bool)
    refusal = setup.wire.refused(conversation=conversation_id)
    setup.release()
    assert answer.result(20)["status"] == "completed"
    other.close()
    assert refusal == (400, LOCKED)


def test_live_response_locks_no_other_conversation(response_setup: MakeResponseSetup) -> None:
    """Other conversations go on while one is locked."""
    setup = response_setup(Hold(), Reply("ok"))
    setup.in_progress()
    _, response = setup.answered()
    assert response["status"] == "completed"


def test_live_response_locks_no_response_without_a_conversation(
    response_setup: MakeResponseSetup,
) -> None:
    """Responses without a conversation go on side by side."""
    setup = response_setup(Hold(), Reply("ok"))
    setup.wire.respond(background=True)
    wait_for(lambda: setup.model.requests, bool)
    assert setup.wire.respond()["status"] == "completed"


@pytest.mark.parametrize("step", [Reply("ok"), Fail(), Incomplete()])
def test_response_that_is_over_frees_its_conversation(
    response_setup: MakeResponseSetup, step: Any
) -> None:
    """After a response of any end the conversation takes the next one."""
    setup = response_setup(step, Reply("next"))
    conversation_id, _ = setup.answered()
    setup.wire.respond(conversation=conversation_id)
    assert setup.wire.item_texts(conversation_id)[-1] == "next"


def test_cancelled_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """After a cancellation the next response is taken, though the model still works."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.cancel(response_id)
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_expired_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """Once the time of a response is up the next one is taken, without anybody looking."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, _ = setup.in_progress()
    setup.clock.now += 600
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_lock_holds_until_the_last_second(response_setup: MakeResponseSetup) -> None:
    """A response that still has time locks its conversation."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    setup.clock.now += 599
    assert setup.wire.refused(conversation=conversation_id) == (400, LOCKED)


def test_deleted_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """A live response that is deleted locks nothing any more."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.delete(f"/responses/{response_id}")
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_refused_response_locks_nothing(response_setup: MakeResponseSetup) -> None:
    """A response that was refused does not hold the conversation."""
    setup = response_setup(Reply("ok"))
    conversation_id = setup.wire.conversation()
    setup.wire.refused(conversation=conversation_id, input=[output("call_x")])
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_one_of_many_responses_wins(response_setup: MakeResponseSetup) -> None:
    """Of many responses asked for at once in one conversation exactly one is taken."""
    setup = response_setup(Hold())
    body = background_response(setup.wire.conversation())
    statuses = post_at_once("/responses", body, *[setup.server.base_url] * 6)
    assert statuses == [200, 400, 400, 400, 400, 400]


def background_response(conversation_id: str) -> Json:
    """Return the body of a background response in a conversation."""
    return {"model": "any", "input": "hi", "conversation": conversation_id, "background": True}


def test_one_response_wins_over_two_servers(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """Of responses asked for at once through two servers exactly one is taken."""
    location = str(tmp_path / "a.db")
    one, other = (response_setup(Hold(), location=location) for _ in range(2))
    body = background_response(one.wire.conversation())
    statuses = post_at_once("/responses", body, one.server.base_url, other.server.base_url)
    assert statuses == [200, 400]


# Time.


def test_slow_response_fails(response_setup: MakeResponseSetup) -> None:
    """A response whose model takes ten minutes fails while it is at work."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 600
    response = setup.wire.response(response_id)
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": "The response took too long."},
    )


def test_response_does_not_expire_early(response_setup: MakeResponseSetup) -> None:
    """A response is at work until its very last second."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 599
    assert setup.wire.response(response_id)["status"] == "in_progress"


def test_response_seconds(response_setup: MakeResponseSetup) -> None:
    """How long responses may take is an option of the server."""
    setup = response_setup(Hold(), run_seconds=5)
    _, response_id = setup.in_progress()
    setup.clock.now += 5
    assert setup.wire.response(response_id)["status"] == "failed"


@pytest.mark.parametrize("background", [False, True])
def test_response_without_time_is_not_begun(
    response_setup: MakeResponseSetup, background: bool
) -> None:
    """A response whose time is up before it is taken up fails, and its model is not asked."""
    setup = response_setup(run_seconds=0)
    response_id = setup.wire.respond(background=background)["id"]
    wait_until_idle()
    assert setup.wire.response(response_id)["status"] == "failed"
    assert setup.model.requests == []


# Calls and outputs.


def test_unanswered_calls(response_setup: MakeResponseSetup) -> None:
    """A response is refused while a call of the conversation has no output."""
    setup = response_setup(CALL)
    conversation_id, response = setup.answered()
    call_id = response["output"][0]["call_id"]
    assert setup.wire.refused(conversation=conversation_id) == (
        400,
        plain(f"No tool output found for function call {call_id}.", param="input"),
    )


def test_too_few_outputs(response_setup: MakeResponseSetup) -> None:
    """All parallel calls must be answered at once; the refusal names the one that is not."""
    setup = response_setup(TWO_CALLS)
    conversation_id, response = setup.answered()
    first, second = outputs_of(response, "1", "2")
    refusals = [
        setup.wire.refused(conversation=conversation_id, input=[given])[1]["message"]
        for given in (first, second)
    ]
    assert refusals == [
        f"No tool output found for function call {missing['call_id']}."
        for missing in (second, first)
    ]


def test_output_without_a_call(wire: ResponsesClient) -> None:
    """An output that no call waits for is refused by its call's id."""
    assert wire.refused(conversation=wire.conversation(), input=[output("call_x")]) == (
        400,
        plain("No tool call found for function call output with call_id call_x.", param="input"),
    )


def test_outputs_twice(response_setup: MakeResponseSetup) -> None:
    """The same outputs are not taken a second time."""
    setup = response_setup(CALL, Reply("done"))
    conversation_id, response = setup.answered()
    given = outputs_of(response, "1")
    setup.wire.respond(conversation=conversation_id, input=given)
    _, error = setup.wire.refused(conversation=conversation_id, input=given)
    assert error["message"].startswith("No tool call found for function call output")


def test_outputs_in_any_order(response_setup: MakeResponseSetup) -> None:
    """Outputs given in another order than their calls reach the model by their ids."""
    setup = response_setup(TWO_CALLS, Reply("done"))
    conversation_id, response = setup.answered()
    given = outputs_of(response, "1", "2")[::-1]
    setup.wire.respond(conversation=conversation_id, input=given)
    told = [said for said in setup.model.requests[-1].messages if said["role"] == "tool"]
    assert [(said["tool_call_id"], said["content"]) for said in told] == [
        (item["call_id"], item["output"]) for item in given
    ]


def test_outputs_with_a_message(response_setup: MakeResponseSetup) -> None:
    """Outputs and a user's message may come in one request."""
    setup = response_setup(CALL, Reply("done"))
    conversation_id, response = setup.answered()
    given = [*outputs_of(response, "1"), message("and?")]
    setup.wire.respond(conversation=conversation_id, input=given)
    assert setup.wire.item_texts(conversation_id) == [
        "hi",
        "function_call",
        "function_call_output",
        "and?",
        "done",
    ]


def test_outputs_added_as_items(response_setup: MakeResponseSetup) -> None:
    """Calls may be answered by items, and a response asked for without any input."""
    setup = response_setup(CALL, Reply("done"))
    conversation_id, response = setup.answered()
    path = f"/conversations/{conversation_id}/items"
    setup.wire.post(path, {"items": outputs_of(response, "1")})
    body = {"model": "any", "conversation": conversation_id}
    assert setup.wire.post("/responses", body)["status"] == "completed"


@pytest.mark.parametrize("step", [Fail(), Hold()], ids=["failed", "cancelled"])
def test_outputs_of_a_lost_response_are_asked_for_again(
    response_setup: MakeResponseSetup, step: Any
) -> None:
    """Outputs given to a response that failed or was cancelled may be given again."""
    setup = response_setup(CALL, step, Reply("done"))
    conversation_id, response = setup.answered()
    given = outputs_of(response, "1")
    lost = setup.wire.start_background(conversation_id, input=given)
    if isinstance(step, Hold):
        setup.wire.cancel(lost)
    setup.wire.final(lost)
    again = setup.wire.respond(conversation=conversation_id, input=given)
    assert again["status"] == "completed"


def test_refused_outputs_leave_the_calls(response_setup: MakeResponseSetup) -> None:
    """After wrong outputs the right ones are still taken."""
    setup = response_setup(CALL, Reply("done"))
    conversation_id, response = setup.answered()
    setup.wire.refused(conversation=conversation_id, input=[output("call_x")])
    again = setup.wire.respond(conversation=conversation_id, input=outputs_of(response, "1"))
    assert again["status"] == "completed"


def test_unanswered_calls_of_an_earlier_response(response_setup: MakeResponseSetup) -> None:
    """Going on from a response is refused while a call of it has no output."""
    wire = response_setup(CALL).wire
    first = wire.respond()
    call_id = first["output"][0]["call_id"]
    assert wire.refused(previous_response_id=first["id"]) == (
        400,
        plain(f"No tool output found for function call {call_id}.", param="input"),
    )


def twice(item_id: str) -> Json:
    """Give the refusal of an item that is there already."""
    return plain(
        f"Duplicate item found with id {item_id}. "
        "Remove duplicate items from your input and try again.",
        param="input",
    )


@pytest.mark.parametrize("path", ["/responses", "/conversations/{conversation}/items"])
def test_item_twice(wire: ResponsesClient, path: str) -> None:
    """An item that is in the conversation is not taken again."""
    conversation_id = wire.conversation(message("hi"))
    (item,) = wire.items(conversation_id)
    bodies: dict[str, Json] = {
        "/responses": {"model": "any", "conversation": conversation_id, "input": [item]},
        "/conversations/{conversation}/items": {"items": [item]},
    }
    refusal = wire.refusal("POST", path.format(conversation=conversation_id), json=bodies[path])
    assert refusal == (400, twice(item["id"]))


def test_output_of_an_earlier_response_twice(wire: ResponsesClient) -> None:
    """Output that an earlier response brings along is not taken again."""
    first = wire.respond()
    refusal = wire.refused(previous_response_id=first["id"], input=first["output"])
    assert refusal == (400, twice(first["output"][0]["id"]))


def test_item_in_another_conversation(wire: ResponsesClient) -> None:
    """An item of one conversation may be copied into another, where it gets an id of its own."""
    one, other = wire.conversation(message("hi")), wire.conversation()
    wire.post(f"/conversations/{other}/items", {"items": wire.items(one)})
    assert wire.item_texts(other) == ["hi"]
    assert wire.items(other)[0]["id"] != wire.items(one)[0]["id"]


# What the model is asked.


def test_model_reads_the_conversation(response_setup: MakeResponseSetup) -> None:
    """The model is asked with the instructions, the conversation and the input, in this order."""
    setup = response_setup(Reply("one"))
    conversation_id, _ = setup.answered()
    assert setup.chat_of(conversation=conversation_id, input="and?", instructions="Be kind.") == [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "one"),
        ("user", "and?"),
    ]


def test_model_reads_the_chain(response_setup: MakeResponseSetup) -> None:
    """The model is asked with all earlier responses, oldest first."""
    setup = response_setup(Reply("one"), Reply("two"))
    first = setup.wire.respond(input="a")
    second = setup.wire.respond(input="b", previous_response_id=first["id"])
    assert setup.chat_of(input="c", previous_response_id=second["id"]) == [
        ("user", "a"),
        ("assistant", "one"),
        ("user", "b"),
        ("assistant", "two"),
        ("user", "c"),
    ]


def test_chain_forks(response_setup: MakeResponseSetup) -> None:
    """Two responses may go on from the same one, and do not read each other."""
    setup = response_setup(Reply("one"))
    first = setup.wire.respond(input="a")
    setup.wire.respond(input="b", previous_response_id=first["id"])
    assert setup.chat_of(input="c", previous_response_id=first["id"]) == [
        ("user", "a"),
        ("assistant", "one"),
        ("user", "c"),
    ]


def test_instructions_are_not_carried_over(response_setup: MakeResponseSetup) -> None:
    """The instructions of an earlier response are not those of the next."""
    setup = response_setup()
    first = setup.wire.respond(input="a", instructions="Be kind.")
    chat = setup.chat_of(input="b", previous_response_id=first["id"])
    assert chat == [("user", "a"), ("assistant", "ok"), ("user", "b")]


def test_chain_without_its_beginning(response_setup: MakeResponseSetup) -> None:
    """A chain whose beginning was deleted goes on with what is left of it."""
    setup = response_setup(Reply("one"), Reply("two"))
    first = setup.wire.respond(input="a")
    second = setup.wire.respond(input="b", previous_response_id=first["id"])
    setup.wire.delete(f"/responses/{first['id']}")
    assert setup.chat_of(input="c", previous_response_id=second["id"]) == [
        ("user", "b"),
        ("assistant", "two"),
        ("user", "c"),
    ]


def test_model_reads_calls_and_outputs(response_setup: MakeResponseSetup) -> None:
    """The model reads calls and outputs as chats spell them."""
    setup = response_setup(TWO_CALLS, Reply("done"))
    conversation_id, response = setup.answered()
    setup.wire.respond(conversation=conversation_id, input=outputs_of(response, "1", "2"))
    one, two = (item["call_id"] for item in response["output"])
    assert setup.model.requests[-1].messages == (
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": one,
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 1}'},
                },
                {
                    "id": two,
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 2}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": one, "content": "1"},
        {"role": "tool", "tool_call_id": two, "content": "2"},
    )


def test_model_reads_images(response_setup: MakeResponseSetup) -> None:
    """Texts and image addresses go to the model, files it cannot read do not."""
    content = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "http://x/y.png"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_id": "file_2"},
    ]
    assert response_setup().chat_of(input=[{"role": "user", "content": content}]) == [
        (
            "user",
            [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "auto"}},
            ],
        )
    ]


def test_model_gets_the_tools(response_setup: MakeResponseSetup) -> None:
    """Tools go to the model as chats spell them, without what they leave open."""
    parameters = {"type": "object", "properties": {"a": {"type": "number"}}}
    setup = response_setup()
    setup.chat_of(
        tools=[
            {
                "type": "function",
                "name": "add",
                "description": "Add.",
                "parameters": parameters,
                "strict": False,
            },
            {"type": "function", "name": "stop", "strict": None},
        ]
    )
    function = {
        "name": "add",
        "description": "Add.",
        "parameters": parameters,
        "strict": False,
    }
    assert setup.model.requests[0].tools == (
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "stop"}},
    )


@pytest.mark.parametrize(
    "fields, choice",
    [
        ({}, "auto"),
        ({"tool_choice": "none"}, "none"),
        ({"tool_choice": "required"}, "required"),
        (
            {"tool_choice": {"type": "function", "name": "add"}},
            {"type": "function", "function": {"name": "add"}},
        ),
    ],
)
def test_model_gets_the_tool_choice(
    response_setup: MakeResponseSetup, fields: Json, choice: str | Json
) -> None:
    """The choice of tools goes to the model as chats spell it."""
    setup = response_setup()
    setup.chat_of(**fields)
    assert setup.model.requests[0].tool_choice == choice


SCHEMA = {"name": "sum", "schema": {"type": "object"}, "strict": True}


@pytest.mark.parametrize(
    "fields, options",
    [
        ({}, {}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"max_output_tokens": 99}, {"max_tokens": 99}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"summary": "auto"}}, {}),
        ({"text": {"verbosity": "low"}}, {}),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", **SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
    ],
)
def test_model_gets_options(response_setup: MakeResponseSetup, fields: Json, options: Json) -> None:
    """A response's parameters go to the model by its names; what is not said is left out."""
    setup = response_setup()
    setup.chat_of(**fields)
    assert setup.model.requests[0].options == {"parallel_tool_calls": True, **options}


# Cancelling.


def test_cancel_at_work(response_setup: MakeResponseSetup) -> None:
    """A response at work is cancelled at once."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    answered = setup.wire.cancel(response_id)
    assert (answered["status"], answered["output"]) == ("cancelled", [])
    assert setup.wire.response(response_id) == answered


def test_cancel_twice(response_setup: MakeResponseSetup) -> None:
    """A cancelled response may be cancelled again, and is as it was."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    assert setup.wire.cancel(response_id) == setup.wire.cancel(response_id)


def test_cancel_queued(response_setup: MakeResponseSetup, tmp_path: Path) -> None:
    """A response that nobody has taken up is cancelled at once."""
    setup = response_setup(location=str(tmp_path / "a.db"))
    response_id = setup.wire.respond(background=True)["id"]
    wait_until_idle()
    change_stored(tmp_path / "a.db", "responses", response_id, status="queued")
    assert setup.wire.cancel(response_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    "step, said",
    [(Reply("ok"), "a completed"), (Fail(), "a failed"), (Incomplete(), "an incomplete")],
)
def test_cancel_when_over(response_setup: MakeResponseSetup, step: Any, said: str) -> None:
    """A response that is over is not cancelled, and the refusal names its status."""
    wire = response_setup(step).wire
    response = wire.final(wire.respond(background=True)["id"])
    assert wire.refusal("POST", f"/responses/{response['id']}/cancel") == (
        400,
        plain(f"Cannot cancel {said} response."),
    )
    assert wire.response(response["id"]) == response


def test_late_cancel(response_setup: MakeResponseSetup) -> None:
    """A response whose time is up is not cancelled: it has failed."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 600
    refusal = setup.wire.refusal("POST", f"/responses/{response_id}/cancel")
    assert refusal == (400, plain("Cannot cancel a failed response."))
    assert setup.wire.response(response_id)["status"] == "failed"


def test_cancel_of_a_foreground_response(wire: ResponsesClient) -> None:
    """A response that was not made in the background is not cancelled."""
    assert wire.refusal("POST", f"/responses/{wire.respond()['id']}/cancel") == (
        400,
        plain("Cannot cancel a synchronous response."),
    )


@pytest.fixture
def held(
    executor: ThreadPoolExecutor, response_setup: MakeResponseSetup, tmp_path: Path
) -> Iterator[Callable[..., tuple[ResponseSetup, str, Future[Json]]]]:
    """Give a maker of foreground responses at work: response_setup, id, and the answer to come."""
    clients: list[ResponsesClient] = []

    def make(**fields: Any) -> tuple[ResponseSetup, str, Future[Json]]:
        setup = response_setup(Hold(Reply("hello")), location=str(tmp_path / "a.db"))
        client = ResponsesClient(setup.server.base_url)
        clients.append(client)
        answer = executor.submit(client.respond, **fields)
        wait_for(lambda: setup.model.requests, bool)
        (response_id,) = stored_ids(tmp_path / "a.db", "responses")
        return setup, response_id, answer

    yield make
    for client in clients:
        client.close()


Held = Callable[..., tuple[ResponseSetup, str, "Future[Json]"]]


def test_cancel_of_a_foreground_response_at_work(held: Held) -> None:
    """A response that its caller waits for is not cancelled, and comes to its end."""
    setup, response_id, answer = held()
    refusal = setup.wire.refusal("POST", f"/responses/{response_id}/cancel")
    setup.release()
    assert refusal == (400, plain("Cannot cancel a synchronous response."))
    assert answer.result(20)["status"] == "completed"


# Foreground, storing.


def test_foreground_response_is_found_at_work(held: Held) -> None:
    """A response that its caller waits for is found by others meanwhile."""
    setup, response_id, answer = held()
    found = setup.wire.response(response_id)
    setup.release()
    assert (found["status"], found["background"]) == ("in_progress", False)
    assert answer.result(20) == setup.wire.response(response_id)


def test_failed_foreground_response(response_setup: MakeResponseSetup) -> None:
    """A model's failure is told in the response, which is answered as any other."""
    wire = response_setup(Fail("rate_limit_exceeded", "Rate limit reached.")).wire
    answer = wire.send("POST", "/responses", json={"model": "any", "input": "hi"})
    assert (answer.status_code, answer.json()["error"]) == (
        200,
        {"code": "rate_limit_exceeded", "message": "Rate limit reached."},
    )


def test_foreground_response_deleted_at_work(held: Held) -> None:
    """A response that is deleted while its caller waits is answered without an output."""
    setup, response_id, answer = held()
    setup.wire.delete(f"/responses/{response_id}")
    setup.release()
    assert answer.result(20)["output"] == []


def test_response_that_is_not_stored_is_never_found(held: Held) -> None:
    """A response that is not to be stored is not found even while it is at work."""
    setup, response_id, answer = held(store=False)
    refusals = [
        setup.wire.refusal("GET", f"/responses/{response_id}"),
        setup.wire.refused(previous_response_id=response_id),
    ]
    setup.release()
    assert [status for status, _ in refusals] == [404, 400]
    assert [text_of(item) for item in answer.result(20)["output"]] == ["hello"]


def test_response_that_is_not_stored_is_not_kept(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """Nothing is left in the database of a response that is not to be stored."""
    setup = response_setup(location=str(tmp_path / "a.db"))
    setup.wire.respond(store=False)
    assert stored_ids(tmp_path / "a.db", "responses") == []


def test_background_needs_storing(wire: ResponsesClient) -> None:
    """A response in the background that is not to be stored is refused."""
    status, error = wire.refused(background=True, store=False)
    assert (status, error["param"]) == (400, "background")


# Refusals.


@pytest.mark.parametrize(
    "method, path, text",
    [
        ("GET", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("POST", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("DELETE", "/conversations/conv_x", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/conv_x/items", "Conversation with id 'conv_x' not found."),
        ("POST", "/conversations/conv_x/items", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/conv_x/items/msg_x", "Conversation with id 'conv_x' not found."),
        ("DELETE", "/conversations/conv_x/items/msg_x", "Conversation with id 'conv_x' not found."),
        ("GET", "/conversations/{conversation}/items/msg_x", "Item with id 'msg_x' not found."),
        ("DELETE", "/conversations/{conversation}/items/msg_x", "Item with id 'msg_x' not found."),
        ("GET", "/conversations/{conversation}/items?after=x", "Item with id 'x' not found."),
        ("GET", "/responses/resp_x", "Response with id 'resp_x' not found."),
        ("DELETE", "/responses/resp_x", "Response with id 'resp_x' not found."),
        ("POST", "/responses/resp_x/cancel", "Response with id 'resp_x' not found."),
        ("GET", "/responses/resp_x/input_items", "Response with id 'resp_x' not found."),
        ("GET", "/responses/{response}/input_items?after=x", "Item with id 'x' not found."),
    ],
)
def test_unknown_ids(wire: ResponsesClient, method: str, path: str, text: str) -> None:
    """An id that is not there is refused by its kind and name."""
    path = path.format(conversation=wire.conversation(), response=wire.respond()["id"])
    body: Json = {"json": {"metadata": {}}} if method == "POST" else {}
    if path.endswith("/items") and method == "POST":
        body = {"json": {"items": []}}
    assert wire.refusal(method, path, **body) == (404, plain(text))


@pytest.mark.parametrize("kind", ["conversations", "responses"])
def test_delete_twice(wire: ResponsesClient, kind: str) -> None:
    """What has been deleted is not found to be deleted again."""
    made = wire.conversation() if kind == "conversations" else wire.respond()["id"]
    wire.delete(f"/{kind}/{made}")
    assert wire.refusal("DELETE", f"/{kind}/{made}")[0] == 404


@pytest.mark.parametrize(
    "method, path, param, prefixed",
    [
        ("GET", "/conversations/x", "conversation_id", "conv"),
        ("DELETE", "/conversations/x", "conversation_id", "conv"),
        ("GET", "/conversations/x/items", "conversation_id", "conv"),
        ("GET", "/conversations/x/items/msg_x", "conversation_id", "conv"),
        ("GET", "/responses/x", "response_id", "resp"),
        ("DELETE", "/responses/x", "response_id", "resp"),
        ("POST", "/responses/x/cancel", "response_id", "resp"),
        ("GET", "/responses/x/input_items", "response_id", "resp"),
    ],
)
def test_malformed_ids(
    wire: ResponsesClient, method: str, path: str, param: str, prefixed: str
) -> None:
    """What cannot be an id is refused with how ids begin."""
    assert wire.refusal(method, path) == (
        400,
        plain(
            f"Invalid '{param}': 'x'. Expected an ID that begins with '{prefixed}'.",
            param=param,
            code="invalid_value",
        ),
    )


@pytest.mark.parametrize(
    "fields, status, param, code",
    [
        ({"conversation": "conv_x"}, 404, None, None),
        ({"conversation": {"id": "conv_x"}}, 404, None, None),
        ({"conversation": "x"}, 400, "conversation", "invalid_value"),
        ({"conversation": {}}, 400, "conversation.id", "missing_required_parameter"),
        ({"conversation": {"id": "conv_x", "x": 1}}, 400, "conversation.x", "unknown_parameter"),
        (
            {"previous_response_id": "resp_x"},
            400,
            "previous_response_id",
            "previous_response_not_found",
        ),
        ({"previous_response_id": "x"}, 400, "previous_response_id", "invalid_value"),
        (
            {"previous_response_id": "resp_x", "conversation": "conv_x"},
            400,
            None,
            "mutually_exclusive_parameters",
        ),
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": "no-such-model"}, 400, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": 5}, 400, "input", None),
        ({"input": ["hi"]}, 400, "input[0]", None),
        ({"input": [{"type": "nothing"}]}, 400, "input[0].type", "invalid_value"),
        ({"input": [{"type": "item_reference"}]}, 400, "input[0].type", "invalid_value"),
        ({"input": [{"role": "tool", "content": "x"}]}, 400, "input[0].role", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
            400,
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            {"input": [message("x"), {"role": "user"}]},
            400,
            "input[1].content",
            "missing_required_parameter",
        ),
        ({"tools": [{"type": "web_search"}]}, 400, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].name", "missing_required_parameter"),
        ({"tools": {}}, 400, "tools", None),
        ({"tool_choice": "sometimes"}, 400, "tool_choice", "invalid_value"),
        ({"tool_choice": {"type": "mcp"}}, 400, "tool_choice.type", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format.type", "invalid_value"),
        ({"text": {"x": 1}}, 400, "text.x", "unknown_parameter"),
        ({"reasoning": {"x": 1}}, 400, "reasoning.x", "unknown_parameter"),
        ({"truncation": "some"}, 400, "truncation", None),
        ({"temperature": "hot"}, 400, "temperature", None),
        ({"metadata": {"k" * 65: "x"}}, 400, "metadata", None),
        ({"stream": "yes"}, 400, "stream", None),
        ({"thread_id": "x"}, 400, "thread_id", "unknown_parameter"),
    ],
)
def test_bad_parameters(
    wire: ResponsesClient, fields: Json, status: int, param: str | None, code: str | None
) -> None:
    """A bad parameter is refused by its place, with a code where the wire has one."""
    given, error = wire.refused(**fields)
    assert (given, error["param"], error["code"]) == (status, param, code)


@pytest.mark.parametrize(
    "path, body, param, code",
    [
        ("/conversations", {"x": 1}, "x", "unknown_parameter"),
        ("/conversations", {"items": {}}, "items", None),
        ("/conversations", {"items": [{"role": "x"}]}, "items[0].role", "invalid_value"),
        ("/conversations/{conversation}", {}, "metadata", "missing_required_parameter"),
        ("/conversations/{conversation}", {"metadata": {"a": 1}}, "metadata[...]", None),
        ("/conversations/{conversation}/items", {}, "items", "missing_required_parameter"),
        (
            "/conversations/{conversation}/items",
            {"items": [call(), {"type": "function_call_output", "call_id": "call_a"}]},
            "items[1].output",
            "missing_required_parameter",
        ),
    ],
)
def test_bad_parameters_of_conversations(
    wire: ResponsesClient, path: str, body: Json, param: str, code: str | None
) -> None:
    """A bad parameter of a conversation is refused by its place."""
    status, error = wire.refusal("POST", path.format(conversation=wire.conversation()), json=body)
    assert (status, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    "path",
    [
        "/conversations",
        "/conversations/{conversation}",
        "/conversations/{conversation}/items",
        "/responses",
    ],
)
@pytest.mark.parametrize("data", ["{broken", "[1]", '"text"', "[]"])
def test_bodies_that_are_no_objects(wire: ResponsesClient, path: str, data: str) -> None:
    """A body that is not a JSON object is refused everywhere."""
    path = path.format(conversation=wire.conversation())
    headers = {"Content-Type": "application/json"}
    assert wire.refusal("POST", path, data=data, headers=headers) == (
        400,
        plain("The request body must be a JSON object."),
    )


@pytest.mark.parametrize(
    "path", ["/conversations/{conversation}/items", "/responses/{response}/input_items"]
)
def test_bad_query(wire: ResponsesClient, path: str) -> None:
    """A limit out of range is refused in the wire's words."""
    path = path.format(conversation=wire.conversation(), response=wire.respond()["id"])
    status, error = wire.refusal("GET", path, params={"limit": 101})
    assert (status, error["param"]) == (400, "limit")


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/conversations", 405),
        ("GET", "/responses", 405),
        ("PUT", "/conversations/conv_x", 405),
        ("GET", "/responses/resp_x/nothing", 404),
    ],
)
def test_unknown_routes(wire: ResponsesClient, method: str, path: str, status: int) -> None:
    """A path or a method that the wire does not have is refused as JSON."""
    assert wire.refusal(method, path) == (status, plain(f"Invalid URL ({method} /v1{path})"))


@pytest.mark.parametrize("value", ["true", "1", "True"])
def test_stream_of_a_foreground_response_is_refused(wire: ResponsesClient, value: str) -> None:
    """A response that was not made in the background is not given as a stream."""
    path = f"/responses/{wire.respond()['id']}"
    status, error = wire.refusal("GET", path, params={"stream": value})
    assert (status, error["param"]) == (400, "stream")


@pytest.mark.parametrize("fields", [{"stream": False}, {"stream": None}])
def test_no_stream_is_no_matter(wire: ResponsesClient, fields: Json) -> None:
    """A request that says that it wants no stream is answered."""
    assert wire.respond(**fields)["status"] == "completed"


def test_response_is_read_without_a_stream(wire: ResponsesClient) -> None:
    """A response is given to those who say that they want no stream."""
    response = wire.respond()
    assert wire.get(f"/responses/{response['id']}", stream="false") == response


@pytest.mark.parametrize(
    "fields",
    [
        {"include": ["reasoning.encrypted_content"]},
        {"max_tool_calls": 5},
        {"prompt_cache_key": "x"},
        {"prompt_cache_options": {"ttl": "30m"}},
        {"prompt_cache_retention": "24h"},
        {"safety_identifier": "x"},
        {"service_tier": "auto"},
        {"stream_options": {"include_obfuscation": False}},
        {"top_logprobs": 0},
        {"user": "x"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_parameters_that_mean_nothing(wire: ResponsesClient, fields: Json) -> None:
    """Parameters of the wire that mean nothing here are taken."""
    assert wire.respond(**fields)["status"] == "completed"


# Two wires.


def test_conversation_is_no_thread(wire: ResponsesClient) -> None:
    """A conversation is not a thread of the other wire."""
    conversation_id = wire.conversation()
    assert wire.refusal("GET", f"/threads/{conversation_id}") == (
        404,
        plain(f"No thread found with id '{conversation_id}'."),
    )


@pytest.mark.parametrize("name", ["thread", "run", "message"])
def test_objects_of_the_other_wire(wire: ResponsesClient, name: str) -> None:
    """Threads, runs and messages of the other wire are not found on this one."""
    thread_id = wire.thread("hi")
    run_id = wire.start(thread_id)
    wire.settled(thread_id, run_id)
    message_id = wire.get(f"/threads/{thread_id}/messages")["data"][0]["id"]
    path, status = {
        "thread": (f"/conversations/{thread_id}", 400),
        "run": (f"/responses/{run_id}", 400),
        "message": (f"/conversations/{wire.conversation()}/items/{message_id}", 404),
    }[name]
    assert wire.refusal("GET", path)[0] == status


def test_items_are_no_messages(wire: ResponsesClient) -> None:
    """A message of a conversation is not found in a thread."""
    item_id = wire.items(wire.conversation(message("hi")))[0]["id"]
    path = f"/threads/{wire.thread('hi')}/messages/{item_id}"
    assert wire.refusal("GET", path)[0] == 404


def test_wires_work_side_by_side(response_setup: MakeResponseSetup) -> None:
    """A run of the one wire and a response of the other do not hold each other up."""
    setup = response_setup(Hold(), Reply("one"), Reply("two"))
    setup.in_progress()
    thread_id = setup.wire.thread("hi")
    run = setup.wire.settled(thread_id, setup.wire.start(thread_id))
    _, response = setup.answered()
    assert (run["status"], response["status"]) == ("completed", "completed")


# Two servers, one database.


def test_servers_share_responses(response_setup: MakeResponseSetup, tmp_path: Path) -> None:
    """A response at work on one server locks, and is cancelled, through the other."""
    location = str(tmp_path / "a.db")
    one, other = response_setup(Hold(), location=location), response_setup(location=location)
    conversation_id, response_id = one.in_progress()
    refusal = other.wire.refused(conversation=conversation_id)
    other.wire.cancel(response_id)
    one.release()
    wait_until_idle()
    assert refusal == (400, LOCKED)
    assert one.wire.response(response_id)["status"] == "cancelled"


def test_calls_are_answered_at_the_other_server(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """A call of a response of one server is answered through the other."""
    location = str(tmp_path / "a.db")
    one, other = (
        response_setup(CALL, location=location),
        response_setup(Reply("done"), location=location),
    )
    conversation_id, response = one.answered()
    other.wire.respond(conversation=conversation_id, input=outputs_of(response, "1"))
    assert one.wire.item_texts(conversation_id)[-1] == "done"


# The work by itself.


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Give an engine in memory."""
    engine = Engine(Storage(":memory:"), [ScriptedModel(())])
    yield engine
    engine.close()


@pytest.mark.parametrize("status", ["in_progress", "completed", "cancelled"])
def test_only_queued_responses_are_taken_up(engine: Engine, status: str) -> None:
    """A response that is at work or over is left as it is."""
    response = {"id": "resp_1", "status": status, "_stored": True}
    with engine.storage.write() as connection:
        engine.storage.responses.insert(connection, response)
    engine.do(ResponseWork(engine, {**response, "status": "queued"}))
    with engine.storage.read() as connection:
        assert engine.storage.responses.get(connection, "resp_1") == response


def test_response_that_is_gone_is_not_taken_up(engine: Engine) -> None:
    """A response that was deleted before anybody took it up is not begun."""
    assert not ResponseWork(engine, {"id": "resp_1", "status": "queued"}).begin()


def test_response_that_cannot_be_kept(
    caplog: pytest.LogCaptureFixture, response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """A database that breaks while a model is at work is logged with the response's id."""
    location = tmp_path / "a.db"
    setup = response_setup(Hold(), location=str(location))
    _, response_id = setup.in_progress()
    drop_table(location, "responses")
    setup.release()
    with caplog.at_level(logging.ERROR):
        wait_until_idle()
    assert f"response {response_id} could not be kept" in caplog.text
