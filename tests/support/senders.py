"""Objects to send events from where no agent needs to run, and what receives them."""

from __future__ import annotations

from gpt_agent_sync.events import AgentStopped, RunCompleted
from gpt_agent_sync.signals import BY_EVENT

COMPLETED = RunCompleted(thread_id="t", id="run_1", assistant_id="a")
STOPPED = AgentStopped(thread_id="t", reason="idle")


class Sender:
    """An object to send from; blinker refers to it weakly, as it does to an agent."""


def receivers() -> int:
    """Return the number of receivers of all signals."""
    return sum(len(signal.receivers) for signal in BY_EVENT.values())


def clear_signals() -> None:
    """Disconnect all receivers and senders of all signals."""
    for signal in BY_EVENT.values():
        signal._clear_state()
