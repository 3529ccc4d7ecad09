"""The programs of a soak: each asks its agent, and looks whether the answer is right."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.services.assistants import AssistantsService
from gpt_agent_sync.services.responses import ResponsesService
from tests.faults.faults import READ_TIMEOUT, REFUSALS
from tests.faults.kinds import ASSISTANTS
from tests.faults.model import COUNT, PLAIN, reply_to

PATIENCE = 30.0
"""Seconds for an ask."""

USABLE_AGAIN = 10.0
"""Seconds in which a thread must take a message again after an error."""

ASKS_PER_THREAD = 10

T = TypeVar("T")

_INJECTED = re.compile(r"injected (\d{3})")


@attrs.frozen
class Asked:
    """A text that was asked, and what came of it.

    Attributes:
        text: The text.
        outcome: ``"right"``, ``"doubt"``, ``"refused"``, ``"failed"``, or ``"wrong"``.
    """

    text: str
    outcome: str


class Tally:
    """What came of all asks; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.tools: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.threads: list[tuple[str, str, list[Asked]]] = []

    def count(self, outcome: str) -> None:
        """Count an outcome."""
        with self._lock:
            self.outcomes[outcome] += 1

    def call(self, key: str) -> None:
        """Count a tool call."""
        with self._lock:
            self.tools[key] += 1

    def object_to(self, problem: str) -> None:
        """Take note of what is wrong."""
        with self._lock:
            self.outcomes["wrong"] += 1
            self.wrong.append(problem)

    def keep(self, wire: str, thread_id: str, asked: list[Asked]) -> None:
        """Keep what was asked on a thread, to look for it at the server in the end."""
        with self._lock:
            self.threads.append((wire, thread_id, asked))


_settings_lock = threading.Lock()
"""Held while ``streaming`` is one agent's: it is the process's, and read by ``connect()``."""


class Driver:
    """The program of one agent.

    Args:
        name: The name of its line.
        wire: The wire.
        streaming: Whether its runs are streamed.
        base_url: Its faulty way to the server.
        direct: The way without faults, for what is no part of the soak.
        tally: Where outcomes are counted.
        chance: Of its pauses and texts.
    """

    def __init__(
        self,
        name: str,
        wire: str,
        streaming: bool,
        base_url: str,
        direct: str,
        tally: Tally,
        chance: random.Random,
    ) -> None:
        service = AssistantsService if wire == ASSISTANTS else ResponsesService
        self._name, self._wire, self._streaming = name, wire, streaming
        self._service = service(base_url, "key", timeout=(5.0, READ_TIMEOUT))
        self._direct = service(direct, "key")
        self._tally = tally
        self._chance = chance
        self._assistant_id = "any"
        if wire == ASSISTANTS:
            self._assistant_id = gpt.create_assistant(model="any", service=self._direct)
        self._number = 0

    def drive(self, until: float, pause: float, stop: threading.Event) -> None:
        """Ask until the time is up, with pauses of ``pause`` seconds on average."""
        try:
            while time.monotonic() < until and not stop.is_set():
                self._talk(until, pause, stop)
        except Exception as exc:
            self._tally.object_to(f"{self._name}: {type(exc).__name__}: {exc}")
        finally:
            self._service.close()
            self._direct.close()

    def _talk(self, until: float, pause: float, stop: threading.Event) -> None:
        """Ask on one thread, a few times."""
        thread_id, asked = gpt.create_thread(service=self._direct), list[Asked]()
        try:
            agent = self._connect(thread_id)
        except gpt.ServiceError as exc:
            self._judge("connect", exc)  # nothing was asked
            return
        try:
            for _ in range(ASKS_PER_THREAD):
                if time.monotonic() >= until or stop.wait(self._chance.uniform(0, 2 * pause)):
                    break
                asked.append(self._ask(agent))
        finally:
            agent.shutdown(5)
            self._tally.keep(self._wire, thread_id, asked)

    def _connect(self, thread_id: str) -> gpt.Agent:
        def count(key: str) -> str:
            """Count a call.

            Args:
                key: What is counted.
            """
            self._tally.call(key)
            return key

        def connect() -> gpt.Agent:
            with _settings_lock:
                gpt.configure(streaming=self._streaming)
                return gpt.connect(
                    thread_id,
                    self._assistant_id,
                    service=self._service,
                    tools=gpt.Toolbox([count]),
                )

        return self._until_taken(connect, (gpt.ServiceError, gpt.InvalidThreadIdError))

    def _ask(self, agent: gpt.Agent) -> Asked:
        self._number += 1
        word = COUNT if self._chance.random() < 0.5 else PLAIN
        text = f"{word} {self._name} {self._number}"
        try:
            reply = self._until_taken(
                lambda: agent.ask(text, timeout=PATIENCE),
                (gpt.ServiceBusyError, gpt.RunInProgressError),
            )
        except gpt.GptAgentError as exc:
            return Asked(text, self._judge(text, exc))
        if reply != reply_to(text):
            self._tally.object_to(f"{text}: {reply!r}")
            return Asked(text, "wrong")
        self._tally.count("right")
        return Asked(text, "right")

    def _judge(self, text: str, error: gpt.GptAgentError) -> str:
        """Return what an error says became of a text."""
        injected = {int(status) for status in _INJECTED.findall(str(error))}
        if "has no response" in str(error):
            injected.add(404)  # said so again and again: the package has its own words for it
        if error.in_doubt:
            outcome = "doubt"
        elif isinstance(error, gpt.RunFailedError) and injected & REFUSALS:
            outcome = "failed"
        elif injected & REFUSALS:
            outcome = "refused"
        else:
            self._tally.object_to(f"{text}: {type(error).__name__}: {error}")
            return "wrong"
        self._tally.count(outcome)
        return outcome

    def _until_taken(self, act: Callable[[], T], passing: tuple[type[Exception], ...]) -> T:
        """Do something again for a while, where it fails because the thread is not free yet."""
        until = time.monotonic() + USABLE_AGAIN
        while True:
            try:
                return act()
            except passing as exc:
                # Asking again what may have been done would be this program's mistake.
                if getattr(exc, "in_doubt", False) or time.monotonic() > until:
                    raise
            threading.Event().wait(0.2)
