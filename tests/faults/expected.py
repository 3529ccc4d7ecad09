"""What may come of a fault, by what the request is for.

The message must go through, and its reply be told, wherever the service does not really refuse.
What may end otherwise stands in this table; whatever the outcome, the checks of ``checks`` hold.
"""

from __future__ import annotations

from tests.faults.cells import Cell
from tests.faults.faults import REFUSALS, Fault

OK = frozenset({"ok"})
REFUSED = OK | {"refused"}
FAILED = OK | {"failed"}
DOUBT = OK | {"doubt"}
STARTS_IN_DOUBT = OK | {"failed", "doubt"}
CANCELLED = frozenset({"cancelled"})

FORBIDDEN = frozenset({400, 403})
"""Statuses of a look that no second look mends."""

ONCE = frozenset({401, 404})
"""Statuses of a look at what is known to exist that must be looked at again, and may be believed
the second time."""


def outcomes(cell: Cell) -> frozenset[str]:
    """Return what the first message may come to.

    A connect that is refused is none of its outcomes: see ``may_refuse_connect``.
    """
    fault = cell.fault
    refused = fault.status in REFUSALS
    if cell.kind.role in ("message", "run", "outputs"):
        return _of_write(cell.kind.role, fault, refused=refused, wire=cell.kind.wire)
    if cell.kind.role == "cancel":
        if refused:
            return CANCELLED | {"refused"}
        return CANCELLED | {"doubt"} if fault.slow else CANCELLED
    if cell.kind.role == "cancel aside":
        # What follows the cancel of a run that waits for calls frees the conversation only.
        return CANCELLED | {"refused", "doubt"} if refused else CANCELLED
    if cell.kind.role in ("aside", "connect"):
        return OK
    return _of_look(cell.kind.role, fault, cell.times, cell.kind.wire)


def _of_write(role: str, fault: Fault, *, refused: bool, wire: str) -> frozenset[str]:
    if role == "message":
        # A response at work leaves no trace, and the server has not shown that it locks: whether
        # the message arrived cannot be told, so that it is not sent again.
        unseen = fault.slow or (wire == "responses" and fault.status != 429)
        return REFUSED if refused else DOUBT if unseen else OK
    if role == "run":
        # Where the message goes with the run the refusal is the message's, and the caller's.
        return FAILED | REFUSED if refused else STARTS_IN_DOUBT if fault.slow else OK
    return FAILED if refused else OK


def _of_look(role: str, fault: Fault, times: int, wire: str) -> frozenset[str]:
    believed = fault.status in FORBIDDEN or (fault.status in ONCE and times == 2)
    if not believed:
        # A look for a message that may still be worked on can go on only for so long; on the
        # Responses wire one that finds nothing is never the last word.
        unseen = fault.slow or wire == "responses"
        return DOUBT if role == "look for message" and unseen else OK
    # Of a look that is refused the write is in doubt still: it is never refused itself.
    return {
        "look": FAILED,
        "look for message": DOUBT,
        "look for run": STARTS_IN_DOUBT,
        "look for outputs": FAILED,
    }[role]


def may_refuse_connect(cell: Cell) -> bool:
    """Return whether ``connect()`` may raise."""
    return cell.kind.role == "connect" and cell.fault.status in FORBIDDEN | ONCE
