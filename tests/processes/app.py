"""A small application that connects before its process forks, and is used in the children.

``SERVICE`` names the service and ``BASE_URL`` where it is; what happens to the agent that the
parent has goes into the file ``TOLD``. The parent's agent is in the middle of a run when this
module has been loaded, its stream open and silent.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gpt_agent_sync as gpt

PATIENCE = 20.0
PARENT = os.getpid()

QUIET = 1.5
"""Seconds in which nothing happens once all threads of the parent wait."""

StartResponse = Callable[[str, list[tuple[str, str]]], object]


@gpt.tool
def sign(number: int) -> str:
    """Sign a number with the id of the process."""
    return f"{number} by {os.getpid()}"


def tell(event: gpt.Event) -> None:
    """Write down an event, and in which process it was told."""
    with Path(os.environ["TOLD"]).open("a", encoding="utf-8") as file:
        file.write(f"{type(event).__name__} in {os.getpid()}\n")


service: gpt.Service = getattr(gpt, os.environ["SERVICE"])(os.environ["BASE_URL"], "key")
assistant_id = gpt.create_assistant(model="any", service=service)
inherited = gpt.connect(gpt.create_thread(service=service), assistant_id, service=service)
inherited.on(gpt.Event, tell)
# Where no hooks run CPython itself may break in a child, if a thread of the parent was on its way
# to the GIL: all are to wait by then, the agent's for its stream.
with inherited.events() as events, contextlib.suppress(TimeoutError):
    inherited.add_user_message("hold")
    while events.get(QUIET):
        pass


def answer(number: int) -> dict[str, Any]:
    """Have an agent of this process, and its handler, answer."""
    try:
        inherited.add_user_message("hello")
        state = "alive"
    except gpt.AgentNotAliveError:
        state = "dead"
    except gpt.RunInProgressError:
        state = "running"
    with gpt.connect(gpt.create_thread(service=service), assistant_id, service=service) as agent:
        reply = agent.ask(str(number), timeout=PATIENCE)
    if os.getpid() != PARENT:
        inherited.shutdown()
    return {"pid": os.getpid(), "inherited": state, "number": number, "reply": reply}


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer the number in the query, as WSGI has it."""
    body = json.dumps(answer(int(environ["QUERY_STRING"]))).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]
