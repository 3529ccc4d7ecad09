"""The programs that are killed: one that leads a conversation, and one that listens to it.

Each may be killed at any moment, and begins anew with what is at the server, in the journal, and in
the files of its folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.journal import leases
from gpt_agent_sync.services.responses import tracking
from gpt_agent_sync.tools.recovery import AfterCrash

PATIENCE = 40.0
"""Seconds that a program waits at most for what must come."""

TURNS = 6
"""Messages of a conversation: its texts are the numbers from 1 on."""

DONE = "noted"
"""What the tool says to the model."""


@attrs.frozen(kw_only=True)
class Scene:
    """A conversation, and where its programs find it.

    Attributes:
        base_url: The server.
        wire: One of ``WIRES``.
        streamed: Whether runs are followed by streams.
        reads_back: Whether the tool can find out what became of an interrupted call.
        thread_id: The conversation.
        folder: The programs' files.
        lease: Seconds after which a call of a killed process is another's.
    """

    base_url: str
    wire: str
    streamed: bool
    reads_back: bool
    thread_id: str
    folder: Path
    lease: float

    @property
    def effects(self) -> list[str]:
        """The numbers that the tool has noted, in order."""
        return self._read("effects")

    @property
    def told(self) -> list[str]:
        """The ids of the assistant's messages that programs were told, in order."""
        return self._read("told")

    def write(self, name: str, line: str) -> None:
        """Append a line to a file, for good."""
        descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []


def make_service(wire: str, base_url: str) -> gpt.Service:
    """Return the service of a wire; ``"assistants-apart"`` posts messages before their runs."""
    if wire == "responses":
        return gpt.ResponsesService(base_url, "key")
    together = None if wire == "assistants" else False
    return gpt.AssistantsService(base_url, "key", additional_messages=together)


WIRES = ("assistants", "assistants-apart", "responses")


class _UntoldError(Exception):
    """There is a reply that this agent has not told of."""


class Program:
    """What both programs have: a service, a tool, and files.

    Args:
        scene: The conversation.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._random = Random()
        self._service = make_service(scene.wire, scene.base_url)
        # No process is to live for as long as these take otherwise.
        leases.LEASE, leases.EVERY = scene.lease, scene.lease / 5
        tracking.NOTE_DELAY = 0.3
        gpt.configure(heartbeat_interval=0.05, streaming=scene.streamed)
        choice: AfterCrash = self._read_back if scene.reads_back else "fail"
        self._tools = gpt.Toolbox()
        self._tools.tool(self.note, after_crash=choice)
        self._assistant_id = gpt.create_assistant(model="any", service=self._service)

    def note(self, number: int) -> str:
        """Note a number: an effect that nobody can take back."""
        self.pause(0.05)
        self._scene.write("effects", str(number))
        self.pause(0.05)
        return DONE

    def _read_back(self, arguments: Mapping[str, Any], context: gpt.ToolContext) -> object:
        self.pause(0.005)
        return DONE if str(arguments["number"]) in self._scene.effects else gpt.RERUN

    def _save_place(self, event: gpt.Event) -> None:
        if isinstance(event, gpt.AssistantMessageAdded):
            self._scene.write("told", event.message_id)

    def pause(self, seconds: float) -> None:
        """Let some time pass, up to so many seconds."""
        threading.Event().wait(self._random.uniform(0, seconds))

    def lead(self) -> None:
        """Say what was not said yet, until all is said and answered."""
        while True:
            told = self._scene.told
            with self._connected(told[-1] if told else None) as agent:
                try:
                    agent.wait(PATIENCE)
                    while self._go_on(agent):
                        agent.wait(PATIENCE)
                    return
                except _UntoldError:
                    pass  # of a run that another process followed: the next agent catches up
                except gpt.ThreadBusyError as exc:
                    # A run that this agent did not know of, or has begun of itself meanwhile.
                    logging.info("connecting again: %s", exc)
            self.pause(0.05)

    def _go_on(self, agent: gpt.Agent) -> bool:
        """Say the next message if the last one is answered; tell whether there is more to come."""
        messages = list(agent.messages())
        said = sum(message.role == "user" for message in messages)
        if messages and messages[-1].role == "user":
            # An agent starts its run, by the journal, when the lease of who posted it has run out.
            self.pause(0.1)
            return True
        told = self._scene.told
        if messages and told and messages[-1].id not in told:
            raise _UntoldError
        if said == TURNS:
            return False
        agent.add_user_message(str(said + 1))
        return True

    def listen(self) -> None:
        """Connect again and again, and handle calls, for ever."""
        while True:
            with self._connected() as agent, contextlib.suppress(gpt.WaitTimeoutError):
                agent.wait(self._random.uniform(0, 0.3))
            self.pause(0.03)

    @contextlib.contextmanager
    def _connected(self, last_message_id: str | None = None) -> Iterator[gpt.Agent]:
        """Connect, and shut the agent down in the end, without waiting for its run."""
        agent = gpt.connect(
            self._scene.thread_id,
            self._assistant_id,
            service=self._service,
            tools=self._tools,
            on_event=self._save_place,
            last_message_id=last_message_id,
            journal=self._scene.folder / "calls.db",
        )
        try:
            yield agent
        finally:
            agent.shutdown()


def run(scene: Scene, part: str, ready: Connection) -> None:
    """Run a program; ``part`` is ``"lead"`` or ``"listen"``."""
    logging.basicConfig(
        filename=scene.folder / "log",
        level=logging.DEBUG,
        format="%(asctime)s.%(msecs)03d %(process)d %(threadName)s %(name)s %(message)s",
        datefmt="%M:%S",
    )
    logging.info("%s begins", part)
    program = Program(scene)
    ready.send(True)
    program.lead() if part == "lead" else program.listen()
    gpt.shutdown_all()
    logging.info("%s is done", part)
