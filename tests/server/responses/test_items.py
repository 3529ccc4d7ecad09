"""Items of conversations: created, and checked against each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.responses import input_items, items
from tests.support.responses_client import call, message, output
from tests.support.wire_client import Json


def read(item: Json) -> Json:
    """Return an item as it is kept, without its id."""
    (kept,) = input_items.read_input([item])
    return {name: value for name, value in kept.items() if name != "id"}


def refusal_text(check: Callable[[], object]) -> str | None:
    """Return the text of a refusal, ``None`` when there is none."""
    try:
        check()
    except WireError as exc:
        return exc.message
    return None


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_reply(status: str) -> None:
    """A reply is a message of the assistant's with a status by whether it is whole."""
    made = items.reply("hi", status)
    assert made.pop("id").startswith("msg_")
    assert made == {"type": "message", **read({**message("hi", "assistant"), "status": status})}


def test_made_call() -> None:
    """A call is made with an id to answer by that is not the item's own."""
    made = items.call("add", "{}")
    assert made["id"].startswith("fc_")
    assert made["call_id"].startswith("call_")
    assert made["id"].removeprefix("fc_") != made["call_id"].removeprefix("call_")


@pytest.mark.parametrize(
    "history, added",
    [
        ([], []),
        ([message("hi")], [message("and?")]),
        ([call("a")], [output("a")]),
        ([call("a"), call("b")], [output("b"), output("a")]),
        ([call("a"), output("a")], []),
        ([call("a"), output("a"), call("a")], [output("a")]),
        ([], [call("a"), output("a")]),
        ([call("a"), message("hi")], [message("and?"), output("a")]),
    ],
)
def test_calls_that_are_answered(history: list[Json], added: list[Json]) -> None:
    """Calls that all have their output, whatever lies between, may be gone on from."""
    before, after = input_items.read_input(history), input_items.read_input(added)
    assert refusal_text(lambda: items.check_calls(before, after)) is None


@pytest.mark.parametrize(
    "history, added, text",
    [
        ([call("a")], [], "No tool output found for function call a."),
        ([], [call("a")], "No tool output found for function call a."),
        ([call("a"), call("b")], [output("a")], "No tool output found for function call b."),
        ([call("b"), call("a")], [], "No tool output found for function call b."),
        (
            [call("a"), output("a"), call("a")],
            [],
            "No tool output found for function call a.",
        ),
        (
            [],
            [output("a")],
            "No tool call found for function call output with call_id a.",
        ),
        (
            [call("a"), output("a")],
            [output("a")],
            "No tool call found for function call output with call_id a.",
        ),
        (
            [call("a")],
            [output("b")],
            "No tool call found for function call output with call_id b.",
        ),
        (
            [],
            [output("a"), call("a")],
            "No tool call found for function call output with call_id a.",
        ),
    ],
)
def test_calls_and_outputs_that_do_not_match(
    history: list[Json], added: list[Json], text: str
) -> None:
    """A call without an output, or an output without a call before it, is refused by its id."""
    before, after = input_items.read_input(history), input_items.read_input(added)
    assert refusal_text(lambda: items.check_calls(before, after)) == text


THERE = [{"id": "rs_1"}, {"id": "msg_1"}]


@pytest.mark.parametrize(
    "given",
    [
        [{**message("x"), "id": "msg_1"}],
        [message("x"), {**message("x"), "id": "msg_1"}],
    ],
)
def test_item_that_is_there(given: list[Json]) -> None:
    """An item with the id of one that is there is refused by it."""
    assert refusal_text(lambda: items.check_new(THERE, given)) == (
        "Duplicate item found with id msg_1. Remove duplicate items from your input and try again."
    )


@pytest.mark.parametrize(
    "given",
    [
        None,
        "msg_1",
        [],
        [message("x")],
        [{**message("x"), "id": None}],
        [{**message("x"), "id": "msg_2"}],
        [{**message("x"), "id": ["msg_1"]}],
    ],
)
def test_item_that_is_not_there(given: str | list[Json] | None) -> None:
    """An item with no id, or one that is not there, is new."""
    assert refusal_text(lambda: items.check_new(THERE, given)) is None
