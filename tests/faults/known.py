"""The cells that deviate and are known to, each with the reason.

``docs/reliability.md`` tells them to users.
"""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class KnownDeviation:
    """Cells that deviate for a reason.

    Attributes:
        cells: A regular expression of their whole names.
        reason: Why they do, and what would have to change.
    """

    cells: str
    reason: str


KNOWN: tuple[KnownDeviation, ...] = ()


def known_reason(cell: str) -> str | None:
    """Return why a cell deviates, if that is known."""
    for known in KNOWN:
        if re.fullmatch(known.cells, cell):
            return known.reason
    return None
