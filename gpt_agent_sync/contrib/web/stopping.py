"""Event streams of a server that is told to stop: it would wait for them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from types import FrameType

from gpt_agent_sync.contrib.web.event_streams import end_event_streams

_STOPS = [
    number
    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGQUIT", "SIGINT"))
    if number is not None
]


def end_event_streams_at_stop(signals: Iterable[int] = tuple(_STOPS)) -> None:
    """End this process's event streams when a signal tells it to stop, and let the server stop.

    For servers that wait for requests in hand, as gunicorn does for 30 s: its setting
    ``post_worker_init`` calls this, after the worker has set its own handlers, which are called
    too.

    Args:
        signals: The signals.

    Raises:
        ValueError: If not called on the main thread.
    """
    for number in signals:
        _end_streams_at(number)


def _end_streams_at(number: int) -> None:
    former = signal.getsignal(number)

    def stop(received: int, frame: FrameType | None) -> None:
        # On a thread of its own: the main one may be anywhere, a lock of a stream in its hand.
        threading.Thread(target=end_event_streams, name="gpt-agent-stop", daemon=True).start()
        if callable(former):
            former(received, frame)
        elif former is not signal.SIG_IGN:
            signal.signal(received, signal.SIG_DFL)
            signal.raise_signal(received)

    signal.signal(number, stop)
    if number == getattr(signal, "SIGTERM", None) and hasattr(signal, "siginterrupt"):
        signal.siginterrupt(number, False)  # requests in hand go on
