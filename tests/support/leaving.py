"""Programs that end in the middle of something: ``python -m tests.support.leaving SCENE ...``.

Each prints ``ready`` when it is there, and then ends, or waits to be ended.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter

import gpt_agent_sync as gpt
from tests.support.talk import PATIENCE

MANY = 100
"""Agents of a program that has many."""

_never = threading.Event()


def main(scene: str, service: str, base_url: str, how: str) -> None:
    """Play a scene against a service, ``"streamed"`` or ``"polled"``."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    # Warnings are seen: an end that is expected is nothing to warn of.
    logging.basicConfig(level=logging.WARNING)
    gpt.configure(streaming=how == "streamed", tool_workers=MANY)
    # So that runs are created by the workers, and the main thread is free meanwhile.
    options = {"additional_messages": False} if service == "AssistantsService" else {}
    if service == "LocalService":
        _SCENES[scene](gpt.LocalService(":memory:", upstream=base_url))
    elif scene == "own_session":
        session = requests.Session()
        session.mount(base_url, HTTPAdapter(pool_maxsize=2 * MANY))
        _many_in_request(getattr(gpt, service)(base_url, "key", session=session, **options))
    else:
        _SCENES[scene](getattr(gpt, service)(base_url, "key", **options))


def _connect(service: gpt.Service, **options: Any) -> gpt.Agent:
    assistant_id = gpt.create_assistant(model="any", service=service)
    thread_id = gpt.create_thread(service=service)
    return gpt.connect(thread_id, assistant_id, service=service, **options)


def _ready(event: gpt.Event | None = None) -> None:
    print("ready", flush=True)


def _begin_runs(service: gpt.Service, count: int) -> list[gpt.Agent]:
    """Return agents whose runs go on."""
    started = threading.Semaphore(0)
    agents = [_connect(service) for _ in range(count)]
    for agent in agents:
        agent.on(gpt.RunStarted, lambda event: started.release())
        agent.add_user_message("hold")
    for _ in agents:
        assert started.acquire(timeout=PATIENCE)
    return agents


def _in_run(service: gpt.Service) -> None:
    _begin_runs(service, 1)
    _ready()


def _in_many_runs(service: gpt.Service) -> None:
    _begin_runs(service, MANY)
    _ready()


def _many_in_request(service: gpt.Service) -> None:
    for agent in [_connect(service) for _ in range(MANY)]:
        agent.add_user_message("hold")
    # The last one to be stopped, when all others have been and are still in their requests.
    _connect(service).on(gpt.AgentStopped, _ready)


def _in_request(service: gpt.Service) -> None:
    agent = _connect(service)
    _ready()
    agent.add_user_message("hold")


def _in_callback(service: gpt.Service) -> None:
    entered = threading.Event()

    def hang(event: gpt.Event) -> None:
        entered.set()
        _never.wait()

    agent = _connect(service)
    agent.on(gpt.RunStarted, hang)
    agent.add_user_message("hold")
    assert entered.wait(PATIENCE)
    _ready()


def _in_tools(service: gpt.Service, count: int) -> None:
    entered = threading.Semaphore(0)

    def add(a: int, b: int) -> int:
        """Add."""
        entered.release()
        _never.wait()
        return a + b

    for _ in range(count):
        _connect(service, tools=[add]).add_user_message("call")
    for _ in range(count):
        assert entered.acquire(timeout=PATIENCE)
    _ready()


def _in_tool(service: gpt.Service) -> None:
    _in_tools(service, 1)


def _in_many_tools(service: gpt.Service) -> None:
    _in_tools(service, MANY)


def _with_queued_messages(service: gpt.Service) -> None:
    (agent,) = _begin_runs(service, 1)
    agent.add_user_message("later", when_busy="queue")
    agent.add_user_message("last", when_busy="queue")
    _ready()


def _with_exit_handler(service: gpt.Service) -> None:
    def leave(number: int, frame: object) -> None:
        raise SystemExit(3)

    signal.signal(signal.SIGTERM, leave)
    _in_wait(service)


def _in_wait(service: gpt.Service) -> None:
    (agent,) = _begin_runs(service, 1)
    _ready()
    agent.wait()


def _in_with_block(service: gpt.Service) -> None:
    (agent,) = _begin_runs(service, 1)
    with agent:
        _ready()


def _in_ask(service: gpt.Service) -> None:
    agent = _connect(service)
    agent.on(gpt.RunStarted, _ready)
    agent.ask("hold")


def _in_ask_stream(service: gpt.Service) -> None:
    agent = _connect(service)
    agent.on(gpt.RunStarted, _ready)
    for piece in agent.ask_stream("hold"):
        print(piece)


def _in_wait_to_add(service: gpt.Service) -> None:
    (agent,) = _begin_runs(service, 1)
    _ready()
    agent.add_user_message("next", when_busy="wait")


def _in_events(service: gpt.Service) -> None:
    (agent,) = _begin_runs(service, 1)
    stream = agent.events()
    _ready()
    for event in stream:
        print(event)


_SCENES: dict[str, Callable[[gpt.Service], None]] = {
    "in_run": _in_run,
    "in_many_runs": _in_many_runs,
    "many_in_request": _many_in_request,
    "in_request": _in_request,
    "in_callback": _in_callback,
    "in_tool": _in_tool,
    "in_many_tools": _in_many_tools,
    "with_queued_messages": _with_queued_messages,
    "with_exit_handler": _with_exit_handler,
    "in_wait": _in_wait,
    "in_with_block": _in_with_block,
    "in_ask": _in_ask,
    "in_ask_stream": _in_ask_stream,
    "in_wait_to_add": _in_wait_to_add,
    "in_events": _in_events,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
