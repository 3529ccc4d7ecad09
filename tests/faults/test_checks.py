"""The checks of the matrix find what they are for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from tests.faults.cells import Cell, all_cells
from tests.faults.checks import deviations
from tests.faults.faults import BY_NAME
from tests.faults.kinds import ASK, Record
from tests.faults.model import reply_to
from tests.faults.observed import Observation, Turn
from tests.faults.state import ServerState

TEXT, RUN, THREAD = "count 1", "run_1", "thread_1"

STATE = ServerState(
    messages={TEXT: 1},
    runs=1,
    cancelled=0,
    outputs={"call_1": 1},
    replies={reply_to(TEXT): 1},
    live={},
)

EVENTS: tuple[gpt.Event, ...] = (
    gpt.UserMessageAdded(thread_id=THREAD, id="msg_1", content=TEXT),
    gpt.RunStarted(thread_id=THREAD, id=RUN, assistant_id="any"),
    gpt.ToolCallRequested(id="call_1", name="count", arguments={}, run_id=RUN, thread_id=THREAD),
    gpt.ToolCallOutputRecorded(id="call_1", name="count", output="1", run_id=RUN, thread_id=THREAD),
    gpt.RunCompleted(thread_id=THREAD, id=RUN, assistant_id="any"),
    gpt.AssistantMessageAdded(
        message_id="msg_2", assistant_id="any", content=reply_to(TEXT), run_id=RUN, thread_id=THREAD
    ),
)

GOOD = Observation(
    text=TEXT,
    connected=Turn(outcome="ok"),
    turn=Turn(outcome="ok", reply=reply_to(TEXT)),
    events=EVENTS,
    again=Turn(outcome="ok"),
    after_reconnect=None,
    calls=Counter({TEXT: 1}),
    between=STATE,
    finally_=STATE,
    records=(),
    met=True,
)


def cell_of(kind: str, fault: str) -> Cell:
    """Return a cell by the names of its kind and fault."""
    return next(cell for cell in all_cells() if cell.kind.name == kind and cell.fault.name == fault)


CELL = cell_of("message", "429 Retry-After")


def reasons(cell: Cell = CELL, **changed: Any) -> list[str]:
    """Return what does not hold where all but this is as it should be."""
    return [found.reason for found in deviations(cell, attrs.evolve(GOOD, **changed))]


def test_nothing_is_found_where_all_is_well() -> None:
    """A turn that went well has no deviation."""
    assert reasons() == []


def with_state(**changed: Any) -> dict[str, ServerState]:
    """Return the server's states, changed."""
    state = attrs.evolve(STATE, **changed)
    return {"between": state, "finally_": state}


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"turn": Turn(outcome="hangs")}, "hangs, not ok"),
        ({"turn": Turn(outcome="ok", reply="another's")}, "wrong reply"),
        ({"connected": Turn(outcome="refused")}, "connect fails"),
        (with_state(messages={TEXT: 2}), "message doubled"),
        (with_state(messages={}), "message lost"),
        (with_state(runs=2), "run doubled"),
        (with_state(runs=2, cancelled=1), "run doubled, and stopped"),
        (with_state(outputs={"call_1": 2}), "output doubled"),
        (with_state(live={RUN: "queued"}), "thread not free"),
        ({"calls": Counter({TEXT: 2})}, "tool doubled"),
        ({"calls": Counter[str]()}, "tool not run"),
        ({"again": Turn(outcome="refused")}, "unusable, even anew"),
        ({"events": EVENTS[:-1]}, "reply not told"),
        ({"events": (*EVENTS, EVENTS[-1])}, "reply told twice"),
        ({"events": (*EVENTS, EVENTS[-2])}, "events"),
        ({"events": EVENTS[1:]}, "events"),
    ],
)
def test_one_thing_that_is_wrong_is_found(changed: dict[str, Any], reason: str) -> None:
    """Each thing that must hold is looked at."""
    assert reasons(**changed) == [reason]


def test_message_that_was_refused_must_not_stand() -> None:
    """A message whose error is not in doubt stands nowhere."""
    cell = cell_of("message", "403")
    turn = Turn(outcome="refused")
    assert reasons(cell, turn=turn, events=(), **with_state(replies={})) == [
        "posted though refused"
    ]


def test_message_in_doubt_may_stand_once() -> None:
    """A message whose error is in doubt stands once, or not at all."""
    cell, turn = cell_of("message", "stall, dropped"), Turn(outcome="doubt")
    assert reasons(cell, turn=turn, events=()) == []
    assert reasons(cell, turn=turn, events=(), **with_state(messages={})) == []


def test_pause_that_was_asked_for_is_measured() -> None:
    """A request that comes again before the time that Retry-After names is found."""
    label = "POST /threads/*/messages"
    refused = Record(ASK, label, BY_NAME["429 Retry-After"], 1.0, answered_at=1.0, status=429)
    assert reasons(records=(refused, Record(ASK, label, None, 1.01))) == ["Retry-After ignored"]
    assert reasons(records=(refused, Record(ASK, label, None, 1.2))) == []


def test_text_that_comes_twice_is_found() -> None:
    """Pieces of text are those of the reply, each once."""
    piece = gpt.AssistantMessageDelta(
        message_id="msg_2", text=reply_to(TEXT)[:6], run_id=RUN, thread_id=THREAD
    )
    assert reasons(events=(*EVENTS[:4], piece, *EVENTS[4:])) == []
    assert reasons(events=(*EVENTS[:4], piece, piece, *EVENTS[4:])) == ["text told twice"]
