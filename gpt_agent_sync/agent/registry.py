"""The live agents of this process: one for each service and thread id."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from gpt_agent_sync import forks, waits
from gpt_agent_sync.errors import GptAgentError

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

Key = Hashable
Found = TypeVar("Found")


# A future in its place would share every exception of its creator, Ctrl-C included.
class _Slot:
    """The place of one key, empty until its creator is done."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.agent: Agent | None = None
        self.error: GptAgentError | None = None


class Registry:
    """The live agents; callers for one key share one lookup, others do not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[Key, _Slot] = {}

    def obtain(
        self, key: Key, look_up: Callable[[], Found], create: Callable[[Found], Agent]
    ) -> tuple[Agent, bool]:
        """Return the agent of ``key``; if there is none, create it from what the lookup finds.

        Callers that come meanwhile wait, and share the agent or the error of the lookup. Other
        errors are the creator's alone, and one of those that wait tries in its place.

        Returns:
            The agent, and whether this call created it.
        """
        forks.check()
        while True:
            with self._lock:
                slot = self._slots.get(key)
                mine = slot is None
                if slot is None:
                    slot = self._slots[key] = _Slot()
            if mine:
                return self._fill(key, slot, look_up, create), True
            # Outside the lock: a slow lookup holds up the callers of its own thread id alone.
            waits.wait(slot.ready.wait, None)
            if slot.agent is not None:
                return slot.agent, False
            if slot.error is not None:
                raise slot.error

    def _fill(
        self, key: Key, slot: _Slot, look_up: Callable[[], Found], create: Callable[[Found], Agent]
    ) -> Agent:
        try:
            try:
                found = look_up()
            except GptAgentError as exc:
                # Only these are shared: Ctrl-C of one caller is not that of another.
                slot.error = exc
                raise
            slot.agent = create(found)
            return slot.agent
        finally:
            # An empty slot left behind would have all later callers of this key wait for nothing.
            if slot.agent is None:
                self._discard(key, slot)
            slot.ready.set()

    def remove(self, key: Key, agent: Agent) -> None:
        """Remove ``agent``, unless another has taken its place."""
        with self._lock:
            slot = self._slots.get(key)
            # Its worker may end long after connect() has found a successor.
            if slot is not None and slot.agent is agent:
                del self._slots[key]

    def agents(self) -> list[Agent]:
        """Return the agents that there are now."""
        forks.check()
        with self._lock:
            slots = list(self._slots.values())
        return [slot.agent for slot in slots if slot.agent is not None]

    def after_fork(self) -> None:
        """Start over in a forked child: the agents live on in the parent only."""
        self._slots = {}
        self._lock = threading.Lock()

    def _discard(self, key: Key, slot: _Slot) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]


registry = Registry()
"""The agents of this process."""

forks.in_child(registry.after_fork)
