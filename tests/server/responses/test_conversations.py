"""Conversations and their items over HTTP, and what responses add to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.responses_client import (
    ResponsesClient,
    message,
    text_of,
)
from tests.support.server_setup import (
    TWO_CALLS,
    MakeResponseSetup,
    stored_ids,
    wait_until_idle,
)
from tests.support.wire_client import Json, plain_error


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
        plain_error(
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
        plain_error(f"Item with id '{item_id}' not found."),
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
    """A response may be deleted while its model answers, whose reply then goes nowhere."""
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
    """A conversation may be deleted under a live response, whose reply is then its own only."""
    setup = response_setup(Hold(Reply("hello")), location=str(tmp_path / "a.db"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.delete(f"/conversations/{conversation_id}")
    setup.release()
    response = setup.wire.final(response_id)
    assert [text_of(item) for item in response["output"]] == ["hello"]
    assert stored_ids(tmp_path / "a.db", "items") == []
    assert caplog.records == []
