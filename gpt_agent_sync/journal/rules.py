"""What may become of a record, as pure functions from what is stored to what is to be.

Each returns the record itself where nothing is to be changed.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Record:
    """An entry as it is stored.

    Attributes:
        data: JSON text.
        attempt: How many owners have taken it.
        owner: Who works on it.
        lease_until: When the owner's lease runs out, by the journal's clock; 0 without an owner.
        done: Whether it was finished.
        changed_at: When it was last changed, by the journal's clock.
    """

    data: str
    attempt: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    done: bool = False
    changed_at: float


def added(record: Record | None, *, data: str, now: float) -> Record:
    """Return a record that is nobody's, unless there is one."""
    return record or Record(data=data, changed_at=now)


def claimed(record: Record | None, *, owner: str, lease: float, data: str, now: float) -> Record:
    """Return the record as the claimer's, unless it is done, its own, or under another's lease."""
    if record is None:
        record = Record(data=data, changed_at=now)
    elif record.done or record.owner == owner or record.lease_until > now:
        return record
    return attrs.evolve(
        record,
        attempt=record.attempt + 1,
        owner=owner,
        lease_until=now + lease,
        changed_at=now,
    )


def updated(
    record: Record | None, *, owner: str, data: str, done: bool, now: float
) -> Record | None:
    """Return the record with other data, and nobody's if it is done, where it is the owner's."""
    if record is None or record.owner != owner:
        return record
    changed = attrs.evolve(record, data=data, done=done, changed_at=now)
    return _without_owner(changed) if done else changed


def released(record: Record | None, *, owner: str, now: float) -> Record | None:
    """Return the record as nobody's, where it is the owner's."""
    if record is None or record.owner != owner:
        return record
    return _without_owner(attrs.evolve(record, changed_at=now))


def renewed(record: Record, *, owner: str, lease: float, now: float) -> Record:
    """Return the record with a lease that runs from now, where it is the owner's."""
    return attrs.evolve(record, lease_until=now + lease) if record.owner == owner else record


def outdated(record: Record, *, before: float) -> bool:
    """Tell whether a record was neither changed nor under a lease since a moment."""
    return max(record.changed_at, record.lease_until) <= before


def _without_owner(record: Record) -> Record:
    return attrs.evolve(record, owner=None, lease_until=0.0)
