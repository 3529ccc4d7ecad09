"""The Responses wire as data: responses, items, turns and notes."""

from __future__ import annotations

import json
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import FINAL_STATUSES, LIVE_STATUSES, Message, ToolCall, Usage
from gpt_agent_sync.services.responses import wire
from gpt_agent_sync.services.responses.turns import ConversationTurn, latest_turn, same_content
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, RunNote, read_note, with_note
from tests.support.response_items import (
    IMAGE,
    TEXT,
    Item,
    add,
    call,
    make_turn,
    output,
    said,
    usage,
    user,
)


def read(**facts: Any) -> ResponseSnapshot:
    """Read a response object."""
    return wire.read_response({"id": "r", "status": "completed", **facts}, "GET /x")


# responses


@pytest.mark.parametrize(
    "data",
    [{}, {"id": "r"}, {"status": "completed"}, {"id": "", "status": "x"}, {"id": 3, "status": "x"}],
)
def test_what_is_no_response_is_refused(data: dict[str, Any]) -> None:
    """Without an id and a status it is no response, and the request is named."""
    with pytest.raises(ProtocolError, match="GET /x is no response"):
        wire.read_response(data, "GET /x")


def test_error_in_place_of_a_response_is_told() -> None:
    """What a server says where a response should be stands in the error."""
    with pytest.raises(ProtocolError, match="the model is asleep"):
        wire.read_response({"error": {"message": "the model is asleep"}}, "GET /x")


def test_bare_response_is_read() -> None:
    """An id and a status are enough."""
    assert read() == ResponseSnapshot(id="r", status="completed")


@pytest.mark.parametrize(
    "facts",
    [
        {"output": None, "error": None, "usage": None, "metadata": None, "tools": None},
        {"output": {}, "error": "no", "usage": [], "metadata": 3, "incomplete_details": "x"},
        {"output": ["x", None, 3, [{}]]},
    ],
)
def test_odd_fields_are_taken_as_empty(facts: dict[str, Any]) -> None:
    """Fields that a server fills in oddly are as good as not there."""
    assert attrs.evolve(read(**facts), parameters={}) == ResponseSnapshot(
        id="r", status="completed"
    )


def test_output_is_sorted_into_calls_and_messages() -> None:
    """Calls and messages are read out of the output, and what is neither counts by its id."""
    seen = read(output=[{"type": "reasoning", "id": "rs"}, said("hi"), call("a"), call("b")])
    assert (seen.calls, [message.content for message in seen.messages], seen.item_ids) == (
        (add("a"), add("b")),
        ["hi"],
        ("rs", "m", "fc_a", "fc_b"),
    )


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES | LIVE_STATUSES))
def test_response_is_final_by_its_status(status: str) -> None:
    """A response is over when its status says so."""
    assert read(status=status).is_final is (status in FINAL_STATUSES)


@pytest.mark.parametrize(
    "status, waits",
    [
        ("completed", True),
        ("in_progress", False),
        ("incomplete", False),
        ("failed", False),
        ("cancelled", False),
    ],
)
def test_only_a_completed_response_waits_for_outputs(status: str, waits: bool) -> None:
    """Calls of a response that did not complete are nothing to answer."""
    assert bool(read(status=status, output=[call()]).waiting_calls) is waits


@pytest.mark.parametrize(
    "facts, code, message",
    [
        ({"error": {"code": "server_error", "message": "oops"}}, "server_error", "oops"),
        ({"error": {"message": "oops"}}, None, "oops"),
        (
            {"incomplete_details": {"reason": "max_output_tokens"}},
            "max_completion_tokens",
            None,
        ),
        ({"incomplete_details": {"reason": "content_filter"}}, "content_filter", None),
        ({"incomplete_details": {"reason": None}}, None, None),
    ],
)
def test_reasons_are_read(facts: dict[str, Any], code: str | None, message: str | None) -> None:
    """The reason of a failed or incomplete response is read, in the words that runs have."""
    seen = read(**facts)
    assert (seen.error_code, seen.error_message) == (code, message)


def test_usage_of_a_response_is_read() -> None:
    """Tokens have the names of this wire."""
    seen = read(usage={"input_tokens": 1, "output_tokens": 2, "total_tokens": 4})
    assert seen.usage == Usage(input_tokens=1, output_tokens=2, total_tokens=4)


def test_response_names_the_one_before_it() -> None:
    """The response before it in its run is read out of the metadata."""
    assert read(metadata={wire.PREVIOUS_KEY: "r0"}).previous_id == "r0"


def test_response_tells_what_it_was_made_with() -> None:
    """Model, instructions, tools and options are kept, where there are any."""
    tools = [{"type": "function", "name": "add"}]
    seen = read(model="m", instructions=None, tools=tools, temperature=1, user="u")
    assert seen.parameters == {"model": "m", "tools": tools, "temperature": 1}


# items


@pytest.mark.parametrize(
    "item, read_as",
    [
        (call(), add()),
        ({**call(), "id": None}, add()),
        ({**call(), "arguments": {"a": 1}}, ToolCall(id="c", name="add", arguments='{"a": 1}')),
        ({**call(), "arguments": None}, add()),
        ({**call(), "call_id": None}, None),
        ({**call(), "name": 3}, None),
        ({**call(), "type": "mcp_call"}, None),
        (output(), None),
        (said(), None),
        ({}, None),
    ],
)
def test_call_is_read(item: Item, read_as: ToolCall | None) -> None:
    """An item of a function call is read, by the id that answers it, and no other."""
    assert wire.read_call(item) == read_as


@pytest.mark.parametrize(
    "item, text",
    [
        (said("hi"), "hi"),
        (user("hi"), "hi"),
        ({"role": "assistant", "content": "hi"}, "hi"),
        ({"type": "message", "role": "assistant", "content": None}, ""),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            "No.",
        ),
        (
            {"role": "assistant", "content": [{"type": "output_text", "text": t} for t in "ab"]},
            "ab",
        ),
    ],
)
def test_text_of_a_message_item(item: Item, text: str) -> None:
    """The texts of a message item are joined, however it spells them."""
    (message,) = wire.read_messages([item], "r")
    assert message.content == text


@pytest.mark.parametrize(
    "item",
    [call(), output(), {"type": "reasoning", "role": "assistant"}, {"type": "message"}, {}],
)
def test_what_is_no_message_item(item: Item) -> None:
    """Items of other types, and what has no role, are no messages."""
    assert wire.read_messages([item], "r") == ()


def test_messages_keep_role_id_and_parts() -> None:
    """A message is told with its id, its role and its raw parts."""
    (message,) = wire.read_messages([said("hi", "m1")], "r")
    assert message == Message(
        id="m1", role="assistant", content="hi", parts=tuple(said("hi")["content"])
    )


def test_messages_without_ids_get_some() -> None:
    """A message without an id is known by its owner's and its place."""
    items = [call(), {**said(), "id": None}, {**said(), "id": ""}]
    assert [message.id for message in wire.read_messages(items, "r")] == ["r_1", "r_2"]


# the end of a conversation


@pytest.mark.parametrize(
    "newest, turn",
    [
        ([], None),
        ([said()], None),
        ([output(), call()], None),
        ([user()], [user()]),
        ([said(), user()], [user(), said()]),
        ([said(), user(), said("old"), user("old")], [user(), said()]),
        ([user("new", "u2"), user()], [user("new", "u2")]),
        ([output(), call(), user()], [user(), call(), output()]),
    ],
)
def test_turn_begins_at_the_users_last_message(newest: list[Item], turn: list[Item] | None) -> None:
    """The newest turn is what there is from the user's last message on, oldest first."""
    found = latest_turn(newest)
    assert (None if found is None else list(found.items)) == turn


@pytest.mark.parametrize(
    "turn, waiting",
    [
        (make_turn(), ()),
        (make_turn(user(), said()), ()),
        (make_turn(user(), call()), (add(),)),
        (make_turn(user(), call(), output()), ()),
        (make_turn(user(), call("a"), call("b"), output("a")), (add("b"),)),
        (make_turn(user(), call("a"), output("a"), call("b")), (add("b"),)),
        (make_turn(output(), call()), ()),
    ],
)
def test_calls_without_outputs_wait(turn: ConversationTurn, waiting: tuple[ToolCall, ...]) -> None:
    """The calls that wait are those that have no output."""
    assert turn.unanswered_calls == waiting


@pytest.mark.parametrize(
    "turn, content",
    [
        (make_turn(), None),
        (make_turn(call()), None),
        (make_turn(said()), None),
        (make_turn(user("a"), said()), ({"type": "input_text", "text": "a"},)),
        (
            make_turn({"role": "user", "content": "a"}),
            ({"type": "output_text", "text": "a"},),
        ),
    ],
)
def test_users_message_of_a_turn(turn: ConversationTurn, content: Any) -> None:
    """A turn that begins with the user's message shows its parts."""
    assert turn.user_content == content


@pytest.mark.parametrize(
    "turn, run_id",
    [(make_turn(), ""), (make_turn(user()), "u"), (make_turn({"role": "user", "id": None}), "")],
)
def test_run_of_a_turn_is_named_by_its_first_item(turn: ConversationTurn, run_id: str) -> None:
    """Where no response is known, the first item's id stands for the run's."""
    assert turn.run_id == run_id


def test_ids_of_a_turn() -> None:
    """The ids of a turn are those that its items have."""
    assert make_turn(user(), {"type": "reasoning"}, said()).item_ids == ("u", "m")


def test_messages_of_a_turn_are_the_assistants() -> None:
    """The user's message is not told as the assistant's."""
    assert [message.id for message in make_turn(user(), said()).messages] == ["m"]


PICTURE = {"type": "input_image", "file_id": "f"}


@pytest.mark.parametrize(
    "one, other, same",
    [
        ((TEXT,), (TEXT,), True),
        ((TEXT,), ({**TEXT, "annotations": []},), True),
        ((TEXT,), ({"type": "output_text", "text": "a"},), True),
        ((TEXT,), ({**TEXT, "text": "b"},), False),
        ((TEXT,), (TEXT, TEXT), False),
        ((TEXT, IMAGE), (TEXT, {**IMAGE, "detail": "auto", "file_id": None}), True),
        ((TEXT, IMAGE), (IMAGE, TEXT), False),
        ((IMAGE,), ({**IMAGE, "image_url": "y"},), False),
        ((IMAGE,), (PICTURE,), True),
        ((IMAGE,), ({"type": "input_image"},), True),
        ((PICTURE,), ({**PICTURE, "file_id": "g"},), False),
        ((), (), True),
    ],
)
def test_same_content(one: Any, other: Any, same: bool) -> None:
    """Messages say the same by their texts and images, whatever a server adds to them."""
    assert same_content(one, other) is same


# notes

words = st.text(min_size=1, max_size=10)
notes = st.builds(
    RunNote,
    run_id=words,
    response_id=words,
    assistant_id=st.none() | words,
    ended_early=st.booleans(),
)


@given(note=notes)
def test_note_is_read_as_it_was_written(note: RunNote) -> None:
    """A note comes out of a conversation's metadata as it went in."""
    assert read_note(with_note({}, note)) == note


@given(note=notes, metadata=st.dictionaries(st.text(min_size=1, max_size=8), st.text(), max_size=8))
def test_note_leaves_other_pairs_alone(note: RunNote, metadata: dict[str, str]) -> None:
    """The program's own metadata stay as they are."""
    pairs = with_note(metadata, note)
    assert pairs is not None
    assert {key: value for key, value in pairs.items() if key != wire.RUN_KEY} == metadata


@given(
    run=st.text(min_size=1, max_size=200),
    response=st.text(min_size=1, max_size=200),
    assistant=st.text(max_size=400),
)
def test_note_fits_into_a_pair(run: str, response: str, assistant: str) -> None:
    """A note that is written is no longer than metadata may be."""
    note = RunNote(run_id=run, response_id=response, assistant_id=assistant)
    pairs = with_note({}, note)
    assert pairs is None or len(pairs[wire.RUN_KEY]) <= wire.METADATA_VALUE


def test_note_goes_without_an_assistant_that_has_no_room() -> None:
    """The long id of an assistant is left out, and the rest of the note is kept."""
    note = RunNote(run_id="r", response_id="s", assistant_id="a" * 500, ended_early=True)
    read_again = read_note(with_note({}, note))
    assert read_again == attrs.evolve(note, assistant_id=None)


NOTE = RunNote(run_id="r", response_id="s", assistant_id="a")


@pytest.mark.parametrize(
    "metadata, has_room",
    [
        ({f"k{number}": "v" for number in range(15)}, True),
        ({f"k{number}": "v" for number in range(16)}, False),
        ({wire.RUN_KEY: "old", **{f"k{number}": "v" for number in range(15)}}, True),
    ],
)
def test_note_needs_a_pair_of_its_own(metadata: dict[str, str], has_room: bool) -> None:
    """A note goes into metadata that have a pair to spare, or one already."""
    assert (with_note(metadata, NOTE) is not None) is has_room


def test_note_that_is_too_long_is_not_written() -> None:
    """A note whose ids alone are too long is left out."""
    assert with_note({}, RunNote(run_id="r" * 300, response_id="s" * 300)) is None


def test_note_replaces_the_older_one() -> None:
    """A conversation names one run, the newest."""
    older = with_note({}, RunNote(run_id="r0", response_id="r0", ended_early=True))
    assert read_note(with_note(older or {}, NOTE)) == NOTE


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        "text",
        {wire.RUN_KEY: ""},
        {wire.RUN_KEY: None},
        {wire.RUN_KEY: 3},
        {wire.RUN_KEY: "no JSON"},
        {wire.RUN_KEY: "[1]"},
        {wire.RUN_KEY: "null"},
        {wire.RUN_KEY: "{}"},
        {wire.RUN_KEY: json.dumps({"run": "r"})},
        {wire.RUN_KEY: json.dumps({"run": "", "response": "s"})},
    ],
)
def test_note_that_cannot_be_read_is_none(metadata: Any) -> None:
    """Whatever else stands in a conversation's metadata is no note."""
    assert read_note(metadata) is None


@pytest.mark.parametrize("over", [None, 0, 1, "true", False])
def test_note_is_over_only_if_it_says_so(over: Any) -> None:
    """Only a plain true means that a run was ended."""
    text = json.dumps({"run": "r", "response": "s", "over": over})
    assert read_note({wire.RUN_KEY: text}) == RunNote(run_id="r", response_id="s")


# tokens

usages = st.none() | st.builds(
    Usage,
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    total_tokens=st.integers(0, 18),
)


@pytest.mark.parametrize(
    "one, other, total",
    [
        (None, None, None),
        (usage(1), None, usage(1)),
        (None, usage(1), usage(1)),
        (usage(1), usage(2), usage(3)),
        (Usage(), usage(1), usage(1)),
    ],
)
def test_tokens_are_added_up(one: Usage | None, other: Usage | None, total: Usage | None) -> None:
    """Tokens are added up, as far as a service counts them."""
    assert wire.add_usage(one, other) == total


@given(one=usages, other=usages, third=usages)
def test_tokens_are_added_up_in_any_order(
    one: Usage | None, other: Usage | None, third: Usage | None
) -> None:
    """However the responses of a run come together, they used the same."""
    assert wire.add_usage(wire.add_usage(one, other), third) == wire.add_usage(
        one, wire.add_usage(third, other)
    )
