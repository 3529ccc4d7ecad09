"""The Responses wire as data: responses, items, notes, and the way of a run through them."""

from __future__ import annotations

import json
import os
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import FINAL_STATUSES, LIVE_STATUSES, Message, ToolCall, Usage
from gpt_agent_sync.services.responses import cache, wire
from gpt_agent_sync.services.responses.cache import CachedConversation, ConversationCache
from gpt_agent_sync.services.responses.chain import (
    ResponseChain,
    chain_of_turn,
    is_recorded,
    waiting_chain,
)
from gpt_agent_sync.services.responses.turns import ConversationTurn, latest_turn, same_content
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, RunNote, read_note, with_note

Item = dict[str, Any]


def user(text: str = "hello", item_id: str = "u") -> Item:
    """Give the item of a user's message."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "id": item_id, "role": "user", "content": content}


def said(text: str = "hi", item_id: str = "m") -> Item:
    """Give the item of an assistant's message."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": item_id, "role": "assistant", "content": content}


def call(call_id: str = "c") -> Item:
    """Give the item of a function call."""
    return {
        "type": "function_call",
        "id": f"fc_{call_id}",
        "call_id": call_id,
        "name": "add",
        "arguments": "{}",
    }


def output(call_id: str = "c") -> Item:
    """Give the item of an output."""
    return {"type": "function_call_output", "id": f"o_{call_id}", "call_id": call_id, "output": "1"}


def read(**facts: Any) -> ResponseSnapshot:
    """Read a response object."""
    return wire.read_response({"id": "r", "status": "completed", **facts}, "GET /x")


def add(call_id: str = "c") -> ToolCall:
    """Give the call that the item of its id is read as."""
    return ToolCall(id=call_id, name="add", arguments="{}")


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


def make_turn(*items: Item) -> ConversationTurn:
    """Return a turn of items, oldest first."""
    return ConversationTurn(items=items)


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


TEXT, IMAGE = {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "x"}
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
    """Only a plain true tells that a run was ended."""
    text = json.dumps({"run": "r", "response": "s", "over": over})
    assert read_note({wire.RUN_KEY: text}) == RunNote(run_id="r", response_id="s")


# tokens

usages = st.none() | st.builds(
    Usage,
    input_tokens=st.integers(0, 9),
    output_tokens=st.integers(0, 9),
    total_tokens=st.integers(0, 18),
)


def usage(number: int) -> Usage:
    """Give the usage of so many tokens each way."""
    return Usage(input_tokens=number, output_tokens=number, total_tokens=2 * number)


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


# the responses of a run


def seen(
    response_id: str = "r", status: str = "completed", *calls: ToolCall, **facts: Any
) -> ResponseSnapshot:
    """Return a response as it was seen."""
    return ResponseSnapshot(id=response_id, status=status, calls=calls, **facts)


def make_chain(latest: ResponseSnapshot | None = None, **facts: Any) -> ResponseChain:
    """Give a run that is at its first response."""
    given = {"run_id": "r", "response_id": "r", "assistant_id": "a", **facts}
    return ResponseChain(latest=latest, **given)


@pytest.mark.parametrize(
    "chain, status",
    [
        (make_chain(), "in_progress"),
        (make_chain(seen("r", "queued")), "queued"),
        (make_chain(seen("r", "in_progress")), "in_progress"),
        (make_chain(seen("r", "completed")), "completed"),
        (make_chain(seen("r", "completed", add())), "requires_action"),
        (make_chain(seen("r", "in_progress", add())), "in_progress"),
        (make_chain(seen("r", "failed", add())), "failed"),
        (make_chain(seen("r", "incomplete")), "incomplete"),
        (make_chain(seen("r", "completed", add()), ended_early=True), "cancelled"),
        (make_chain(seen("r2", "in_progress"), response_id="r2"), "in_progress"),
    ],
)
def test_status_of_a_run(chain: ResponseChain, status: str) -> None:
    """A run is where its latest response is, and waits where that ended with calls."""
    assert chain.snapshot().status == status


@pytest.mark.parametrize("response_id", ["r", "r2", None])
@pytest.mark.parametrize("over", [True, False])
@pytest.mark.parametrize("latest", [None, seen("r2")])
def test_run_keeps_its_id(
    response_id: str | None, over: bool, latest: ResponseSnapshot | None
) -> None:
    """Whichever response a run is at, its id is that of the first, and its assistant stays."""
    snapshot = make_chain(latest, response_id=response_id, ended_early=over).snapshot()
    assert (snapshot.id, snapshot.assistant_id) == ("r", "a")


@pytest.mark.parametrize(
    "chain, calls",
    [
        (make_chain(), ()),
        (make_chain(seen("r", "completed", add("a"), add("b"))), (add("a"), add("b"))),
        (make_chain(seen("r", "in_progress", add("a"))), ()),
        (make_chain(seen("r", "completed", add("a")), ended_early=True), ()),
    ],
)
def test_calls_that_a_run_waits_for(chain: ResponseChain, calls: tuple[ToolCall, ...]) -> None:
    """A snapshot tells the calls that are to be answered, and none of a run that is over."""
    assert chain.snapshot().tool_calls == calls


def test_failed_run_tells_why() -> None:
    """The service's code and words come with the snapshot."""
    snapshot = make_chain(seen("r", "failed", error_code="c", error_message="why")).snapshot()
    assert (snapshot.error_code, snapshot.error_message) == ("c", "why")


@pytest.mark.parametrize(
    "status, earlier, used, total",
    [
        ("completed", None, None, None),
        ("completed", None, usage(1), usage(1)),
        ("completed", usage(2), usage(1), usage(3)),
        ("failed", usage(2), None, usage(2)),
        ("in_progress", usage(2), usage(1), None),
    ],
)
def test_usage_of_a_run(
    status: str, earlier: Usage | None, used: Usage | None, total: Usage | None
) -> None:
    """A run that is over has used what all its responses did."""
    assert (
        make_chain(seen("r", status, usage=used), earlier_usage=earlier).snapshot().usage == total
    )


@pytest.mark.parametrize(
    "chain, is_live",
    [
        (make_chain(), True),
        (make_chain(seen("r", "queued")), True),
        (make_chain(seen("r", "completed")), False),
        (make_chain(seen("r", "failed")), False),
        (make_chain(ended_early=True), False),
    ],
)
def test_run_is_live(chain: ResponseChain, is_live: bool) -> None:
    """A run is live until its response was seen to be over, or it was ended."""
    assert chain.is_live is is_live


@pytest.mark.parametrize(
    "chain, may",
    [
        (make_chain(), False),
        (make_chain(seen()), False),
        (make_chain(seen("r", "failed")), True),
        (make_chain(seen("r", "failed"), ended_early=True), False),
        (
            make_chain(seen(), refused_outputs=({"type": "function_call_output", "call_id": "a"},)),
            True,
        ),
    ],
)
def test_run_can_restart(chain: ResponseChain, may: bool) -> None:
    """A run may begin again when it failed, or was limited, and nobody ended it."""
    assert chain.can_restart is may


@pytest.mark.parametrize(
    "chain, note",
    [
        (make_chain(), RunNote(run_id="r", response_id="r", assistant_id="a")),
        (
            make_chain(response_id="r2", ended_early=True, assistant_id=None),
            RunNote(run_id="r", response_id="r2", ended_early=True),
        ),
        (make_chain(response_id=None), None),
    ],
)
def test_note_of_a_run(chain: ResponseChain, note: RunNote | None) -> None:
    """The note names run, response and assistant, where a response is known."""
    assert chain.note == note


@pytest.mark.parametrize(
    "note, says_so",
    [
        (RunNote(run_id="r", response_id="r2", assistant_id="a"), True),
        (RunNote(run_id="r", response_id="r2"), True),
        (RunNote(run_id="r", response_id="r", assistant_id="a"), False),
        (RunNote(run_id="r", response_id="r2", assistant_id="a", ended_early=True), False),
    ],
)
def test_note_that_says_what_is_known(note: RunNote, says_so: bool) -> None:
    """A note tells nothing new of a run that is at its response, whichever assistant it names."""
    assert make_chain(response_id="r2").matches_note(note) is says_so


@pytest.mark.parametrize(
    "given_items, latest, ids",
    [
        (None, None, set()),
        (({"type": "message", "role": "user", "content": "hello"},), None, set()),
        (({"type": "function_call_output", "call_id": "a", "output": "1"},), None, {"a"}),
        (None, seen("r", "completed", add("b")), {"b"}),
        (
            ({"type": "function_call_output", "call_id": "a", "output": "1"},),
            seen("r", "completed", add("b")),
            {"a", "b"},
        ),
        (None, seen("r", "failed", add("b")), {"b"}),
    ],
)
def test_calls_of_a_run(
    given_items: tuple[Item, ...] | None, latest: ResponseSnapshot | None, ids: set[str]
) -> None:
    """The calls that a run asked for, and those whose outputs it was given, are its own."""
    assert make_chain(latest, input_items=given_items).call_ids == ids


def message(message_id: str, role: str = "assistant") -> Message:
    """Give a message."""
    return Message(id=message_id, role=role, content="hi")


FIRST = seen("r", "completed", add("a"), messages=(message("m1"),), usage=usage(1))
SECOND = seen("r2", "completed", add("b"), messages=(message("m2"),), usage=usage(2))
THIRD = seen("r3", "completed", messages=(message("m3"),), usage=usage(4))
OUTPUTS: tuple[Item, ...] = ({"type": "function_call_output", "call_id": "a", "output": "1"},)


def continued() -> ResponseChain:
    """Give a run that has gone on twice."""
    begun = make_chain(FIRST, submitting=True, followed_since=1.0)
    return begun.continued(SECOND, OUTPUTS, 2.0).continued(THIRD, OUTPUTS, 3.0)


@pytest.mark.parametrize(
    "name, value",
    [
        ("run_id", "r"),
        ("response_id", "r3"),
        ("assistant_id", "a"),
        ("input_items", OUTPUTS),
        ("latest", THIRD),
        ("earlier_response_ids", frozenset({"r", "r2"})),
        ("earlier_messages", (message("m1"), message("m2"))),
        ("earlier_usage", usage(3)),
        ("followed_since", 3.0),
        ("submitting", False),
    ],
)
def test_run_that_went_on(name: str, value: Any) -> None:
    """A run that went on is at its newest response, and knows those before it."""
    assert getattr(continued(), name) == value


def test_usage_is_added_up_over_the_responses() -> None:
    """At its end a run has used what all its responses did."""
    assert continued().snapshot().usage == usage(7)


def test_messages_of_all_responses_are_the_runs() -> None:
    """The messages of a run are those of its responses, in order, under its own id."""
    assert [
        (told.id, told.run_id, told.assistant_id) for told in continued().assistant_messages()
    ] == [
        ("m1", "r", "a"),
        ("m2", "r", "a"),
        ("m3", "r", "a"),
    ]


def test_messages_of_others_are_not_the_runs() -> None:
    """A user's message among the items is not told as the assistant's."""
    latest = seen(messages=(message("u", "user"), message("m")))
    assert [told.id for told in make_chain(latest).assistant_messages()] == ["m"]


def test_run_that_nobody_polled_has_no_messages() -> None:
    """Before the first poll there are no messages."""
    assert make_chain().assistant_messages() == []


def test_run_that_went_on_unseen() -> None:
    """A response that nobody polled leaves nothing behind when the run goes on."""
    went_on = make_chain().continued(SECOND, OUTPUTS, 2.0)
    assert (went_on.earlier_response_ids, went_on.earlier_messages, went_on.earlier_usage) == (
        frozenset(),
        (),
        None,
    )


def test_further_poll_replaces_the_last_one() -> None:
    """A poll of the same response changes nothing else of the run."""
    before = continued()
    assert before.with_latest(SECOND) == attrs.evolve(before, latest=SECOND)


def test_run_is_the_same_read_backwards() -> None:
    """A run that is read from its newest response back is the one that was followed."""
    read_back = make_chain(THIRD, response_id="r3").with_earlier(SECOND).with_earlier(FIRST)
    followed = continued()
    assert (
        read_back.earlier_response_ids,
        read_back.assistant_messages(),
        read_back.snapshot(),
    ) == (followed.earlier_response_ids, followed.assistant_messages(), followed.snapshot())


GIVEN = {"type": "message", "role": "user", "content": "hello"}


def answer(call_id: str) -> Item:
    """Give an output as it is sent."""
    return {"type": "function_call_output", "call_id": call_id, "output": "1"}


@pytest.mark.parametrize(
    "given_items, turn, stand",
    [
        ([GIVEN], make_turn(user()), True),
        ([GIVEN], make_turn(user(), said()), True),
        ([GIVEN], make_turn(user("other")), False),
        ([GIVEN], make_turn(), False),
        ([GIVEN], make_turn(said("hello")), False),
        (
            [{**GIVEN, "content": [TEXT, IMAGE]}],
            make_turn({**user(), "content": [TEXT, IMAGE]}),
            True,
        ),
        ([{**GIVEN, "content": [TEXT, IMAGE]}], make_turn({**user(), "content": [TEXT]}), False),
        ([answer("z"), GIVEN], make_turn(user()), True),
        ([answer("z"), GIVEN], make_turn(user("other"), call("z"), output("z")), False),
        ([answer("a")], make_turn(user(), call("a"), output("a"), said()), True),
        ([answer("a")], make_turn(user(), call("a")), False),
        ([answer("a"), answer("b")], make_turn(call("a"), call("b"), output("a")), False),
        ([answer("a"), answer("b")], make_turn(output("b"), output("a")), True),
        ([], make_turn(user()), False),
        ([], make_turn(), False),
    ],
)
def test_what_was_given_stands_in_the_conversation(
    given_items: list[Item], turn: ConversationTurn, stand: bool
) -> None:
    """A message stands there by its content, and outputs by the calls that they answer."""
    assert is_recorded(given_items, turn) is stand


WAITS = make_chain(seen("r", "completed", add("a"), add("b")))
UNANSWERED = make_turn(user(), call("a"), call("b"))


@pytest.mark.parametrize(
    "turn, known, run_id",
    [
        (make_turn(user(), said()), None, None),
        (make_turn(user(), said()), WAITS, None),
        (UNANSWERED, WAITS, "r"),
        (make_turn(user(), call("a"), call("b"), output("a")), WAITS, "r"),
        (UNANSWERED, attrs.evolve(WAITS, ended_early=True), None),
        (UNANSWERED, None, "u"),
        (UNANSWERED, make_chain(seen("r", "completed")), "u"),
        (make_turn(user(), call("c")), WAITS, "u"),
        (make_turn(user(), call("c")), attrs.evolve(WAITS, ended_early=True), "u"),
    ],
)
def test_run_that_waits(
    turn: ConversationTurn, known: ResponseChain | None, run_id: str | None
) -> None:
    """Calls without outputs are those of the run that is known to wait for them, or of a run
    that only they tell of, and nobody waits for those of a run that was ended.
    """
    found = waiting_chain(turn, known)
    assert (None if found is None else found.run_id) == run_id


def test_run_known_by_what_it_left_waits_for_its_calls() -> None:
    """A run of other software is told with the calls that stand in the conversation."""
    snapshot = chain_of_turn(UNANSWERED, "a").snapshot()
    assert (snapshot.id, snapshot.status, snapshot.tool_calls, snapshot.assistant_id) == (
        "u",
        "requires_action",
        (add("a"), add("b")),
        "a",
    )


def test_run_known_by_what_it_left_has_completed() -> None:
    """A run that left no calls without outputs is over."""
    left = chain_of_turn(make_turn(user(), said()), None)
    assert (left.snapshot().status, left.response_id) == ("completed", None)


def test_what_was_left_behind_is_reported_once() -> None:
    """Messages that the conversation holds are read from there, and not again from before."""
    turn = make_turn(user(), said("one", "m1"), call("a"), output("a"), said("two", "m3"))
    left = continued().ended_with(turn)
    assert [told.id for told in left.assistant_messages()] == ["m1", "m3"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("run_id", "r"),
        ("assistant_id", "a"),
        ("earlier_response_ids", frozenset({"r", "r2", "r3"})),
        ("response_id", None),
        ("earlier_usage", None),
        ("submitting", False),
    ],
)
def test_run_whose_response_is_gone(name: str, value: Any) -> None:
    """A run whose response is gone stays the same run, without what that response would tell."""
    left = attrs.evolve(continued(), submitting=True).ended_with(make_turn(user(), said()))
    assert getattr(left, name) == value


# the cache


def test_cache_knows_nothing_at_first() -> None:
    """Of a conversation that was not used nothing is known."""
    assert ConversationCache().get("conv") is None


def test_cache_keeps_what_was_changed() -> None:
    """What is known is what the last change made of it."""
    known = ConversationCache()
    known.update("conv", lambda before: attrs.evolve(before, newest_item_id="m1"))
    known.update("conv", lambda before: attrs.evolve(before, metadata={"k": "v"}))
    assert known.get("conv") == CachedConversation(metadata={"k": "v"}, newest_item_id="m1")


def test_cache_returns_what_it_keeps() -> None:
    """An update returns what is known then."""
    changed = ConversationCache().update(
        "conv", lambda before: attrs.evolve(before, newest_item_id="m1")
    )
    assert changed == CachedConversation(newest_item_id="m1")


def test_cache_after_a_change_that_failed() -> None:
    """A change that fails leaves what was known, and the cache usable."""
    known = ConversationCache()
    before = known.update("conv", lambda fresh: attrs.evolve(fresh, newest_item_id="m1"))
    with pytest.raises(ZeroDivisionError):
        known.update("conv", lambda fresh: attrs.evolve(fresh, newest_item_id=str(1 / 0)))
    assert known.get("conv") == before


@pytest.mark.parametrize(
    "used, left",
    [
        ([], ["b", "c", "d"]),
        (["get a"], ["a", "c", "d"]),
        (["update a"], ["a", "c", "d"]),
        (["get a", "get b"], ["a", "b", "d"]),
        (["get z"], ["b", "c", "d"]),
    ],
)
def test_cache_drops_what_is_not_used(
    monkeypatch: pytest.MonkeyPatch, used: list[str], left: list[str]
) -> None:
    """When there are too many conversations, the one not used for longest is dropped."""
    monkeypatch.setattr(cache, "CAPACITY", 3)
    known = ConversationCache()
    for thread_id in "abc":
        known.update(thread_id, lambda before: before)
    for what, thread_id in (line.split() for line in used):
        if what == "get":
            known.get(thread_id)
        else:
            known.update(thread_id, lambda before: before)
    known.update("d", lambda before: before)
    assert [thread_id for thread_id in "abcdz" if known.get(thread_id) is not None] == left


def test_cache_is_bounded() -> None:
    """However many conversations a service has, it caches so many and no more."""
    known = ConversationCache()
    for number in range(cache.CAPACITY + 1):
        known.update(str(number), lambda before: before)
    kept = [known.get(str(number)) is not None for number in range(cache.CAPACITY + 1)]
    assert kept == [False] + [True] * cache.CAPACITY


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_cache_after_a_fork() -> None:
    """A child begins anew, even if the lock was held at the fork."""
    known = ConversationCache()
    known.update("conv", lambda before: before)
    with known._lock:
        cache._after_fork()
    assert known.get("conv") is None
