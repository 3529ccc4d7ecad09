"""``python -m tests.faults``: run the matrix, and print which cells deviate."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

from tests.faults.cells import all_cells, select, short_cut
from tests.faults.kinds import MODES, WIRES
from tests.faults.report import lines_of, log_lines, unexplained
from tests.faults.running import hurry, run_cells, run_everywhere
from tests.faults.server import FaultServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments select, and return the process's exit status."""
    options = _parser().parse_args(arguments)
    cells = select(
        short_cut() if options.short else all_cells(),
        wire=options.wire,
        mode=options.mode,
        times={True: 2, False: None}[options.twice],
        kind=options.kind,
        fault=options.fault,
    )
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return 0
    if options.cell:
        return _run_one(options.cell)
    began = time.monotonic()
    results = []
    for result in run_everywhere(cells, options.processes):
        results.append(result)
        if sys.stderr.isatty():
            print(f"\r{len(results)} of {len(cells)}", end="", file=sys.stderr)
    print("\n".join(lines_of(results, time.monotonic() - began)))
    return 1 if unexplained(results) else 0


def _run_one(name: str) -> int:
    """Run the cell of a name, and print its requests and the package's log."""
    found = [cell for cell in all_cells() if cell.name == name]
    if not found:
        print(f"no such cell: {name!r}; --list names them", file=sys.stderr)
        return 2
    logging.basicConfig(
        level=logging.DEBUG, format="%(relativeCreated)7d %(threadName)s %(name)s: %(message)s"
    )
    logging.getLogger("urllib3").setLevel(logging.INFO)
    hurry()
    server = FaultServer()
    try:
        (result,) = run_cells(server, found)
    finally:
        server.stop()
    print("\n".join(log_lines(result.records)))
    for deviation in result.deviations:
        print(f"{deviation.reason}: {deviation.detail}")
    print("met" if result.met else "the request never came")
    return 1 if result.deviations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--wire", choices=WIRES)
    modes = parser.add_mutually_exclusive_group()
    for mode in MODES:
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode)
    parser.add_argument("--kind", help="a part of the name of a kind of request")
    parser.add_argument("--fault", help="a part of the name of a fault")
    parser.add_argument("--twice", action="store_true", help="two faults in a row only")
    parser.add_argument("--short", action="store_true", help="the short cut that the suite runs")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="name the cells, and run none")
    parser.add_argument("--cell", help="run one cell, by its whole name, and tell its requests")
    return parser


if __name__ == "__main__":
    sys.exit(main())
