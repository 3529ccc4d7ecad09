"""What must hold after a cell, of the server's own state and of the events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import attrs

import gpt_agent_sync as gpt
from tests.faults.cells import Cell
from tests.faults.expected import may_refuse_connect, outcomes
from tests.faults.faults import RETRY_AFTER
from tests.faults.model import reply_to
from tests.faults.observed import Observation

_LETTERS: dict[type[gpt.Event], str] = {
    gpt.UserMessageAdded: "U",
    gpt.RunStarted: "S",
    gpt.ToolCallRequested: "R",
    gpt.ToolCallFailed: "X",
    gpt.ToolCallOutputRecorded: "O",
    gpt.ToolOutputSubmissionFailed: "N",
    gpt.RunCompleted: "C",
    gpt.RunFailed: "F",
    gpt.RunCancelled: "K",
    gpt.AssistantMessageAdded: "A",
    gpt.AgentStopped: "Z",
}

_ASKED = ("turn", "plain")
"""Scenarios in which the first message meets the fault, or what follows from it."""

_TURN = re.compile(r"US?(RX?O)*R?N?[CFK]A*")
"""A turn's events; a run may have ended before it started, and with a call not answered."""

_FOLLOWED = re.compile(r"S?(RX?O)*R?N?[CFK]A*")
"""The events of a run that was found in progress."""


@attrs.frozen
class Deviation:
    """Something that does not hold.

    Attributes:
        reason: What, in a word or two.
        detail: What was seen.
    """

    reason: str
    detail: str


def deviations(cell: Cell, seen: Observation) -> list[Deviation]:
    """Return what does not hold after a cell."""
    return [Deviation(*found) for check in _CHECKS for found in check(cell, seen)]


Found = Iterator[tuple[str, str]]


def _connect(cell: Cell, seen: Observation) -> Found:
    outcome = seen.connected.outcome
    if outcome != "ok" and not (outcome == "refused" and may_refuse_connect(cell)):
        yield "connect fails", seen.connected.error


def _outcome(cell: Cell, seen: Observation) -> Found:
    turn, allowed = seen.turn, outcomes(cell)
    if turn.outcome not in allowed:
        yield f"{turn.outcome}, not {'/'.join(sorted(allowed))}", turn.error
    elif turn.outcome == "ok" and turn.reply != reply_to(seen.text):
        yield "wrong reply", repr(turn.reply)


def _messages(cell: Cell, seen: Observation) -> Found:
    count = seen.finally_.messages.get(seen.text, 0)
    least, most = {"refused": (0, 0), "doubt": (0, 1)}.get(seen.turn.outcome, (1, 1))
    if cell.kind.scenario not in _ASKED:
        least, most = 1, 1
    if count > max(most, 1):
        yield "message doubled", f"{count} times"
    elif count > most:
        yield "posted though refused", seen.turn.error
    elif count < least:
        yield "message lost", f"{count} times"
    doubled = {text: n for text, n in seen.finally_.messages.items() if n > 1 and text != seen.text}
    if doubled:
        yield "second message doubled", str(doubled)


def _runs(cell: Cell, seen: Observation) -> Found:
    state = seen.between
    if state.runs > 1:
        stopped = state.runs - state.cancelled <= 1
        yield "run doubled, and stopped" if stopped else "run doubled", f"{state.runs} runs"


def _tools(cell: Cell, seen: Observation) -> Found:
    often = {text: count for text, count in seen.calls.items() if count > 1}
    if often:
        yield "tool doubled", str(often)
    has_handler = cell.kind.scenario in ("turn", "reconnect")
    if has_handler and seen.turn.outcome == "ok" and not seen.calls[seen.text]:
        yield "tool not run", str(seen.calls)


def _outputs(cell: Cell, seen: Observation) -> Found:
    often = {call: count for call, count in seen.finally_.outputs.items() if count > 1}
    if often:
        yield "output doubled", str(often)


def _events(cell: Cell, seen: Observation) -> Found:
    told = "".join(_LETTERS.get(type(event), "") for event in seen.events)
    silent = seen.turn.outcome in ("refused", "doubt") and cell.kind.scenario in _ASKED
    if seen.turn.outcome == "hangs" or (silent and not told):
        return
    pattern = _FOLLOWED if cell.kind.scenario == "reconnect" else _TURN
    if not pattern.fullmatch(told):
        yield "events", f"{told} is not {pattern.pattern}"


def _replies(cell: Cell, seen: Observation) -> Found:
    reply = reply_to(seen.text)
    stored = seen.between.replies.get(reply, 0)
    told = [
        event.content for event in seen.events if isinstance(event, gpt.AssistantMessageAdded)
    ].count(reply)
    if told > 1:
        yield "reply told twice", f"{told} times"
    given_up = seen.turn.outcome in ("failed", "doubt") and seen.turn.outcome in outcomes(cell)
    if stored and not told and not given_up:
        yield "reply not told", f"{stored} at the server"


def _deltas(cell: Cell, seen: Observation) -> Found:
    texts = [each.text for each in seen.events if isinstance(each, gpt.AssistantMessageDelta)]
    if not reply_to(seen.text).startswith("".join(texts)):
        yield "text told twice", repr(texts)


def _usable(cell: Cell, seen: Observation) -> Found:
    if seen.again.outcome == "ok":
        return
    retried = seen.after_reconnect
    helped = retried is not None and retried.outcome == "ok"
    yield (
        "unusable" if helped else "unusable, even anew",
        f"{seen.again.outcome} {seen.again.error or seen.again.reply!r}",
    )


def _free(cell: Cell, seen: Observation) -> Found:
    if seen.again.outcome == "ok" and seen.finally_.live:
        yield "thread not free", str(seen.finally_.live)


def _pauses(cell: Cell, seen: Observation) -> Found:
    # What goes beside a turn may be written by two threads at once, the second for another reason.
    asks = cell.fault.retry_after is not None and cell.fault.status in (429, 503)
    if not asks or cell.kind.role.endswith("aside"):
        return
    records = list(seen.records)
    for number, record in enumerate(records):
        if record.fault is not cell.fault or record.answered_at is None:
            continue
        same = [later for later in records[number + 1 :] if later.label == record.label]
        # The clocks of two threads, read a moment apart.
        if same and same[0].came_at - record.answered_at < RETRY_AFTER * 0.9:
            pause = same[0].came_at - record.answered_at
            yield "Retry-After ignored", f"{record.label} again after {pause:.3f} s"
            return


_CHECKS: Sequence[Callable[[Cell, Observation], Found]] = (
    _connect,
    _outcome,
    _messages,
    _runs,
    _tools,
    _outputs,
    _events,
    _replies,
    _deltas,
    _usable,
    _free,
    _pauses,
)
