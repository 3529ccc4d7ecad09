"""A program whose greenlets each have an agent.

Its arguments name when gevent patches, and how runs are followed. It prints what each was answered,
and how many events its callback was told.
"""

# ruff: noqa: E402  (what is patched is loaded later)

from __future__ import annotations

import importlib
import json
import os
import sys

importlib.import_module(f"tests.processes.{sys.argv[1]}")

import gevent

import gpt_agent_sync as gpt

PATIENCE = 20.0

gpt.configure(streaming=sys.argv[2] == "streamed")
service = getattr(gpt, os.environ["SERVICE"])(os.environ["BASE_URL"], "key")
assistant_id = gpt.create_assistant(model="any", service=service)


@gpt.tool
def sign(number: int) -> str:
    """Sign a number, while the other greenlets go on."""
    gevent.idle()
    return f"signed {number}"


def talk(number: int) -> tuple[str, str, str, int]:
    """Be answered in each of the ways that there are."""
    told: list[gpt.Event] = []
    with gpt.connect(gpt.create_thread(service=service), assistant_id, service=service) as agent:
        agent.on(gpt.RunCompleted, told.append)
        asked = agent.ask(str(number), timeout=PATIENCE)
        agent.add_user_message(str(number + 1))
        closing = agent.wait(PATIENCE)
        streamed = "".join(agent.ask_stream(str(number + 2), timeout=PATIENCE))
    return asked, type(closing).__name__, streamed, len(told)


talks = [gevent.spawn(talk, number) for number in range(8)]
print(json.dumps([each.get() for each in talks]))
