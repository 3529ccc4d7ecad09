"""All figures: this package beside the official ``openai`` client, over one stub, in one run.

Run: ``python -m benchmarks`` prints the tables, in about eight minutes; ``--quick`` measures less.
With ``--write`` they go into ``docs/performance.md``, and the plot beside it. The extra
``benchmarks`` brings what is needed. Each client is a process of its own, and so is the stub; the
SDKs take turns, so that a noisy machine is noisy to both.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from benchmarks import import_time, journal
from benchmarks.clients import Job, Measured, measure
from benchmarks.crowds import measure_idle, measure_sustained
from benchmarks.plot import draw

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- figures -->", "<!-- end of the figures -->"

NAMES = {"ours": "gpt_agent_sync", "openai": "openai", "requests": "bare requests loop"}

Row = list[str]
Seen = dict[str, list[tuple[int, Measured]]]


@contextmanager
def stub() -> Iterator[str]:
    """Run the stub, and return where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stub"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.communicate()


def per_cent(values: Iterable[float], share: float) -> float:
    """Return the value below which so many per cent of the others lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def milliseconds(seconds: float) -> str:
    """Spell a time."""
    return f"{seconds * 1000:.1f}"


def table(head: Row, rows: Iterable[Row]) -> str:
    """Spell a table, for a terminal and for Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    spelled = []
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        spelled.append(f"| {' | '.join(cells)} |")
    return "\n".join(spelled)


def together(measured: list[Measured]) -> Measured:
    """Return what several rounds of one job measured: all overheads, and medians of the rest."""
    return Measured(
        overheads=[seconds for each in measured for seconds in each.overheads],
        cpu=statistics.median(each.cpu for each in measured),
        requests=statistics.median(each.requests for each in measured),
        connections=statistics.median(each.connections for each in measured),
        kilobytes=statistics.median(each.kilobytes for each in measured),
    )


def in_turns(jobs: list[Job], rounds: int) -> list[Measured]:
    """Do jobs in turns, and give what each measured."""
    measured: list[list[Measured]] = [[] for _ in jobs]
    for _ in range(rounds):
        for place, job in enumerate(jobs):
            measured[place].append(measure(job))
    return [together(each) for each in measured]


def turns_table(base_url: str, *, quick: bool) -> str:
    """Measure turns of one conversation, and of many that begin at once."""
    rows = []
    crowds = (
        [(0.3, 1), (2.0, 1), (2.0, 50)]
        if quick
        else [(seconds, agents) for seconds in (0.3, 2.0, 10.0) for agents in (1, 50, 500)]
    )
    for seconds, agents in crowds:
        turns = {0.3: 20, 2.0: 3, 10.0: 1}[seconds] if agents == 1 else 1
        for wire, way, sdks in (
            ("assistants", "stream", ("ours", "openai", "requests")),
            ("assistants", "text", ("ours",)),
            ("assistants", "poll", ("ours", "openai")),
            ("responses", "stream", ("ours", "openai")),
        ):
            jobs = [
                Job(
                    sdk=sdk,
                    wire=wire,
                    way=way,
                    seconds=seconds,
                    agents=agents,
                    turns=turns,
                    base_url=base_url,
                )
                for sdk in sdks
            ]
            for job, seen in zip(jobs, in_turns(jobs, 1), strict=True):
                rows.append(turn_row(job, seen))
                print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["run s", "agents", "wire", "way", "client", "overhead p50 ms", "p99 ms"]
    return table([*head, "CPU ms a turn", "requests", "connections"], rows)


def turn_row(job: Job, seen: Measured) -> Row:
    """Return the row of a job."""
    return [
        f"{job.seconds:g}",
        str(job.agents),
        job.wire,
        job.way,
        NAMES[job.sdk],
        milliseconds(per_cent(seen.overheads, 50)),
        milliseconds(per_cent(seen.overheads, 99)),
        f"{seen.cpu * 1000:.2f}",
        f"{seen.requests:.2f}",
        f"{seen.connections:.2f}",
    ]


def ratios_table(base_url: str, *, quick: bool) -> str:
    """Measure what is held against the official client, more often than the rest."""
    rows = []
    for name, ours, theirs in (
        ("streamed turn, Assistants", Job(sdk="ours"), Job(sdk="openai")),
        ("streamed turn, listening to text", Job(sdk="ours", way="text"), Job(sdk="openai")),
        (
            "streamed turn, Responses",
            Job(sdk="ours", wire="responses"),
            Job(sdk="openai", wire="responses"),
        ),
        (
            "polled turn of 2 s",
            Job(sdk="ours", way="poll", seconds=2.0, turns=6),
            Job(sdk="openai", way="poll", seconds=2.0, turns=6),
        ),
    ):
        jobs = [with_address(job, base_url) for job in (ours, theirs)]
        mine, other = in_turns(jobs, 2 if quick else 3)
        rows.append(
            [
                name,
                f"{mine.cpu * 1000:.2f}",
                f"{other.cpu * 1000:.2f}",
                f"{mine.cpu / other.cpu:.2f}",
                milliseconds(per_cent(mine.overheads, 50)),
                milliseconds(per_cent(other.overheads, 50)),
            ]
        )
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["", "CPU ms, ours", "openai", "ratio", "overhead p50 ms, ours", "openai"]
    return table(head, rows)


def with_address(job: Job, base_url: str) -> Job:
    """Return a job with the stub's address."""
    import attrs

    return attrs.evolve(job, base_url=base_url)


def crowds_table(base_url: str, *, quick: bool) -> tuple[str, Seen]:
    """Measure live streamed runs of 5 s that all begin at once, and give the series too."""
    series: Seen = {"ours": [], "openai": []}
    counts = [1, 100, 500, 1000] if quick else [1, 50, 100, 200, 500, 1000, 2000]
    rows = []
    for count in counts:
        for sdk, seen in series.items():
            if sdk == "openai" and count > 500:
                continue
            turns = 3 if count == 1 else 1
            job = Job(sdk=sdk, seconds=5.0, agents=count, turns=turns, base_url=base_url)
            measured = measure(job)
            seen.append((count, measured))
            rows.append(
                [
                    str(count),
                    NAMES[sdk],
                    f"{len(measured.overheads)}",
                    milliseconds(per_cent(measured.overheads, 50)),
                    milliseconds(per_cent(measured.overheads, 99)),
                    f"{measured.cpu * 1000:.2f}",
                    f"{measured.kilobytes:.0f}",
                ]
            )
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ["agents", "client", "completed", "overhead p50 ms", "p99 ms", "CPU ms a turn"]
    return table([*head, "KB each, running"], rows), series


def doubling(seen: list[tuple[int, Measured]]) -> str:
    """Return from how many agents on the overhead is twice that of one."""
    alone = per_cent(seen[0][1].overheads, 50)
    more = [count for count, each in seen if per_cent(each.overheads, 50) > 2 * alone]
    return f"{more[0]}" if more else f"more than {seen[-1][0]}"


def sustained_table(base_url: str, *, quick: bool) -> str:
    """Measure turns that begin at a steady rate."""
    rows = []
    for rate in (250, 350):
        seen = measure_sustained(base_url, rate, 5 if quick else 10)
        rows.append(
            [
                str(rate),
                f"{seen['rate']:.0f}",
                milliseconds(per_cent(seen["overheads"], 50)),
                milliseconds(per_cent(seen["overheads"], 99)),
                f"{seen['cpu'] * 1000:.2f}",
            ]
        )
    head = ["turns a second, asked", "begun", "overhead p50 ms", "p99 ms", "CPU ms a turn"]
    return table(head, rows)


def idle_table(base_url: str, *, quick: bool) -> str:
    """Measure agents that do nothing."""
    rows = []
    for count in (1000,) if quick else (1000, 10_000):
        seen = measure_idle(base_url, count, 5 if quick else 10)
        rows.append([str(count), f"{seen['kilobytes']:.1f}", f"{seen['share'] * 100:.2f}"])
    return table(["idle agents", "KB each", "per cent of a core"], rows)


def import_table(*, quick: bool) -> str:
    """Measure what importing costs."""
    medians = import_time.measure(5 if quick else 15)
    base = medians.get("import openai") or medians[import_time.BASE]
    return table(
        ["statement", "median ms", "of import openai"],
        [[name, milliseconds(each), f"{each / base:.2f}"] for name, each in medians.items()],
    )


def machine() -> str:
    """Describe where the figures are from."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}, {memory:.0f} GiB; "
        f"{platform.system()} {platform.release()}, CPython {platform.python_version()}; "
        f"openai {version('openai')}, requests {version('requests')}, urllib3 {version('urllib3')}."
    )


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    chosen = parser.parse_args()
    quick = chosen.quick
    with stub() as base_url:
        ratios = ratios_table(base_url, quick=quick)
        crowds, series = crowds_table(base_url, quick=quick)
        parts: list[tuple[str, str]] = [
            ("Beside the official client", ratios),
            ("Many agents at once, streamed runs of 5 s", crowds),
            ("A steady rate, streamed runs of 1 s", sustained_table(base_url, quick=quick)),
            ("Idle agents", idle_table(base_url, quick=quick)),
            ("Import", import_table(quick=quick)),
            ("A tool call in a journal", table(journal.HEAD, journal.rows())),
            ("A turn with a journal", table(journal.TURN_HEAD, journal.turn_rows())),
            ("Turns", turns_table(base_url, quick=quick)),
        ]
    notes = " and ".join(f"{doubling(seen)} ({NAMES[sdk]})" for sdk, seen in series.items() if seen)
    parts[1] = (parts[1][0], f"{crowds}\n\nThe median overhead has doubled at: {notes} agents.")
    text = "\n\n".join([machine(), *(f"### {title}\n\n{body}" for title, body in parts)])
    print(text)
    if chosen.write:
        write(text)
        draw(series, NAMES, DOCS / "agents.svg")


def write(text: str) -> None:
    """Put the figures in their place in the document."""
    document = DOCS / "performance.md"
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
