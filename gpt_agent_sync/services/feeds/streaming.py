"""A feed that reads what the service tells of a run, and looks at the run where it does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceError, ServiceUnavailableError
from gpt_agent_sync.records import FeedUpdate, Message, RunSnapshot, TextDelta
from gpt_agent_sync.services.feeds.polling import PollingFeed, Ways
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import Opens
from gpt_agent_sync.services.http.errors import lacks_calls, lacks_outputs
from gpt_agent_sync.services.http.sse import StreamLost

logger = logging.getLogger(__name__)

LAST_WORDS = 0.1
"""Seconds to wait for the end of a stream whose run is over, to use its connection again."""


_STREAMS = re.compile(r"\bstream(s|ing|ed)?\b", re.IGNORECASE)


def _names_streams(error: ServiceError) -> bool:
    return _STREAMS.search(error.message) is not None


class Streaming:
    """Know whether a service streams, as far as it has shown, and tell when it does not.

    Args:
        service: Whose it is, for the log.
    """

    def __init__(self, service: object) -> None:
        self._service = service
        self._shown = False
        self._suspected = False
        self._told_of_loss = False
        self.refused = False

    def begin(
        self, post: Callable[..., Any], path: str, body: Mapping[str, Any], opens: Opens, **how: Any
    ) -> Any:
        """Write, and take a stream in answer where the service gives one.

        A service that refuses to stream, or answers without, is not asked again. A request is
        only made without when the one before was not handled.

        Args:
            post: Writes to a path, as ``RemoteService`` does.
            path: The path.
            body: The JSON object.
            opens: Finds in the first events what was made.
            how: What else ``post`` takes.

        Raises:
            ServiceError: If the service refuses or fails.
        """
        if self.refused:
            return post(path, body, **how)
        try:
            made = post(path, {**body, "stream": True}, opens=opens, **how)
        except (RequestRejectedError, ServiceUnavailableError) as exc:
            if not self._may_be_about_streaming(exc):
                raise
            made = post(path, body, **how)
            self._suspect(exc)
            return made
        if isinstance(made, Answer):
            self._shown = self._shown or made.events is not None
            if made.events is None:
                self._refuse("it answers without")
        return made

    def _may_be_about_streaming(self, error: ServiceError) -> bool:
        """Tell whether a request may succeed without a stream; it was not handled."""
        if error.status is None or lacks_outputs(error) or lacks_calls(error):
            return False
        if isinstance(error, ServiceUnavailableError):
            return error.status == 500 and not self._shown
        return not self._shown or _names_streams(error)

    def _suspect(self, error: ServiceError) -> None:
        """Note that a request succeeded without a stream, which was refused with one."""
        if self._suspected or _names_streams(error):
            self._refuse(error.message)
        self._suspected = True

    def _refuse(self, reason: str) -> None:
        if not self.refused:
            self.refused = True
            logger.info("%r does not stream, so its runs are looked at: %s", self._service, reason)

    def lost(self, run_id: str, reason: StreamLost) -> None:
        """Tell that the stream of a run was lost: at INFO once, then at DEBUG."""
        level = logging.DEBUG if self._told_of_loss else logging.INFO
        self._told_of_loss = True
        logger.log(level, "the stream of run %s at %r is lost: %s", run_id, self._service, reason)


class _Over(Exception):
    """Tell that there is no more to follow."""


class StreamingFeed(PollingFeed):
    """Follow a run by what the service tells of it, and by looking where that ends too early.

    Args:
        ways: How to ask for it; the first look may hold a stream.
        streaming: What is known of the service.
    """

    def __init__(self, ways: Ways, streaming: Streaming) -> None:
        super().__init__(ways)
        self._streaming = streaming
        self._last: RunSnapshot | None = None

    def _follow(self) -> Generator[FeedUpdate]:
        seen = self._ways.first(self._closing)
        stream = seen.stream
        if stream is None:
            yield from self._poll_from_the_beginning(seen)
            return
        first: tuple[FeedUpdate, ...] = (seen.snapshot,)
        messages: list[Message] = []
        while stream is not None:
            told = False
            try:
                with self._closing.watching(stream):
                    for update in chain(first, stream):
                        told = told or update is not seen.snapshot
                        if isinstance(update, TextDelta):
                            yield update
                        elif isinstance(update, Message):
                            messages.append(update)
                        elif update is None:
                            yield from self._look_around(seen.snapshot.id)
                        else:
                            yield from self._news(update, stream, messages)
                            if update.ends_feed:
                                stream.finish(LAST_WORDS)
                                return
            except StreamLost as exc:
                self._streaming.lost(seen.snapshot.id, exc)
            except _Over:
                return
            finally:
                stream.close()
            stream, first = stream.resumed(self._closing) if told else None, ()
        yield from self._poll(self._ways.look(seen.snapshot.id, self._closing))

    def _look_around(self, run_id: str) -> Generator[FeedUpdate]:
        """Look whether a run is over whose stream shows signs of life, and nothing else.

        Raises:
            _Over: If it is, or waits for something; it has been told.
        """
        seen = self._ways.look(run_id, self._closing)
        if seen.snapshot.ends_feed:
            yield from self._poll(seen)
            raise _Over

    def _news(
        self, snapshot: RunSnapshot, stream: RunStream, messages: list[Message]
    ) -> Iterator[FeedUpdate]:
        """Give what a snapshot tells: the same status once, and messages before the end."""
        last, self._last = self._last, snapshot
        if snapshot.is_final:
            if last is None:
                yield attrs.evolve(snapshot, status="in_progress")
            known = stream.complete
            yield from messages if known else self._ways.finish(snapshot, self._closing)
            yield snapshot
        elif snapshot.ends_feed:
            yield from messages
            yield attrs.evolve(snapshot, messages_known=stream.complete)
        elif last is None or last.status != snapshot.status:
            yield snapshot
