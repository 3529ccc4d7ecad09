"""Who runs the turns of a thread, where several processes may have agents of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.shared_ownership import SharedOwnership
from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.backplane.local import LocalBackplane
from gpt_agent_sync.decisions import remote
from gpt_agent_sync.decisions.state import RemoteTurn
from gpt_agent_sync.event_log import START
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.journal.base import Scope


class Ownership(Protocol):
    """An agent's part in the turns of its thread."""

    shared: bool
    """Whether other processes may have agents of it."""

    @property
    def holds(self) -> bool:
        """Whether this agent has the right to run a turn, as far as it knows."""

    def entered(self, *, goes_on: bool = False) -> contextlib.AbstractContextManager[None]:
        """Have the right to run turns for the block, and for the turn that begins in it.

        Args:
            goes_on: Whether to go on with a turn whose owner has fallen silent. If not, such a one
                is another process's turn.

        Raises:
            RunInProgressError: If another process runs one.
            BackplaneError: If that cannot be found out.
        """

    def wants_deltas(self) -> bool:
        """Return whether others may receive text as it arrives."""

    def is_listened_to(self) -> bool:
        """Return whether somebody iterates over the thread's events now, without this agent."""

    def publish(self, event: Event) -> Event | None:
        """Tell others of an event that is about to be told here; ``None`` if they tell it now."""

    def may_act(self) -> bool:
        """Return whether the turn is still this agent's: before tools are called, say.

        Raises:
            BackplaneError: If that cannot be found out.
        """

    def is_ending(self) -> bool:
        """Return whether others may have the thread when all that happened is told."""

    def leave(self) -> None:
        """Let others have the thread, unless something has begun meanwhile."""

    def catch_up(self) -> None:
        """Take in all that other processes have told, now.

        Raises:
            BackplaneError: If the backplane fails.
        """

    def retry(self, call: Callable[[], object], *, stays: bool = False) -> None:
        """Have something called again a little later, after it has failed.

        Args:
            call: What is called.
            stays: Whether nobody else may have the thread before.
        """

    def ask(self, verb: str, **arguments: Any) -> Mapping[str, Any] | None:
        """Have the process that runs the turn do something; ``None`` where this one runs it.

        Raises:
            BackplaneError: If it does not answer in time.
        """

    def regain(self, until: float | None) -> None:
        """Have the right again for a turn whose message is with the service by now.

        Args:
            until: When the caller's time is up, monotonic seconds.

        Raises:
            BackplaneError: If another process keeps it for too long; in doubt.
        """

    def begin(self) -> None:
        """Hear of other processes from now on."""

    def end(self) -> None:
        """Hear of them no more, and let them have the thread."""


class SoleOwnership:
    """The ownership of an agent that no other process can have one beside.

    Args:
        backplane: The process's own.
        scope: The thread.
    """

    shared = False

    def __init__(self, backplane: LocalBackplane, scope: Scope) -> None:
        self._backplane = backplane
        self._scope = scope

    @property
    def holds(self) -> bool:
        """Return ``True``."""
        return True

    def entered(self, *, goes_on: bool = False) -> contextlib.AbstractContextManager[None]:
        """Do nothing: there is nobody else."""
        return contextlib.nullcontext()

    def wants_deltas(self) -> bool:
        """Return whether anybody listens, or has listened, without an agent."""
        return self._backplane.keeps(self._scope)

    def is_listened_to(self) -> bool:
        """Return whether somebody iterates over the thread's events now."""
        return self._backplane.is_listened_to(self._scope)

    def publish(self, event: Event) -> Event:
        """Give an event its place, and tell those who listen without an agent."""
        if not isinstance(event, AgentStopped):
            self._backplane.tell(self._scope, event)
        return event

    def may_act(self) -> bool:
        """Return ``True``."""
        return True

    def is_ending(self) -> bool:
        """Return ``False``: nobody waits for it."""
        return False

    def leave(self) -> None:
        """Do nothing."""

    def catch_up(self) -> None:
        """Do nothing."""

    def retry(self, call: Callable[[], object], *, stays: bool = False) -> None:
        """Do nothing: nothing fails here."""

    def ask(self, verb: str, **arguments: Any) -> None:
        """Return ``None``: this process runs the turn."""

    def regain(self, until: float | None) -> None:
        """Do nothing: nobody takes it away."""

    def begin(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


@attrs.frozen
class Seen:
    """What a thread's log says when an agent is made.

    Attributes:
        remote: The turn that another process runs, or that nobody runs any more.
        cursor: The newest place.
        owned: Whether somebody has the lease.
    """

    remote: RemoteTurn | None = None
    cursor: str = START
    owned: bool = False


def look(backplane: Backplane, scope: Scope) -> Seen:
    """Return what a thread's log says now.

    Raises:
        BackplaneError: If the backplane fails.
    """
    if not backplane.shared:
        return Seen()
    page = backplane.read(scope, START)
    turn, cursor = remote.state_of(scope.thread_id, page.entries)
    return Seen(turn, cursor, owned=turn is not None and backplane.is_held(scope))


def ownership_of(
    backplane: Backplane,
    scope: Scope,
    mailbox: Mailbox,
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Ownership:
    """Return an agent's part in the turns of its thread, over a backplane."""
    if isinstance(backplane, LocalBackplane):
        return SoleOwnership(backplane, scope)
    return SharedOwnership(backplane, scope, mailbox, answer)
