"""What a journal knows of the tool calls of one conversation: noted before, and saved after."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from gpt_agent_sync.errors import JournalError
from gpt_agent_sync.events import ToolCallRequested
from gpt_agent_sync.journal.base import CALL, Claim, Journal, Scope
from gpt_agent_sync.journal.leases import leases_of
from gpt_agent_sync.journal.owners import this_process
from gpt_agent_sync.logs import get_logger

logger = get_logger(__name__)

CLOSED_KEPT = 600.0
"""Seconds for which the notes on a closed run are kept at least. Another process that saw its calls
may only now come to claim them, and has to find that they were answered, not that they are new."""

_CALLS = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/gpt-agent-sync/#tool-call")
"""The namespace of idempotency keys (RFC 9562, 5.5)."""


@attrs.frozen
class SavedOutput:
    """An output as it was saved.

    Attributes:
        output: The text for the model.
        failure: Why the handler could not answer, if it could not.
        code: What kind of failure that is, where there is a word for it.
    """

    output: str
    failure: str | None = None
    code: str | None = None


class CallNotes:
    """The notes on the calls of one conversation.

    Args:
        journal: Where they are kept.
        service: The service's name in journals.
        thread_id: The conversation.
    """

    def __init__(self, journal: Journal, service: str, thread_id: str) -> None:
        self._journal = journal
        self._scope = Scope(service=service, thread_id=thread_id)
        self._closed: deque[tuple[float, str]] = deque()
        self._leases = leases_of(journal)

    def idempotency_key(self, request: ToolCallRequested) -> str:
        """Return a UUID for a call, the same in every process and for every attempt."""
        scope = self._scope
        parts = (scope.service, scope.thread_id, key_of(request))
        # Lengths go along, so that no two calls make one text.
        return str(uuid.uuid5(_CALLS, "".join(f"{len(part)}:{part}" for part in parts)))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Keep what is claimed within the block this process's own until its end.

        Raises:
            RuntimeError: If no thread can be started to renew the leases.
        """
        with self._leases.held():
            yield

    def claim(self, request: ToolCallRequested) -> CallNote:
        """Note that a call begins, unless it was noted before.

        Raises:
            JournalError: If that cannot be noted.
        """
        key = key_of(request)
        claim = self._journal.claim(
            self._scope,
            CALL,
            key,
            owner=this_process(),
            lease=self._leases.lease,
            data={"tool": request.name},
        )
        return CallNote(self._journal, self._scope, key, claim)

    def forget(self, run_ids: Iterable[str]) -> None:
        """Drop the notes on runs that are over; later, where other processes may have seen them."""
        now = time.monotonic()
        self._closed.extend((now, run_id) for run_id in run_ids)
        kept_since = now - CLOSED_KEPT if self._journal.shared else now
        while self._closed and self._closed[0][0] <= kept_since:
            self._remove(self._closed.popleft()[1])

    def _remove(self, run_id: str) -> None:
        try:
            self._journal.remove(self._scope, CALL, f"{run_id}/")
        except JournalError as exc:
            # They are of no harm: no other run has this id, and journals are purged.
            logger.warning("the calls of run %s stay noted: %s", run_id, exc)


def key_of(request: ToolCallRequested) -> str:
    """Return a call's key: its run, its id, and a digest of what it asks for.

    Some servers use an id again within a run, for another call. That one is not to get the first
    one's output; one that asks for the very same is taken for it.
    """
    asked = json.dumps([request.name, request.arguments], sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return f"{request.run_id}/{request.id}/{digest}"


class CallNote:
    """The note on one call, as this process found or made it.

    Args:
        journal: The journal.
        scope: The conversation.
        key: The call.
        claim: What the journal said to the claim.
    """

    def __init__(self, journal: Journal, scope: Scope, key: str, claim: Claim) -> None:
        self._journal = journal
        self._scope = scope
        self._key = key
        self._claim = claim
        self._data = dict(claim.entry.data)
        self._owner = this_process()

    @property
    def is_ours(self) -> bool:
        """Whether the call is this process's to make, from the claim on."""
        return self._claim.taken

    @property
    def interrupted(self) -> bool:
        """Whether somebody began the call before, and nobody knows how far that went."""
        return self._claim.interrupted

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self._claim.entry.attempt

    @property
    def saved(self) -> SavedOutput | None:
        """The output that was saved, if the call was answered before."""
        return _saved(self._data) if self._claim.entry.done else None

    @property
    def remembered(self) -> Any:
        """What the handler remembered last, in this or an earlier attempt."""
        return self._data.get("remembered")

    def remember(self, value: Any) -> None:
        """Keep a value for the handler's next attempt.

        Raises:
            TypeError: If JSON cannot hold it.
            JournalError: If it cannot be kept.
        """
        data = {**self._data, "remembered": value}
        if not self._update(data, done=False):
            raise JournalError(
                repr(self._journal), f"remember {value!r}", f"call {self._key} was taken over"
            )
        self._data = data

    def save(self, output: SavedOutput) -> SavedOutput | None:
        """Save the call's output, and return the one that counts.

        That is another one if the call was taken over meanwhile, and answered; ``None`` if whoever
        took it over is still at work on it.
        """
        self._data = {**self._data, **attrs.asdict(output)}
        try:
            if self._update(self._data, done=True):
                return output
            entry = self._journal.get(self._scope, CALL, self._key)
        except JournalError as exc:
            # It has run: to keep its output from the model now would help nobody.
            logger.error("the output of call %s is not saved: %s", self._key, exc)
            return output
        if entry is None:  # the run is over, and its notes with it
            return output
        return _saved(entry.data) if entry.done else None

    def release(self) -> None:
        """Leave the call to whoever claims it next."""
        try:
            self._journal.release(self._scope, CALL, self._key, owner=self._owner)
        except JournalError as exc:
            logger.warning("call %s stays taken: %s", self._key, exc)

    def _update(self, data: dict[str, Any], *, done: bool) -> bool:
        return self._journal.update(
            self._scope, CALL, self._key, owner=self._owner, data=data, done=done
        )


def _saved(data: Any) -> SavedOutput:
    return SavedOutput(str(data.get("output", "")), data.get("failure"), data.get("code"))
