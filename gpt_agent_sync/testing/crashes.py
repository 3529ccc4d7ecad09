"""A crash at a moment of one's choice, to try what becomes of it."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from gpt_agent_sync.events import Event
from gpt_agent_sync.journal.base import CALL, Claim, Entry, Journal, Scope
from gpt_agent_sync.journal.choosing import wrap_journals
from gpt_agent_sync.listening.subscriptions import on

CallMoment = Literal["call_noted", "call_answered", "output_saved"]
"""A moment of a tool call, between what is done for it in the journal."""


def crash_after(moment: CallMoment | type[Event], *, count: int = 1) -> None:
    """Have this process killed at a moment of a conversation, as a crash would.

    It ends as by SIGKILL: nothing is cleaned up, nothing is printed, no handler runs. Called at the
    beginning of a program that a test starts; started again without it, the program is to go on:

        # program.py
        if "CRASH_AFTER" in os.environ:
            crash_after(os.environ["CRASH_AFTER"])
        with gpt.connect(thread_id, assistant_id, journal="calls.db") as agent:
            ...

        # test_program.py
        crashed = subprocess.run([sys.executable, "program.py"],
                                 env={**os.environ, "CRASH_AFTER": "call_answered"})
        assert crashed.returncode == -signal.SIGKILL
        subprocess.run([sys.executable, "program.py"], check=True)
        assert payments() == 1

    Args:
        moment: An event's class, for when such an event is told; other callbacks of the event may
            have been called by then or not. Or a moment of a tool call: ``"call_noted"``, the call
            is in the journal and its handler not called yet; ``"call_answered"``, the handler has
            returned, and what it gave is nowhere yet; ``"output_saved"``, the output is in the
            journal and not sent. These are of agents that connect after this call.
        count: The how many-th such moment of the process it is.

    Raises:
        TypeError: If the moment is neither.
        ValueError: If the word is none of these, or ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, not {count!r}")
    passed = itertools.count(1)  # which several threads may take numbers from

    def pass_moment() -> None:
        if next(passed) == count:
            _crash()

    if not isinstance(moment, str):
        on(moment, lambda event: pass_moment())
    elif moment in get_args(CallMoment):
        wrap_journals(lambda journal: _CrashingJournal(journal, moment, pass_moment))
    else:
        raise ValueError(f"moment must be one of {get_args(CallMoment)}, not {moment!r}")


def _crash() -> None:
    # Windows has no SIGKILL; there any signal ends a process at once.
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class _CrashingJournal(Journal):
    """A journal that tells of the moments of calls; all else is another journal's.

    Args:
        journal: The other one.
        moment: The moment.
        pass_moment: Called at each such moment, on the thread that works on the call.
    """

    def __init__(
        self, journal: Journal, moment: CallMoment, pass_moment: Callable[[], None]
    ) -> None:
        self._journal = journal
        self._moment = moment
        self._pass_moment = pass_moment
        self.shared = journal.shared

    def claim(
        self,
        scope: Scope,
        kind: str,
        key: str,
        *,
        owner: str,
        lease: float,
        data: Mapping[str, Any] | None = None,
    ) -> Claim:
        claim = self._journal.claim(scope, kind, key, owner=owner, lease=lease, data=data)
        self._tell("call_noted", kind == CALL and claim.taken)
        return claim

    def update(
        self,
        scope: Scope,
        kind: str,
        key: str,
        *,
        owner: str,
        data: Mapping[str, Any],
        done: bool = False,
    ) -> bool:
        is_output = kind == CALL and done
        self._tell("call_answered", is_output)
        was_ours = self._journal.update(scope, kind, key, owner=owner, data=data, done=done)
        self._tell("output_saved", is_output and was_ours)
        return was_ours

    def _tell(self, moment: CallMoment, has_come: bool) -> None:
        if has_come and moment == self._moment:
            self._pass_moment()

    def release(self, scope: Scope, kind: str, key: str, *, owner: str) -> bool:
        return self._journal.release(scope, kind, key, owner=owner)

    def renew(self, owner: str, lease: float) -> None:
        self._journal.renew(owner, lease)

    def add(self, scope: Scope, kind: str, key: str, data: Mapping[str, Any]) -> None:
        self._journal.add(scope, kind, key, data)

    def get(self, scope: Scope, kind: str, key: str) -> Entry | None:
        return self._journal.get(scope, kind, key)

    def entries(self, scope: Scope, kind: str) -> Sequence[Entry]:
        return self._journal.entries(scope, kind)

    def remove(self, scope: Scope, kind: str, prefix: str = "") -> None:
        self._journal.remove(scope, kind, prefix)

    def purge(self, older_than: float) -> int:
        return self._journal.purge(older_than)

    def close(self) -> None:
        self._journal.close()

    def __repr__(self) -> str:
        return repr(self._journal)
