"""The feed that reads a run's stream, and polls where that ends too early."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceError, ServiceUnavailableError
from gpt_agent_sync.event_parser import StreamLost
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import FeedUpdate, Message, RunSnapshot, TextDelta
from gpt_agent_sync.services.feeds.polling import PollingFeed, RunSource
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import Opens
from gpt_agent_sync.services.http.deadlines import deadlines
from gpt_agent_sync.services.http.errors import lacks_calls, lacks_outputs

logger = get_logger(__name__)

DRAIN_PATIENCE = 0.1
"""Seconds to wait for the end of a stream whose run is final, to use its connection again."""

NEAR = 60.0
"""Seconds: a deadline that is further away is met late, by a stream's silence at most."""

_STREAMS = re.compile(r"\bstream(s|ing|ed)?\b", re.IGNORECASE)


def _names_streams(error: ServiceError) -> bool:
    return _STREAMS.search(error.message) is not None


class Streaming:
    """Whether a service streams, as far as it has shown.

    Args:
        service: Whose it is, for the log.
        what: What it may stream, likewise.
    """

    def __init__(self, service: object, what: str = "runs") -> None:
        self._service = service
        self._what = what
        self._has_streamed = False
        self._suspected = False
        self._loss_logged = False
        self.refused = False

    def begin(
        self,
        post: Callable[..., Any],
        path: str,
        body: Mapping[str, Any],
        opens: Opens,
        find: Callable[[], Any],
        otherwise: Callable[[], Any] | None = None,
        **how: Any,
    ) -> Any:
        """Write, and take a stream in answer where the service has one.

        A service that refuses to stream, or answers without, is not asked again. A request is
        only made without a stream when the one before was not handled.

        Args:
            post: Writes to a path, as ``RemoteService`` does.
            path: The path.
            body: The JSON object.
            opens: Finds in the first events what was made.
            find: Looks for what a request did that may have been handled, as ``post`` takes it.
            otherwise: Makes the request where the service does not stream this one; ``None`` for
                the same one without a stream.
            how: What else ``post`` takes.

        Raises:
            ServiceError: If the service refuses or fails.
        """
        otherwise = otherwise or functools.partial(post, path, body, find=find, **how)
        if self.refused:
            return otherwise()
        not_found = False

        def find_noting() -> Any:
            nonlocal not_found
            not_found = False
            found = find()
            not_found = found is None
            return found

        try:
            made = post(path, {**body, "stream": True}, opens=opens, find=find_noting, **how)
        except (RequestRejectedError, ServiceUnavailableError) as exc:
            # Where the last look failed, or was not the last word, the request may have been
            # handled: without a stream it would be made a second time.
            unhandled = not_found if exc.in_doubt else True
            if not (unhandled and self._may_be_about_streaming(exc)):
                raise
            made = otherwise()
            self._suspect(exc)
            return made
        if isinstance(made, Answer):
            self._has_streamed = self._has_streamed or made.events is not None
            if made.events is None:
                self._refuse("it answers without")
        return made

    def _may_be_about_streaming(self, error: ServiceError) -> bool:
        """Return whether a request, which was not handled, may succeed without a stream."""
        if error.status is None or lacks_outputs(error) or lacks_calls(error):
            return False
        if isinstance(error, ServiceUnavailableError):
            # Some servers break on the unknown field instead of refusing it.
            return error.status == 500 and not self._has_streamed
        return not self._has_streamed or _names_streams(error)

    def _suspect(self, error: ServiceError) -> None:
        """Take note that a request succeeded without a stream, which was refused with one."""
        # A refusal that does not name streams may have been chance: the second one decides.
        if self._suspected or _names_streams(error):
            self._refuse(error.message)
        self._suspected = True

    def _refuse(self, reason: str) -> None:
        if not self.refused:
            self.refused = True
            logger.info("%r does not stream its %s: %s", self._service, self._what, reason)

    def log_loss(self, run_id: str, reason: StreamLost) -> None:
        """Log that the stream of a run was lost: at INFO once, then at DEBUG."""
        level = logging.DEBUG if self._loss_logged else logging.INFO
        self._loss_logged = True
        logger.log(level, "the stream of run %s at %r is lost: %s", run_id, self._service, reason)


class _FeedEnded(Exception):
    """There is no more to follow."""


class StreamingFeed(PollingFeed):
    """A feed that reads the run's stream, and polls where that ends too early.

    Args:
        source: How to get the run; the first request may be answered with a stream.
        streaming: What is known of the service.
    """

    def __init__(self, source: RunSource, streaming: Streaming) -> None:
        super().__init__(source)
        self._streaming = streaming
        self._last_snapshot: RunSnapshot | None = None

    def _follow(self) -> Generator[FeedUpdate]:
        result = self._source.begin(self._closing)
        run_id, stream = result.snapshot.id, result.stream
        if stream is None:
            yield from self._follow_begun(result)
            return
        opening: tuple[FeedUpdate, ...] = (result.snapshot,)
        messages: list[Message] = []
        while stream is not None:
            has_news = False
            try:
                with self._closing.watching(stream), self._until_deadline(stream):
                    for update in chain(opening, stream):
                        has_news = has_news or update is not result.snapshot
                        if (left := self._source.seconds_left()) is not None and left <= 0:
                            return  # the reader looks at what is overdue when a feed ends
                        if isinstance(update, TextDelta):
                            yield update
                        elif isinstance(update, Message):
                            # Held back until the run's end: when the stream is lost all of them
                            # are read from the list, and none may come twice.
                            messages.append(update)
                        elif update is None:
                            yield from self._check_silent_run(run_id)
                        else:
                            yield from self._snapshot_updates(update, stream, messages)
                            if update.ends_feed:
                                stream.drain(DRAIN_PATIENCE)
                                return
            except StreamLost as exc:
                self._streaming.log_loss(run_id, exc)
            except _FeedEnded:
                return
            finally:
                stream.close()
            # A stream that breaks off without news is not resumed: a server may do so each time.
            stream, opening = stream.resumed(self._closing) if has_news else None, ()
        yield from self._poll_from(self._source.poll(run_id, self._closing))

    def _until_deadline(self, stream: RunStream) -> AbstractContextManager[None]:
        """Return a context that ends a stream when its run is given up, however silent it is."""
        left = self._source.seconds_left()
        # A far one needs no clock of its own, which would tick for as long as the run is streamed:
        # each update is held against it, and a silent stream is given up long before.
        is_near = left is not None and left < NEAR
        return deadlines.at(max(0.0, left or 0.0), stream) if is_near else nullcontext()

    def _check_silent_run(self, run_id: str) -> Generator[FeedUpdate]:
        """Poll a run whose stream shows signs of life and nothing else: it may have ended.

        Raises:
            _FeedEnded: If it has, or waits for something; the updates have been yielded.
        """
        result = self._source.poll(run_id, self._closing)
        if result.snapshot.ends_feed:
            yield from self._poll_from(result)
            raise _FeedEnded

    def _snapshot_updates(
        self, snapshot: RunSnapshot, stream: RunStream, messages: list[Message]
    ) -> Iterator[FeedUpdate]:
        """Yield what is new in a snapshot: a status once, and the messages before the end."""
        last, self._last_snapshot = self._last_snapshot, snapshot
        if snapshot.is_final:
            if last is None:
                # Ended before its first event: it is shown as begun, as where it is polled.
                yield attrs.evolve(snapshot, status="in_progress")
            known = stream.messages_known
            yield from messages if known else self._source.read_messages(snapshot, self._closing)
            yield snapshot
        elif snapshot.ends_feed:
            yield from messages
            yield attrs.evolve(snapshot, messages_known=stream.messages_known)
        elif last is None or last.status != snapshot.status:
            yield snapshot
