"""The mailbox: what its worker is woken by."""

from __future__ import annotations

import threading

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.decisions.state import Progress, Transition
from gpt_agent_sync.events import AgentStopped
from tests.support.polling import wait_for

PATIENCE = 10.0

STEP = AgentStopped(thread_id="t", reason="idle")


def add_step(progress: Progress) -> Transition:
    """Decide that there is something to tell."""
    return Transition(progress=progress, steps=(STEP,))


def test_worker_is_woken_after_an_interrupted_wake_up() -> None:
    """Ctrl-C in it may leave one in the list of those to be woken who has been woken already."""
    mailbox = Mailbox(Transition(progress=Progress(thread_id="t")))
    taken: list[object] = []
    worker = threading.Thread(target=lambda: taken.append(mailbox.take(None)), daemon=True)
    worker.start()
    waiters = mailbox._work._waiters  # type: ignore[attr-defined]
    wait_for(lambda: len(waiters), lambda number: number == 1)
    with mailbox._lock:
        waiters[0].release()  # as far as notify() had come
    wait_for(lambda: len(waiters), lambda number: number == 2)
    mailbox.apply(add_step)
    worker.join(PATIENCE)
    assert taken == [STEP]
