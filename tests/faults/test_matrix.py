"""A short cut of the matrix of faults; ``python -m tests.faults`` runs all of it."""

from __future__ import annotations

import pytest

from tests.faults.cells import all_cells, short_cut
from tests.faults.kinds import KINDS, RequestKind
from tests.faults.report import log_lines, unexplained
from tests.faults.running import run_cells
from tests.faults.server import FaultServer

SHORT_CUT = short_cut()

LOGGED = 30
"""Requests of a deviating cell that are shown."""


def kind_id(kind: RequestKind) -> str:
    """Return a name for a kind of request."""
    return f"{kind.wire}: {kind.name}"


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_no_cell_deviates(kind: RequestKind, fault_server: FaultServer) -> None:
    """Whatever becomes of a request of the kind, all is done and told once, and the agent lives."""
    cells = [cell for cell in SHORT_CUT if cell.kind is kind]
    results = list(run_cells(fault_server, cells))
    if not any(result.met for result in results):
        pytest.skip("the agent makes no such request")
    deviating = unexplained(results)
    assert not deviating, "\n".join(
        line
        for result in deviating
        for line in (result.cell, *map(str, result.deviations), *log_lines(result.records[:LOGGED]))
    )


def test_short_cut_has_every_kind_in_every_mode() -> None:
    """No kind of request is left out of the short cut, streamed or polled."""
    assert {(cell.kind.name, cell.mode) for cell in SHORT_CUT} == {
        (cell.kind.name, cell.mode) for cell in all_cells()
    }


def test_short_cut_has_every_fault_once_and_twice() -> None:
    """No fault is left out of the short cut, and some happen twice in a row."""
    assert {cell.fault.name for cell in SHORT_CUT} == {cell.fault.name for cell in all_cells()}
    assert {cell.times for cell in SHORT_CUT} == {1, 2}


def test_names_of_cells_are_unique() -> None:
    """A cell can be run by its name."""
    names = [cell.name for cell in all_cells()]
    assert len(set(names)) == len(names)
