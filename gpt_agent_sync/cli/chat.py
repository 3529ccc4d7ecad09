"""``gpt-agent chat``: its options, and the conversation on the terminal."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from typing import Any

import click
from rich.console import Console

from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.api import connect, create_assistant, create_thread, shutdown_all
from gpt_agent_sync.cli.screen import JsonScreen, Screen, TerminalScreen
from gpt_agent_sync.cli.tools import example_tools
from gpt_agent_sync.errors import GptAgentError, RunNotInProgressError
from gpt_agent_sync.events import ClosingEvent, RunCompleted
from gpt_agent_sync.records import RunOptions
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.choosing import choose_service, make_service
from gpt_agent_sync.services.local import LocalService
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.settings import SERVICE_NAMES
from gpt_agent_sync.texts import for_terminal
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox

INSTRUCTIONS = "You are a helpful assistant. Use the tools where they help."

CANCEL_PATIENCE = 10.0
"""Seconds to wait for a cancelled run to end."""


@click.command()
@click.option("-m", "--message", metavar="TEXT", help="Say this, show the answer, and leave.")
@click.option("--thread", "thread_id", metavar="ID", help="Go on with this thread.")
@click.option("--assistant", "assistant_id", metavar="ID", help="Use this assistant.")
@click.option("--service", "service_name", type=click.Choice(SERVICE_NAMES), help="Where to run.")
@click.option(
    "--base-url", metavar="URL", help="Where the service is; assistants, unless --service says."
)
@click.option("--model", metavar="NAME", help="The model of a new assistant.")
@click.option(
    "--tools",
    "tools_path",
    metavar="MODULE:TOOLBOX",
    help="Your tools: a Toolbox in a module; MODULE alone for those it registers with tool().",
)
@click.option("--json", "as_json", is_flag=True, help="Write one event a line, as JSON.")
@click.option("-v", "--verbose", count=True, help="Log more: -v life cycle, -vv everything.")
def chat(
    message: str | None,
    thread_id: str | None,
    assistant_id: str | None,
    service_name: str | None,
    base_url: str | None,
    model: str | None,
    tools_path: str | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Have a conversation. Ctrl-C cancels a run; at the prompt, it ends the session."""
    levels = [logging.ERROR, logging.INFO, logging.DEBUG]
    logging.basicConfig(level=levels[min(verbose, 2)], stream=sys.stderr)
    screen: Screen = JsonScreen(click.echo) if as_json else TerminalScreen(Console())
    completed = False
    try:
        if message is not None and not message.strip():
            raise click.UsageError("the message is blank")
        tools = _load_tools(tools_path) if tools_path else example_tools
        with contextlib.closing(_choose_service(service_name, base_url)) as service:
            agent = _connect(service, screen, tools, thread_id, assistant_id, model)
            completed = talk(agent, screen) if message is None else say_once(agent, screen, message)
            agent.shutdown()
    except GptAgentError as exc:
        raise click.ClickException(for_terminal(str(exc))) from exc
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutdown_all()  # an agent's callbacks use the screen
        screen.close()
    sys.exit(0 if completed else 1)


def _connect(
    service: Service,
    screen: Screen,
    tools: Toolbox,
    thread_id: str | None,
    assistant_id: str | None,
    model: str | None,
) -> Agent:
    options = None
    if assistant_id is not None:
        options = RunOptions(model=model)
    else:
        model = model or _default_model(service)
        assistant_id = create_assistant(
            model=model, name="gpt-agent", instructions=INSTRUCTIONS, tools=tools, service=service
        )
    thread_id = thread_id or create_thread(service=service)
    screen.show_session(repr(service), model or f"of {assistant_id}", thread_id)
    return connect(
        thread_id,
        assistant_id,
        service=service,
        tools=tools,
        on_event=screen.show,
        run_options=options,
        idle_timeout=None,
    )


def _default_model(service: Service) -> str:
    if isinstance(service, LocalService):
        return service.model
    raise click.UsageError("name a --model, or an --assistant that has one")


def _choose_service(name: str | None, base_url: str | None) -> Service:
    if base_url is None:
        return choose_service(None if name is None else make_service(name))
    if name == LocalService.name:
        raise click.UsageError("--base-url is for --service assistants or responses")
    return (
        ResponsesService(base_url) if name == ResponsesService.name else AssistantsService(base_url)
    )


def _load_tools(path: str) -> Toolbox:
    module_name, _, attribute = path.partition(":")
    # As ``python -m`` does; a console script's own directory comes first otherwise.
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
        found: Any = getattr(module, attribute) if attribute else default_toolbox
    except Exception as exc:
        raise click.UsageError(f"--tools {path}: {type(exc).__name__}: {exc}") from exc
    if not isinstance(found, Toolbox):
        raise click.UsageError(f"--tools {path}: {found!r} is no Toolbox")
    return found


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
        # The wait is broken off, and the run is not: it would hold the thread for the next message.
        return _cancel(agent)


def _cancel(agent: Agent) -> ClosingEvent | None:
    with contextlib.suppress(RunNotInProgressError):
        agent.cancel_run()
    return agent.wait(CANCEL_PATIENCE)


def talk(agent: Agent, screen: Screen) -> bool:
    """Talk until the end of input, or Ctrl-C at the prompt; return whether the agent is alive."""
    while agent.is_alive:
        try:
            text = screen.read_message()
        except (EOFError, KeyboardInterrupt):
            return True
        if not text.strip():
            continue
        try:
            if say(agent, text) is None:
                screen.show_note("run cancelled")
        except GptAgentError as exc:
            screen.show_note(str(exc))
    return False


def say_once(agent: Agent, screen: Screen, text: str) -> bool:
    """Add one message; return whether its run completed."""
    screen.show_message(text)
    return isinstance(say(agent, text), RunCompleted)
