"""Cells run on threads and processes, each on a thread of its own at a shared server."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.services.http import repeats
from tests.faults.cells import Cell, all_cells
from tests.faults.checks import Deviation, deviations
from tests.faults.kinds import STREAMED, Record
from tests.faults.scenarios import Program
from tests.faults.server import FaultServer

CELLS_AT_ONCE = 16
"""In a process: most of them wait most of the time."""

CHUNK = 120
"""Cells that a process is given at a time."""

_numbers = itertools.count()


@attrs.frozen
class Result:
    """What came of a cell.

    Attributes:
        cell: Its name.
        met: Whether its fault came about.
        deviations: What does not hold.
        records: The requests.
    """

    cell: str
    met: bool
    deviations: Sequence[Deviation]
    records: Sequence[Record] = attrs.field(default=(), repr=False)


PAUSES = {"FIRST_BACKOFF": 0.02, "LONGEST_BACKOFF": 0.2}
"""Seconds of the pauses between repeats, by the names of the package's constants."""

SETTINGS = {"heartbeat_interval": 0.05, "http_retries": 4}


def hurry() -> None:
    """Make the package's pauses short, in this process."""
    for name, seconds in PAUSES.items():
        setattr(repeats, name, seconds)
    gpt.configure(**SETTINGS)


def run_cell(server: FaultServer, cell: Cell) -> Result:
    """Run a cell; ``streaming`` is set to its mode."""
    name = f"{os.getpid()}-{next(_numbers)}"
    try:
        seen = Program(server, cell, name).run()
    except Exception:
        found = [Deviation("the cell broke", traceback.format_exc())]
        return Result(cell.name, met=True, deviations=found)
    found = deviations(cell, seen) if seen.met else []
    return Result(cell.name, seen.met, found, seen.records)


def run_cells(
    server: FaultServer, cells: Sequence[Cell], at_once: int = CELLS_AT_ONCE
) -> Iterator[Result]:
    """Run cells on threads, all those of a mode before the others, and yield as they end."""
    for streaming in (True, False):
        # The setting is the process's, and read when an agent is made.
        gpt.configure(streaming=streaming)
        own = [cell for cell in cells if (cell.mode == STREAMED) is streaming]
        with ThreadPoolExecutor(at_once) as executor:
            futures = [executor.submit(run_cell, server, cell) for cell in own]
            for future in as_completed(futures):
                yield future.result()


def run_everywhere(cells: Sequence[Cell], processes: int) -> Iterator[Result]:
    """Run cells in several processes, each with a server of its own."""
    # By name: a kind of request holds functions, which no other process can be sent.
    names = [cell.name for cell in sorted(cells, key=lambda cell: cell.mode)]
    chunks = [names[begin : begin + CHUNK] for begin in range(0, len(names), CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as executor:
        futures = [executor.submit(_run_chunk, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield from future.result()


def _run_chunk(names: Sequence[str]) -> list[Result]:
    by_name = {cell.name: cell for cell in all_cells()}
    hurry()
    server = FaultServer()
    try:
        found = list(run_cells(server, [by_name[name] for name in names]))
    finally:
        gpt.shutdown_all(10)
        server.stop()
    # Records hold faults, and those the functions of kinds.
    return [attrs.evolve(result, records=()) for result in found]
