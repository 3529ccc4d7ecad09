"""What the program of a cell, and its server, saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import attrs

import gpt_agent_sync as gpt
from tests.faults.kinds import Record
from tests.faults.state import ServerState


@attrs.frozen(kw_only=True)
class Turn:
    """What came of a message, or of a connect or cancel.

    Attributes:
        outcome: ``"ok"``, ``"failed"``, ``"cancelled"``, ``"refused"``, ``"doubt"``, ``"hangs"``,
            or ``"broken"`` for an error that no verb may raise.
        error: What was raised, or told.
        reply: What was replied.
    """

    outcome: str
    error: str = ""
    reply: str = ""


@attrs.frozen(kw_only=True)
class Observation:
    """What a cell's program and its server saw.

    Attributes:
        text: The user's first message.
        connected: What came of connecting.
        turn: What came of the first message.
        events: The events of it.
        again: What came of the second message.
        after_reconnect: What came of it over a new agent, where the first was of no use.
        calls: How often the tool ran for each text.
        between: What the server had after the first message.
        finally_: What it had in the end.
        records: The requests.
        met: Whether the fault came about, as often as it was to.
    """

    text: str
    connected: Turn
    turn: Turn
    events: Sequence[gpt.Event]
    again: Turn
    after_reconnect: Turn | None
    calls: Counter[str]
    between: ServerState
    finally_: ServerState
    records: Sequence[Record]
    met: bool


def attempt(act: Callable[[], object]) -> Turn:
    """Do something, and return how it ended."""
    try:
        act()
    except gpt.WaitTimeoutError as exc:
        return Turn(outcome="hangs", error=_named(exc))
    except gpt.RunFailedError as exc:
        cancelled = isinstance(exc.event, gpt.RunCancelled)
        return Turn(outcome="cancelled" if cancelled else "failed", error=_named(exc))
    except gpt.GptAgentError as exc:
        return Turn(outcome="doubt" if exc.in_doubt else "refused", error=_named(exc))
    except Exception as exc:
        return Turn(outcome="broken", error=_named(exc))
    return Turn(outcome="ok")


def _named(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
