"""One process of the deployment: ``python -m tests.deployment.program CONFIG``."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gpt_agent_sync as gpt
from tests.faults.kinds import ASSISTANTS
from tests.faults.model import COUNT, PLAIN, reply_to

PATIENCE = 60.0
"""Seconds for an ask."""


class Files:
    """What a process notes: a line for each fact, which outlives a kill.

    Args:
        folder: Where its files are.
        name: The process's name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._tools = os.open(folder / "tools", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._told = os.open(folder / f"told {name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.told_at = time.monotonic()
        self._asked = os.open(folder / f"asked {name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tool(self, key: str) -> None:
        """Note that the tool was called."""
        os.write(self._tools, f"{key}\n".encode())

    def event(self, event: gpt.Event) -> None:
        """Note an event that was told."""
        self.told_at = time.monotonic()
        if not isinstance(event, gpt.AgentStopped):
            os.write(self._told, (json.dumps(event.to_dict()) + "\n").encode())

    def asked(self, text: str, outcome: str) -> None:
        """Note what came of a question."""
        os.write(self._asked, f"{text}\t{outcome}\n".encode())


def main(config: dict[str, Any]) -> None:
    """Ask on every thread, wait for the word, and end."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    files = Files(Path(config["folder"]), config["name"])
    gpt.configure(idle_timeout=None, heartbeat_interval=0.2, backplane=config["redis"])
    if config["wire"] == ASSISTANTS:
        service: Any = gpt.AssistantsService(config["server"], "key")
    else:
        service = gpt.ResponsesService(config["server"], "key")
        service.register_assistant("any", model="any")
    backplane = gpt.RedisBackplane(config["redis"], lease=config["lease"])

    def count(key: str) -> str:
        """Count a call.

        Args:
            key: What is counted.
        """
        files.tool(key)
        return key

    agents = [
        gpt.connect(
            thread_id,
            config["assistant"],
            service=service,
            backplane=backplane,
            tools=gpt.Toolbox([count]),
            on_event=files.event,
        )
        for thread_id in config["threads"]
    ]
    print("ready", flush=True)
    sys.stdin.readline()
    threads = [
        threading.Thread(target=ask_all, args=(agent, place, config, files))
        for place, agent in enumerate(agents)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("done", flush=True)
    sys.stdin.readline()
    for agent in agents:
        agent.wait(PATIENCE)
    # What others have told a moment ago may be on its way.
    while (left := files.told_at + config["quiet"] - time.monotonic()) > 0:
        threading.Event().wait(left)
    gpt.shutdown_all(5)
    print("told", flush=True)


def ask_all(agent: gpt.Agent, place: int, config: dict[str, Any], files: Files) -> None:
    """Ask on one thread."""
    for turn in config["turns"]:
        text = f"{COUNT if turn % 2 else PLAIN} {config['name']}-{place}-{turn}"
        files.asked(text, "begun")
        files.asked(text, ask(agent, text))


def ask(agent: gpt.Agent, text: str) -> str:
    """Ask once, and return what came of it."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            reply = agent.ask(text, when_busy="wait", timeout=PATIENCE)
        except gpt.BackplaneError as exc:
            if time.monotonic() > until:
                return f"BackplaneError: {exc}"
            threading.Event().wait(0.2)  # nothing was begun
        except gpt.GptAgentError as exc:
            return f"{type(exc).__name__}{' in doubt' if exc.in_doubt else ''}: {exc}"
        else:
            return "right" if reply == reply_to(text) else f"wrong: {reply!r}"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
