"""The server of a soak, in a process of its own, so that only the agents' side is measured."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection

from tests.faults.faults import CUTS, FAULTS, Fault, cuts
from tests.faults.kinds import MESSAGE, OUTPUTS, RUN, SUBMIT, Record
from tests.faults.server import FaultServer, Line
from tests.faults.state import ServerState, read_state

FAULT_SHARE = 0.05
"""How many of the requests meet a fault of their own."""

TWICE_SHARE = 0.3
"""How many faults happen to the next request of the kind, too."""

_STREAMS = (RUN, SUBMIT, MESSAGE, OUTPUTS, "GET /responses/* (stream)")
_CUTS = tuple(cuts(CUTS))

RECORDS = 50
"""Requests that a line keeps."""


class ChanceOfFaults:
    """The faults of a line by chance; called under the line's lock.

    Args:
        seed: Of the chance.
    """

    def __init__(self, seed: str) -> None:
        self._chance = random.Random(seed)
        self._again: dict[str, Fault] = {}

    def __call__(self, phase: str, label: str, earlier: Sequence[Record]) -> Fault | None:
        """Return the fault of a request, if it has one."""
        again = self._again.pop(label, None)
        if again is not None:
            return again
        if self._chance.random() >= FAULT_SHARE:
            return None
        cut = label in _STREAMS and self._chance.random() < 0.3
        fault = self._chance.choice(
            _CUTS
            if cut
            else [each for each in FAULTS if label.startswith("POST") or not each.for_writes]
        )
        if self._chance.random() < TWICE_SHARE:
            self._again[label] = fault
        return fault


class SoakServer:
    """The server process, seen from the agents' side.

    Args:
        lines: The names of the lines.
        seed: Of the faults.

    Attributes:
        base_urls: The base URL of each line, and of ``"direct"``, where no faults happen.
    """

    def __init__(self, lines: Sequence[str], seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, list(lines), seed), name="soak-server", daemon=True
        )
        self._process.start()
        theirs.close()
        self.base_urls: Mapping[str, str] = self._connection.recv()

    def state(self, wire: str, thread_id: str) -> ServerState:
        """Return what the server has of a conversation; for one thread at a time."""
        self._connection.send((wire, thread_id))
        state: ServerState = self._connection.recv()
        return state

    def stop(self) -> None:
        """Stop the server, and wait for the end of its process."""
        self._connection.send(None)
        self._process.join(30)
        self._connection.close()
        self._process.close()


def _serve(connection: Connection, lines: Sequence[str], seed: int) -> None:
    server = FaultServer()
    base_urls = {
        name: server.open(name, Line(ChanceOfFaults(f"{seed} {name}"), RECORDS)) for name in lines
    }
    base_urls["direct"] = server.open("direct", Line(lambda *_: None, RECORDS))
    connection.send(base_urls)
    while (asked := connection.recv()) is not None:
        connection.send(read_state(server.engine, *asked))
    server.stop()
