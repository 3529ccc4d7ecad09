"""Results for people: the size of the matrix, and the cells that deviate, in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from tests.faults.kinds import Record
from tests.faults.known import known_reason
from tests.faults.running import Result

WIDTH = 160


def lines_of(results: Sequence[Result], seconds: float) -> Iterator[str]:
    """Yield the lines of a report."""
    met = [result for result in results if result.met]
    deviating = [result for result in met if result.deviations]
    unknown = unexplained(results)
    yield (
        f"{len(results)} cells in {seconds:.0f} s; in {len(results) - len(met)} the request never "
        f"came; of {len(met)} deviate {len(deviating)}, {len(unknown)} of them unexplained"
    )
    yield from _never_met(results)
    for heading, chosen in (
        ("deviating", unknown),
        ("deviating as known", [each for each in deviating if each not in unknown]),
    ):
        if chosen:
            yield f"\n{heading}: {len(chosen)}"
            yield from _grouped(chosen)


def unexplained(results: Iterable[Result]) -> list[Result]:
    """Return the cells that deviate, and that no table names."""
    return [
        result
        for result in results
        if result.met and result.deviations and known_reason(result.cell) is None
    ]


def _never_met(results: Sequence[Result]) -> Iterator[str]:
    """Name the kinds of requests that never came, in no cell."""
    came: dict[str, bool] = defaultdict(bool)
    for result in results:
        came[_kind_of(result)] |= result.met
    never = sorted(kind for kind, met in came.items() if not met)
    if never:
        yield f"kinds never met: {'; '.join(never)}"


def _kind_of(result: Result) -> str:
    return " | ".join(result.cell.split(" | ")[:3])


def _grouped(results: Iterable[Result]) -> Iterator[str]:
    """Group the cells by kind of request and what does not hold."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        reasons = "; ".join(each.reason for each in result.deviations)
        groups[_kind_of(result), reasons].append(result)
    for (kind, reasons), cells in sorted(groups.items()):
        yield f"\n{kind}: {reasons} ({len(cells)})"
        yield f"    {', '.join(sorted(_fault_of(cell) for cell in cells))}"
        for deviation in cells[0].deviations:
            yield f"    e.g. {deviation.reason}: {deviation.detail}"[: WIDTH * 2]


def _fault_of(result: Result) -> str:
    return result.cell.split(" | ")[3]


def log_lines(records: Sequence[Record]) -> Iterator[str]:
    """Yield the requests of a cell."""
    begin = records[0].came_at if records else 0.0
    for record in records:
        fault = f"  <- {record.fault.name}" if record.fault else ""
        took = "" if record.answered_at is None else f"{record.answered_at - record.came_at:.3f} s"
        yield (
            f"{record.came_at - begin:7.3f}  {record.phase:8} {record.label:52} "
            f"{record.status or '-':>4} {took:>8}{fault}"
        )
