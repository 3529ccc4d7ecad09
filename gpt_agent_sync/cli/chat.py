"""A conversation on the terminal."""

from __future__ import annotations

import contextlib

from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.cli.screen import Screen
from gpt_agent_sync.errors import GptAgentError, RunNotInProgressError
from gpt_agent_sync.events import ClosingEvent, RunCompleted

CANCEL_PATIENCE = 10.0
"""Seconds to wait for a cancelled run to end."""


def say(agent: Agent, text: str) -> ClosingEvent | None:
    """Add a message and wait for its run; Ctrl-C cancels the run and not the session.

    Returns:
        The closing event; ``None`` when Ctrl-C came before there was a run.

    Raises:
        GptAgentError: If the message cannot be added.
    """
    try:
        agent.add_user_message(text)
        return agent.wait()
    except KeyboardInterrupt:
        return _cancel(agent)


def _cancel(agent: Agent) -> ClosingEvent | None:
    with contextlib.suppress(RunNotInProgressError):
        agent.cancel_run()
    return agent.wait(CANCEL_PATIENCE)


def talk(agent: Agent, screen: Screen) -> bool:
    """Talk until the end of input, or Ctrl-C at the prompt; tell whether the agent held out."""
    while agent.is_alive:
        try:
            text = screen.ask()
        except (EOFError, KeyboardInterrupt):
            return True
        if not text.strip():
            continue
        try:
            say(agent, text)
        except GptAgentError as exc:
            screen.note(str(exc))
    return False


def say_once(agent: Agent, screen: Screen, text: str) -> bool:
    """Say one thing; tell whether its run completed."""
    screen.said(text)
    return isinstance(say(agent, text), RunCompleted)
