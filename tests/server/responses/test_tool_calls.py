"""Calls that wait for outputs, and items that come twice."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.testing import Fail, Hold, Reply
from tests.support.responses_client import (
    ResponsesClient,
    message,
    output,
    outputs_of,
)
from tests.support.server_setup import (
    CALL,
    TWO_CALLS,
    MakeResponseSetup,
)
from tests.support.wire_client import Json, plain_error


def test_unanswered_calls(response_setup: MakeResponseSetup) -> None:
    """A response is refused while a call of the conversation has no output."""
    setup = response_setup(CALL)
    conversation_id, response = setup.answered()
    call_id = response["output"][0]["call_id"]
    assert setup.wire.refused(conversation=conversation_id) == (
        400,
        plain_error(f"No tool output found for function call {call_id}.", param="input"),
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
        plain_error(
            "No tool call found for function call output with call_id call_x.", param="input"
        ),
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
    outputs = [said for said in setup.model.requests[-1].messages if said["role"] == "tool"]
    assert [(said["tool_call_id"], said["content"]) for said in outputs] == [
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
        plain_error(f"No tool output found for function call {call_id}.", param="input"),
    )


def twice(item_id: str) -> Json:
    """Return the refusal of an item that is there already."""
    return plain_error(
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
