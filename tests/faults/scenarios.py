"""What the program of a cell does, and what it and the server saw of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.services.assistants import AssistantsService
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.testing import EventRecorder
from tests.faults.cells import Cell
from tests.faults.faults import LONG_STALL, READ_TIMEOUT
from tests.faults.kinds import ASK, ASSISTANTS, CANCEL, CONNECT
from tests.faults.model import COUNT, HOLD, MANUAL, PLAIN, reply_to
from tests.faults.observed import Observation, Turn, attempt
from tests.faults.server import FaultServer, Line, Plan
from tests.faults.state import ServerState, read_state
from tests.support.polling import wait_for

PATIENCE = 10.0
"""Seconds for an ask; far more than one takes that goes on."""

UNBROKEN_SILENCE = 5.0
"""Seconds of silence that services bear where none is to come."""

USABLE_AGAIN = 4.0
"""Seconds in which the agent must take a message again."""

QUIET = 5.0
"""Seconds in which what was held up at the server must be over."""

AGAIN, BETWEEN = "again", "between"
"""Phases in which nothing goes wrong."""


class Program:
    """The program of a cell: one agent, one non-idempotent tool.

    Args:
        server: The server.
        cell: The cell.
        name: A name for the cell that no other has.
    """

    def __init__(self, server: FaultServer, cell: Cell, name: str) -> None:
        self._server = server
        self._cell = cell
        self._name = name
        self._plan = Plan(cell.injections)
        self._line = Line(self._plan)
        silence = READ_TIMEOUT if cell.fault.silent else UNBROKEN_SILENCE
        self._service = self._make_service(name, self._line, silence)
        self._recorder = EventRecorder()
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._text = f"{_WORDS.get(cell.kind.scenario, COUNT)} {name}"
        self._thread_id = gpt.create_thread(service=self._service)
        self._assistant_id = "any"
        if cell.kind.wire == ASSISTANTS:
            self._assistant_id = gpt.create_assistant(model="any", service=self._service)
        self._agent: gpt.Agent | None = None

    def run(self) -> Observation:
        """Do what the scenario says, and return what was seen."""
        try:
            connected, turn = _SCENARIOS[self._cell.kind.scenario](self)
            self._line.phase = BETWEEN
            self._line.wait_until_quiet(QUIET)
            self._let_thread_settle()
            between = self._state()
            events = list(self._recorder.events)
            self._line.phase = AGAIN
            again = self._ask_until_taken()
            reconnected = None if again.outcome == "ok" else self._reconnect()
            self._line.wait_until_quiet(QUIET)
            return Observation(
                text=self._text,
                connected=connected,
                turn=turn,
                events=events,
                again=again,
                after_reconnect=reconnected,
                calls=Counter(self._calls),
                between=between,
                finally_=self._state(),
                records=self._line.records,
                met=self._plan.met[self._cell.kind.name] >= 1,
            )
        finally:
            self._close()

    # Scenarios

    def turn(self) -> tuple[Turn, Turn]:
        """Connect, and ask for what needs a tool call, or for what needs none."""
        connected = self._connect()
        self._line.phase = ASK
        return connected, self._ask(self._text)

    def reconnect(self) -> tuple[Turn, Turn]:
        """Connect to a thread whose run waits for a tool call, and wait for its end."""
        self._leave_live_run()
        connected = self._connect()
        if connected.outcome == "ok":
            self._line.phase = ASK
        return connected, self._wait()

    def cancel(self) -> tuple[Turn, Turn]:
        """Cancel a run in progress, or one that waits for a call; let it go on if that fails."""
        connected = self._connect()
        agent = self._live_agent()
        agent.add_user_message(self._text)
        if self._cell.kind.scenario == "cancel":
            wait_for(lambda: self._server.model.answered[self._text], bool, timeout=PATIENCE)
            self._recorder.wait_for(gpt.RunStarted)
        else:
            self._recorder.wait_for(gpt.ToolCallRequested)
        self._line.phase = CANCEL
        refusal = attempt(lambda: agent.cancel_run())
        if refusal.outcome == "ok":
            return connected, self._wait()
        self._line.phase = BETWEEN
        self._line.wait_until_quiet(QUIET)
        self._go_on(agent)
        ended = self._wait()
        # The refused cancel is the turn's outcome, unless the run does not go on as it was.
        return connected, refusal if ended.outcome in ("ok", "cancelled") else ended

    def _go_on(self, agent: gpt.Agent) -> None:
        self._server.model.release(self._text)
        if self._cell.kind.scenario == "cancel waiting":
            for call in agent.state.tool_calls:
                attempt(lambda call=call: agent.submit_tool_output(call.id, "by hand"))  # type: ignore[misc]

    # Steps

    def _connect(self) -> Turn:
        self._line.phase = CONNECT
        turn = attempt(self._new_agent)
        if turn.outcome != "ok":
            # As a program does that is told that it could not connect.
            self._line.phase = AGAIN
            second = attempt(self._new_agent)
            if second.outcome != "ok":
                return second
        return turn

    def _new_agent(self) -> None:
        self._agent = gpt.connect(
            self._thread_id,
            self._assistant_id,
            service=self._service,
            tools=gpt.Toolbox([self._tool()]),
            on_event=self._recorder,
        )

    def _tool(self) -> Callable[[str], int]:
        def count(key: str) -> int:
            """Count a call.

            Args:
                key: What is counted.
            """
            with self._lock:
                self._calls[key] += 1
                return self._calls[key]

        return count

    def _ask(self, text: str) -> Turn:
        replies: list[str] = []
        agent = self._live_agent()
        turn = attempt(lambda: replies.append(agent.ask(text, timeout=PATIENCE)))
        return attrs.evolve(turn, reply=replies[0]) if replies else turn

    def _wait(self) -> Turn:
        closing: list[object] = []
        agent = self._live_agent()
        turn = attempt(lambda: closing.append(agent.wait(PATIENCE)))
        if turn.outcome != "ok":
            return turn
        names = {gpt.RunCancelled: "cancelled", gpt.RunFailed: "failed", type(None): "no run"}
        replies = [event.content for event in self._recorder.of(gpt.AssistantMessageAdded)]
        outcome = names.get(type(closing[0]), "ok")
        return Turn(outcome=outcome, error=str(closing[0]), reply="\n".join(replies))

    def _ask_until_taken(self) -> Turn:
        text = f"{COUNT} {self._name}-again"
        until = time.monotonic() + USABLE_AGAIN
        while True:
            turn = self._ask(text)
            busy = turn.error.startswith(("ServiceBusyError", "RunInProgressError"))
            if not busy or time.monotonic() > until:
                right = turn.reply == reply_to(text)
                return (
                    turn if turn.outcome != "ok" or right else attrs.evolve(turn, outcome="wrong")
                )
            threading.Event().wait(0.1)

    def _reconnect(self) -> Turn:
        self._live_agent().shutdown(2)
        self._recorder = EventRecorder()
        turn = attempt(self._new_agent)
        if turn.outcome != "ok":
            return turn
        attempt(lambda: self._live_agent().wait(USABLE_AGAIN))
        return self._ask(f"{COUNT} {self._name}-reconnected")

    def _leave_live_run(self) -> None:
        """Have another program begin a run, which leaves it when it waits for a tool call."""
        name = f"{self._name}-before"
        service = self._make_service(name, Line(lambda *_: None), UNBROKEN_SILENCE)
        recorder = EventRecorder()
        agent = gpt.connect(self._thread_id, self._assistant_id, service=service, on_event=recorder)
        agent.add_user_message(self._text)
        recorder.wait_for(gpt.ToolCallRequested)
        agent.shutdown(2)
        service.close()
        self._server.drop(name)

    def _let_thread_settle(self) -> None:
        """Wait until no run is live, or for as long as a stalled request may take to be handled."""
        until = time.monotonic() + (LONG_STALL if self._cell.fault.slow else 0.5)
        while self._state().live and time.monotonic() < until:
            threading.Event().wait(0.02)

    # Plumbing

    def _live_agent(self) -> gpt.Agent:
        assert self._agent is not None, "could not connect at all"
        return self._agent

    def _state(self) -> ServerState:
        return read_state(self._server.engine, self._cell.kind.wire, self._thread_id)

    def _make_service(
        self, name: str, line: Line, read_timeout: float
    ) -> AssistantsService | ResponsesService:
        service = AssistantsService if self._cell.kind.wire == ASSISTANTS else ResponsesService
        return service(self._server.open(name, line), "key", timeout=(5.0, read_timeout))

    def _close(self) -> None:
        self._server.model.release(self._text)
        if self._agent is not None:
            self._agent.shutdown(2)
        self._service.close()
        self._server.drop(self._name)
        self._server.model.forget(self._text)


_WORDS = {"plain": PLAIN, "cancel": HOLD, "cancel waiting": MANUAL}
"""How the first message of a scenario begins, where it is not ``COUNT``."""

_SCENARIOS: dict[str, Callable[[Program], tuple[Turn, Turn]]] = {
    "turn": Program.turn,
    "plain": Program.turn,
    "reconnect": Program.reconnect,
    "cancel": Program.cancel,
    "cancel waiting": Program.cancel,
}
