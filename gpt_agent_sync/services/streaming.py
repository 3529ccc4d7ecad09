"""A feed that reads what the service tells of a run, and looks at the run where it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import FeedUpdate, Message, RunSnapshot, TextDelta
from gpt_agent_sync.services.answers import Answer
from gpt_agent_sync.services.client import Opens
from gpt_agent_sync.services.polling import PollingFeed, Ways
from gpt_agent_sync.services.refusals import lacks_calls, lacks_outputs
from gpt_agent_sync.services.run_streams import RunStream, StreamLost

logger = logging.getLogger(__name__)

LAST_WORDS = 0.1
"""Seconds to wait for the end of a stream whose run is over, to use its connection again."""


class Streaming:
    """Know whether a service streams, as far as it has shown, and tell when it does not.

    Args:
        service: Whose it is, for the log.
    """

    def __init__(self, service: object) -> None:
        self._service = service
        self._shown = False
        self._told_of_loss = False
        self.refused = False

    def begin(
        self, post: Callable[..., Any], path: str, body: Mapping[str, Any], opens: Opens, **how: Any
    ) -> Any:
        """Write, and take a stream in answer where the service gives one.

        A service that refuses to stream, or answers without, is not asked again.

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
        except RequestRejectedError as exc:
            if not self._may_be_about_streaming(exc):
                raise
            made = post(path, body, **how)
            self._refuse(exc.message)
            return made
        if isinstance(made, Answer):
            self._shown = self._shown or made.events is not None
            if made.events is None:
                self._refuse("it answers without")
        return made

    def _may_be_about_streaming(self, error: RequestRejectedError) -> bool:
        if "stream" in error.message.lower():
            return True
        return not self._shown and not lacks_outputs(error) and not lacks_calls(error)

    def _refuse(self, reason: str) -> None:
        if not self.refused:
            self.refused = True
            logger.info("%r does not stream, so its runs are looked at: %s", self._service, reason)

    def lost(self, run_id: str, reason: StreamLost) -> None:
        """Tell that the stream of a run was lost: at INFO once, then at DEBUG."""
        level = logging.DEBUG if self._told_of_loss else logging.INFO
        self._told_of_loss = True
        logger.log(level, "the stream of run %s at %r is lost: %s", run_id, self._service, reason)


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
                self._closing.watch(stream)
                for update in chain(first, stream):
                    told = told or update is not seen.snapshot
                    if isinstance(update, TextDelta):
                        yield update
                    elif isinstance(update, Message):
                        messages.append(update)
                    else:
                        yield from self._news(update, stream, messages)
                        if update.ends_feed:
                            stream.finish(LAST_WORDS)
                            return
            except StreamLost as exc:
                self._streaming.lost(seen.snapshot.id, exc)
            finally:
                self._closing.unwatch()
                stream.close()
            stream, first = stream.resumed(self._closing) if told else None, ()
        yield from self._poll(self._ways.look(seen.snapshot.id, self._closing))

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
