"""The crash test as a command; see the package."""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from tests.crashes.program import WIRES
from tests.crashes.trials import Combination, try_kills


def main() -> int:
    """Try all combinations, print what came of them, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each combination")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--wire", choices=WIRES, action="append", help="only this one")
    parser.add_argument("--processes", type=int, choices=(1, 2), help="only with so many")
    chosen = parser.parse_args()
    folder, bad = Path(tempfile.mkdtemp(prefix="crashes-")), 0
    print(f"seed {chosen.seed}, files of conversations with problems in {folder}", flush=True)
    wires = chosen.wire or WIRES
    for wire, streamed, paired in itertools.product(wires, (True, False), (False, True)):
        if chosen.processes not in (None, 1 + paired):
            continue
        combination = Combination(wire=wire, streamed=streamed, paired=paired)
        began = time.monotonic()
        figures = try_kills(combination, chosen.kills, chosen.seed, folder)
        print(
            f"{combination}: {figures.kills} kills in {figures.turns} turns, "
            f"{figures.interrupted} calls interrupted, {len(figures.problems)} problems, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        for problem in figures.problems:
            print(f"    {problem}", flush=True)
        bad += len(figures.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
