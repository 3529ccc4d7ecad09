"""When a worker acts by itself."""

from __future__ import annotations

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.call_notes import CallNotes
from gpt_agent_sync.agent.clocks import HEARTBEATS_BETWEEN_POLLS, Clocks
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.tool_calls import HandlerCalls
from gpt_agent_sync.agent.watch import Watch
from gpt_agent_sync.decisions.state import Transition
from gpt_agent_sync.testing import ScriptedService
from tests.support.progress import SETTINGS, awaiting
from tests.support.talk import Talk


@pytest.mark.parametrize(
    "handles_tools, heartbeats", [(True, HEARTBEATS_BETWEEN_POLLS), (False, 1)]
)
def test_run_that_waits_for_others_is_polled_each_heartbeat(
    *, handles_tools: bool, heartbeats: int
) -> None:
    """Where another process answers, only a poll shows that it has: it comes sooner."""
    waiting = awaiting("a")
    assert waiting.turn is not None
    turn = attrs.evolve(waiting.turn, run_since=None)  # so that it never takes too long
    progress = attrs.evolve(waiting, turn=turn, handles_tools=handles_tools)
    mailbox = Mailbox(Transition(progress=progress))
    notes = CallNotes(gpt.MemoryJournal(), "service", "thread_1")
    agent = Talk(ScriptedService()).agent
    calls = HandlerCalls(agent, mailbox, lambda name: None, notes, SETTINGS)
    messages = MessageNotes(gpt.MemoryJournal(), "service", "thread_1", 1.0)
    watch = Watch("thread_1", mailbox, agent.service, None, bool, bool)
    left = Clocks(mailbox, calls, messages, SETTINGS, None, watch).seconds_left()
    assert left == pytest.approx(heartbeats * SETTINGS.heartbeat_interval, rel=0.5)
