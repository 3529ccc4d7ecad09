"""Subscriptions to events, and their delivery on the worker's thread."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from gpt_agent_sync import forks, logs, signals
from gpt_agent_sync.events import Event
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.threads import ends_greenlet

logger = get_logger(__name__)

E = TypeVar("E", bound=Event)
Callback = Callable[[E], object]


class Subscription:
    """A callback that is subscribed until this is closed; a context manager too.

    Args:
        event_type: The class of the events that it takes.
        callback: Called with each event, on the worker's thread.
        detach: Called with the subscription when it is closed, on the thread that closes it.
        thread_id: Only events of this conversation; ``None`` for those of any.
    """

    def __init__(
        self,
        event_type: type[Event],
        callback: Callback[Any],
        detach: Callable[[Subscription], None],
        *,
        thread_id: str | None = None,
    ) -> None:
        self._event_type = event_type
        self._callback = callback
        self._detach = detach
        self._thread_id = thread_id
        self._closed = False

    @property
    def event_type(self) -> type[Event]:
        """The class of the events that it takes."""
        return self._event_type

    def close(self) -> None:
        """Unsubscribe, from any thread; idempotent. A call in progress goes on to its end."""
        if not self._closed:
            # Marked first: a delivery on another thread may have this callback on its list already.
            forks.check()
            self._closed = True
            self._detach(self)

    def receive(self, sender: object, *, event: Event) -> None:
        """Call the callback, as a receiver of signals; what it raises comes out."""
        # A list of receivers that was taken before ``close()`` may still hold this one.
        if not self._closed and self._thread_id in (None, event.thread_id):
            self._callback(event)

    def __enter__(self) -> Subscription:
        """Return the subscription."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Unsubscribe."""
        self.close()

    def __repr__(self) -> str:
        """Show what is subscribed to what."""
        state = "closed" if self._closed else "open"
        return f"<Subscription {self._event_type.__name__} -> {self._callback!r} ({state})>"


def check_subscription(event_type: object, callback: object) -> None:
    """Check what is to be subscribed.

    Raises:
        TypeError: If ``event_type`` is no event class, or the callback cannot be called, or only
            in an event loop.
    """
    if not (isinstance(event_type, type) and issubclass(event_type, Event)):
        raise TypeError(
            f"event_type must be an event class such as RunCompleted, not {event_type!r}"
        )
    if not callable(callback):
        raise TypeError(f"callback must be callable with one event, not {callback!r}")
    if inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(
        getattr(callback, "__call__", None)  # noqa: B004  (a callable object)
    ):
        raise TypeError(f"callback {callback!r} is asynchronous, and there is no event loop here")


@overload
def on(
    event_type: type[E], callback: None = None, *, thread_id: str | None = None
) -> Callable[[Callback[E]], Callback[E]]: ...


@overload
def on(
    event_type: type[E], callback: Callback[E], *, thread_id: str | None = None
) -> Subscription: ...


def on(
    event_type: type[E], callback: Callback[E] | None = None, *, thread_id: str | None = None
) -> Any:
    """Subscribe to an event of every agent, or of one thread's.

    The callback is called with the event on the agent's worker thread, one callback at a time.
    If it raises, that is logged, and neither the other callbacks nor the agent stop.
    It may call any verb of the agent but ``wait()`` and ``ask()``.

    Args:
        event_type: The event's class, or a base class such as ``RunEvent`` or ``Event``.
        callback: What to call; without it ``on`` is a decorator.
        thread_id: Only events of this conversation.

    Returns:
        A ``Subscription``; as a decorator the function, which then stays subscribed.

    Raises:
        TypeError: If ``event_type`` is no event class, or the callback cannot be one.
    """

    def subscribe(function: Callback[E]) -> Subscription:
        subscription = Subscription(event_type, function, _disconnect, thread_id=thread_id)
        for signal in signals.signals_of(event_type):
            signal.connect(subscription.receive, weak=False)
        return subscription

    return subscribe_or_decorate(event_type, callback, subscribe)


def subscribe_or_decorate(
    event_type: type[E],
    callback: Callback[E] | None,
    subscribe: Callable[[Callback[E]], Subscription],
) -> Any:
    """Check and subscribe a callback; without one, return a decorator that does.

    Args:
        event_type: The event's class.
        callback: The callback.
        subscribe: Subscribes a callback that was checked.

    Raises:
        TypeError: If ``event_type`` is no event class, or the callback cannot be one.
    """
    if callback is not None:
        check_subscription(event_type, callback)
        return subscribe(callback)
    check_subscription(event_type, print)  # an unusable class is refused at the decorator's line

    def decorate(function: Callback[E]) -> Callback[E]:
        check_subscription(event_type, function)
        subscribe(function)
        return function

    return decorate


def _disconnect(subscription: Subscription) -> None:
    for signal in signals.signals_of(subscription.event_type):
        signal.disconnect(subscription.receive)


def has_receivers(event_type: type[Event], subscriptions: Iterable[Subscription] = ()) -> bool:
    """Return whether anybody would receive an event of a class.

    Args:
        event_type: The class.
        subscriptions: An agent's own.
    """
    signal = signals.BY_EVENT[event_type]
    return bool(signal.receivers) or any(
        issubclass(event_type, each.event_type) for each in subscriptions
    )


def deliver(sender: object, event: Event, subscriptions: Iterable[Subscription] = ()) -> None:
    """Call the event's receivers, one by one; what one raises is logged.

    Args:
        sender: The agent whose event it is.
        event: The event.
        subscriptions: The agent's own, called after the receivers of the signal.
    """
    signal = signals.BY_EVENT[type(event)]
    # Signal.send() would stop at the first receiver that raises.
    receivers = [] if signal.is_muted else list(signal.receivers_for(sender))
    receivers += [each.receive for each in subscriptions if isinstance(event, each.event_type)]
    for receiver in receivers:
        try:
            receiver(sender, event=event)
        except BaseException as exc:
            if ends_greenlet(exc):
                raise
            # Not even SystemExit of one callback may keep an event from the others.
            logs.log_exception(
                logger,
                logging.ERROR,
                "a callback raised on %s of thread %s",
                type(event).__name__,
                event.thread_id,
            )
