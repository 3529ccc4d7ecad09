"""Who is the live agent of a thread: one per service and thread id in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from gpt_agent_sync import forks
from gpt_agent_sync.errors import GptAgentError

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

Key = Hashable
Found = TypeVar("Found")


class _Slot:
    """Hold the place of one key: empty until its creator is done."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.agent: Agent | None = None
        self.error: GptAgentError | None = None


class Registry:
    """Hold the live agents; callers for one key share one lookup, others do not wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[Key, _Slot] = {}

    def obtain(
        self, key: Key, look: Callable[[], Found], make: Callable[[Found], Agent]
    ) -> tuple[Agent, bool]:
        """Give the agent of ``key``; if there is none, ``make`` it from what ``look`` finds.

        Callers that come meanwhile wait, and share the agent or the error of ``look``. What else
        goes wrong is the creator's own trouble, and one of those that wait tries in its place.

        Returns:
            The agent, and whether this call made it.
        """
        while True:
            with self._lock:
                slot = self._slots.get(key)
                mine = slot is None
                if slot is None:
                    slot = self._slots[key] = _Slot()
            if mine:
                return self._fill(key, slot, look, make), True
            slot.ready.wait()
            if slot.agent is not None:
                return slot.agent, False
            if slot.error is not None:
                raise slot.error

    def _fill(
        self, key: Key, slot: _Slot, look: Callable[[], Found], make: Callable[[Found], Agent]
    ) -> Agent:
        try:
            try:
                found = look()
            except GptAgentError as exc:
                slot.error = exc
                raise
            slot.agent = make(found)
            return slot.agent
        finally:
            if slot.agent is None:
                self._discard(key, slot)
            slot.ready.set()

    def remove(self, key: Key, agent: Agent) -> None:
        """Forget ``agent``, unless another has taken its place."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and slot.agent is agent:
                del self._slots[key]

    def agents(self) -> list[Agent]:
        """Give the agents there are now."""
        with self._lock:
            slots = list(self._slots.values())
        return [slot.agent for slot in slots if slot.agent is not None]

    def forget_all(self) -> list[Agent]:
        """Begin anew in a forked child, and give the agents that live on in the parent only."""
        slots, self._slots = self._slots, {}
        self._lock = threading.Lock()
        return [slot.agent for slot in slots.values() if slot.agent is not None]

    def _discard(self, key: Key, slot: _Slot) -> None:
        with self._lock:
            if self._slots.get(key) is slot:
                del self._slots[key]


registry = Registry()
"""The agents of this process."""


def _after_fork() -> None:
    for agent in registry.forget_all():
        agent._forget()


forks.in_child(_after_fork)
