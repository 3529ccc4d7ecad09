"""Responses over HTTP: their shapes, where they are stored, and the other wire beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.responses_client import (
    ResponsesClient,
    message,
    text_of,
)
from tests.support.server_setup import (
    CALL,
    START,
    TWO_CALLS,
    MakeForeground,
    MakeResponseSetup,
    MakeServer,
    stored_ids,
)
from tests.support.wire_client import Json, id_prefix, plain_error


def test_conversation_shape(wire: ResponsesClient) -> None:
    """A conversation has all the fields of the wire."""
    made = wire.post("/conversations", {"metadata": {"a": "b"}})
    assert id_prefix(made.pop("id")) == "conv"
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
    assert id_prefix(made.pop("id")) == "resp"
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
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "truncation": "disabled",
        "user": None,
        "safety_identifier": None,
        "prompt_cache_key": None,
    }


def test_response_in_progress(response_setup: MakeResponseSetup) -> None:
    """A response whose model answers is in progress."""
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
    """A model's text, though given in several deltas, is one message of the assistant's."""
    _, response = response_setup(Reply("Hel", "lo")).answered()
    (item,) = response["output"]
    assert id_prefix(item.pop("id")) == "msg"
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
    assert (id_prefix(item.pop("id")), id_prefix(item.pop("call_id"))) == ("fc", "call")
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
def test_reading_is_hinted_to_wait_while_a_response_is_live(
    response_setup: MakeResponseSetup, method: str
) -> None:
    """The answer about a live response says after how many milliseconds to poll again."""
    wire = response_setup(Hold()).wire
    body = {"model": "any", "input": "hi", "background": True}
    answer = wire.send("POST", "/responses", json=body)
    if method == "GET":
        answer = wire.send("GET", f"/responses/{answer.json()['id']}")
    assert answer.headers["openai-poll-after-ms"] == "20"


def test_reading_is_not_hinted_to_wait_for_a_response_that_is_final(wire: ResponsesClient) -> None:
    """The answer about a final response has no hint to poll again."""
    answer = wire.send("GET", f"/responses/{wire.respond()['id']}")
    assert answer.ok
    assert "openai-poll-after-ms" not in answer.headers


def test_foreground_response_is_found_in_progress(foreground: MakeForeground) -> None:
    """A response that its caller waits for is found by others meanwhile."""
    setup, response_id, answer = foreground()
    found = setup.wire.response(response_id)
    setup.release()
    assert (found["status"], found["background"]) == ("in_progress", False)
    assert answer.result(20) == setup.wire.response(response_id)


def test_failed_foreground_response(response_setup: MakeResponseSetup) -> None:
    """A model's failure is in the response, which is answered as any other."""
    wire = response_setup(Fail("rate_limit_exceeded", "Rate limit reached.")).wire
    answer = wire.send("POST", "/responses", json={"model": "any", "input": "hi"})
    assert (answer.status_code, answer.json()["error"]) == (
        200,
        {"code": "rate_limit_exceeded", "message": "Rate limit reached."},
    )


def test_foreground_response_deleted_in_progress(foreground: MakeForeground) -> None:
    """A response that is deleted while its caller waits is answered without an output."""
    setup, response_id, answer = foreground()
    setup.wire.delete(f"/responses/{response_id}")
    setup.release()
    assert answer.result(20)["output"] == []


def test_response_that_is_not_stored_is_never_found(foreground: MakeForeground) -> None:
    """A response that is not to be stored is not found even while it is in progress."""
    setup, response_id, answer = foreground(store=False)
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


def test_conversation_is_no_thread(wire: ResponsesClient) -> None:
    """A conversation is not a thread of the other wire."""
    conversation_id = wire.conversation()
    assert wire.refusal("GET", f"/threads/{conversation_id}") == (
        404,
        plain_error(f"No thread found with id '{conversation_id}'."),
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
