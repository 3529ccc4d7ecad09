"""Chains of responses, and the cache that holds them."""

from __future__ import annotations

import os
from typing import Any

import attrs
import pytest

from gpt_agent_sync.records import Message, ToolCall, Usage
from gpt_agent_sync.services.responses import cache
from gpt_agent_sync.services.responses.cache import CachedConversation, ConversationCache
from gpt_agent_sync.services.responses.chain import (
    ResponseChain,
    chain_of_turn,
    is_recorded,
    waiting_chain,
)
from gpt_agent_sync.services.responses.turns import ConversationTurn
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, RunNote
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


def seen(
    response_id: str = "r", status: str = "completed", *calls: ToolCall, **facts: Any
) -> ResponseSnapshot:
    """Return a response as it was seen."""
    return ResponseSnapshot(id=response_id, status=status, calls=calls, **facts)


def make_chain(latest: ResponseSnapshot | None = None, **facts: Any) -> ResponseChain:
    """Return a run that is at its first response."""
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
    """A snapshot has the calls that are to be answered, and none of a run that is over."""
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
    """A note is up to date for a run that is at its response, whichever assistant it names."""
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
    """Return a message."""
    return Message(id=message_id, role=role, content="hi")


FIRST = seen("r", "completed", add("a"), messages=(message("m1"),), usage=usage(1))
SECOND = seen("r2", "completed", add("b"), messages=(message("m2"),), usage=usage(2))
THIRD = seen("r3", "completed", messages=(message("m3"),), usage=usage(4))
OUTPUTS: tuple[Item, ...] = ({"type": "function_call_output", "call_id": "a", "output": "1"},)


def continued() -> ResponseChain:
    """Return a run that has gone on twice."""
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
    """Return an output as it is sent."""
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
    that is known by them only, and nobody waits for those of a run that was ended.
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
    """A run whose response is gone is the same run, without what that would show."""
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
        known._after_fork()
    assert known.get("conv") is None
