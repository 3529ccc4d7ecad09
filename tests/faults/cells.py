"""The cells of the matrix: every kind of request with every fault that means something for it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import attrs

from tests.faults.faults import CUTS, FAULTS, Fault, cuts
from tests.faults.kinds import (
    ASSISTANTS,
    KINDS,
    MESSAGE,
    OUTPUTS,
    RUN,
    STREAMED,
    SUBMIT,
    Injection,
    RequestKind,
)

STREAM_EVENTS = {RUN: 12, SUBMIT: 11, MESSAGE: 7, OUTPUTS: 9}
"""How many events the streams have that answer these requests; the cuts go as far."""


@attrs.frozen
class Cell:
    """A kind of request, what happens to it, and how runs are followed.

    Attributes:
        kind: The kind.
        fault: The fault.
        mode: Whether runs are streamed or polled.
        times: To how many requests in a row the fault happens.
    """

    kind: RequestKind
    fault: Fault
    mode: str
    times: int = 1

    @property
    def name(self) -> str:
        """Its name, unique in the matrix."""
        twice = " x2" if self.times == 2 else ""
        return f"{self.kind.wire} | {self.mode} | {self.kind.name} | {self.fault.name}{twice}"

    @property
    def injections(self) -> tuple[Injection, ...]:
        """Its faults, those that bring its kind of request about among them."""
        preludes = self.kind.preludes.get(self.mode, ())
        return (*preludes, Injection(self.kind, self.fault, self.times))


def all_cells() -> list[Cell]:
    """Return the whole matrix."""
    return [
        Cell(kind, fault, mode, times)
        for kind in KINDS
        for mode in kind.modes
        for fault in faults_of(kind, mode)
        for times in (1, 2)
    ]


def faults_of(kind: RequestKind, mode: str) -> Iterator[Fault]:
    """Yield the faults that mean something for a kind of request."""
    writes = kind.labels.startswith("POST")
    for fault in FAULTS:
        if writes or not fault.for_writes:
            yield fault
    if mode == STREAMED:
        yield from cuts(_stream_events(kind))


def _stream_events(kind: RequestKind) -> int:
    """Return how many events the stream has that answers a kind of request, or 0."""
    if kind.role == "aside" and kind.name.startswith("resume"):
        return CUTS // 2
    if kind.role in ("message", "run", "outputs"):
        names = (RUN, SUBMIT) if kind.wire == ASSISTANTS else (MESSAGE, OUTPUTS)
        for label in names:
            if kind.fits(kind.phases[0], label, ()):
                return STREAM_EVENTS[label]
    return 0


def short_cut(seed: int = 10, share: int = 16) -> list[Cell]:
    """Return a sample in which every kind and every fault occurs, in every mode and twice, too.

    Args:
        seed: Of the choice.
        share: One cell in so many is chosen, at least two of each kind and mode.
    """
    chance = random.Random(seed)
    cells = all_cells()
    chosen: list[Cell] = []
    for kind in KINDS:
        for mode in kind.modes:
            own = [cell for cell in cells if cell.kind is kind and cell.mode == mode]
            chosen += chance.sample(own, max(2, len(own) // share))
    missing = {cell.fault.name for cell in cells} - {cell.fault.name for cell in chosen}
    for name in sorted(missing):
        chosen.append(chance.choice([cell for cell in cells if cell.fault.name == name]))
    return chosen


def select(cells: Sequence[Cell], **wanted: str | int | None) -> list[Cell]:
    """Return the cells with all of some properties.

    Args:
        cells: The cells.
        wanted: ``wire``, ``mode``, ``times``, and parts of the names of ``kind`` and ``fault``;
            ``None`` is any.
    """

    def fits(cell: Cell) -> bool:
        own: dict[str, str | int] = {
            "wire": cell.kind.wire,
            "mode": cell.mode,
            "times": cell.times,
        }
        return (
            all(wanted.get(name) in (None, value) for name, value in own.items())
            and str(wanted.get("kind") or "") in cell.kind.name
            and str(wanted.get("fault") or "") in cell.fault.name
        )

    return [cell for cell in cells if fits(cell)]
