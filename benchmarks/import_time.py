"""Measure what importing costs, beside its dependencies and a peer.

Run: ``python benchmarks/import_time.py``. Each statement is timed in fresh interpreters, in
turns, so that a noisy machine is noisy to all; the table gives medians above a bare start, and
their ratio to importing the core dependencies.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

ROUNDS = 15
BASE = "import requests, attrs, blinker"
STATEMENTS = ["pass", BASE, "import gpt_agent_sync"]
if find_spec("openai"):
    STATEMENTS.append("import openai")


def seconds(statement: str) -> float:
    """Time one fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print the table."""
    times: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for _ in range(ROUNDS):
        for statement in STATEMENTS:
            times[statement].append(seconds(statement))
    bare = statistics.median(times.pop("pass"))
    medians = {statement: statistics.median(taken) - bare for statement, taken in times.items()}
    print(f"{'statement':36} {'median ms':>10} {'ratio':>6}")
    for statement, median in medians.items():
        print(f"{statement:36} {median * 1000:10.1f} {median / medians[BASE]:6.2f}")


if __name__ == "__main__":
    main()
