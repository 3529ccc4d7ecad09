"""The deployment's trial as a command; see the package."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from tests.deployment.trial import CUT, KILL, REDIS, RESTART, STOP, Trial, attempt, problems_of
from tests.faults.kinds import WIRES

TROUBLES = (KILL, STOP, REDIS, CUT, RESTART)


def main() -> int:
    """Try, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.deployment", description=__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=10)
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--trouble", choices=TROUBLES, action="append", default=[])
    parser.add_argument("--clocks-apart", action="store_true", help="needs Debian's faketime")
    parser.add_argument("--wire", choices=WIRES, action="append")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    chosen = parser.parse_args()
    bad = 0
    for wire in chosen.wire or WIRES:
        folder, began = Path(tempfile.mkdtemp(prefix="deployment-")), time.monotonic()
        trial = Trial(
            wire=wire,
            processes=chosen.processes,
            threads=chosen.threads,
            turns=chosen.turns,
            troubles=chosen.trouble,
            seed=chosen.seed,
            clocks_apart=chosen.clocks_apart,
        )
        result = attempt(trial, folder)
        print(
            f"{wire}, seed {trial.seed}: {dict(result.asked)}, trouble {dict(result.happened)}, "
            f"{result.events} events, {len(result.problems)} problems, "
            f"{time.monotonic() - began:.0f} s; files in {folder}",
            flush=True,
        )
        print(*(f"    {problem}" for problem in problems_of(result)), sep="\n", flush=True)
        bad += len(result.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
