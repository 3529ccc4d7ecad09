"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import requests

from gpt_agent_sync.event_parser import EventParser, StreamLost, begins_stream
from gpt_agent_sync.secret import Secret
from gpt_agent_sync.server.models import completions
from gpt_agent_sync.server.models.base import Model, ModelChunk, ModelRequest
from gpt_agent_sync.server.models.bounded import join, read_pieces
from gpt_agent_sync.server.models.completions import (
    Completion,
    CompletionError,
    CutOffError,
    SaidError,
    UnreadableError,
)
from gpt_agent_sync.server.models.connections import Line, open_session
from gpt_agent_sync.server.models.endpoint import FAILED, UNREADABLE, Endpoint, UpstreamError

COMPLETIONS = "/chat/completions"

_BROKEN = "The upstream model's answer broke off."

_WORDS: Mapping[type[CompletionError], str] = {
    SaidError: FAILED,
    UnreadableError: UNREADABLE,
    CutOffError: _BROKEN,
}

LOADING_PATIENCE, LOADING_PAUSE = 300.0, 1.0
"""Seconds in which an upstream may load its model, and between two questions whether it has."""

_UNKNOWN = re.compile(
    r"unknown|unrecognized|unsupported|not supported|not permitted|extra_forbidden|unexpected|"
    r"cannot find field|instead",
    re.IGNORECASE,
)
"""How upstreams say that they do not know a field, of those that are known to."""

logger = logging.getLogger(__name__)


class UpstreamModel(Model):
    """The models of another server.

    Args:
        base_url: Where ``/chat/completions`` lies below, such as ``http://127.0.0.1:11434/v1``.
        api_key: The bearer key, if it wants one.

    Attributes:
        endpoint: Where it is.

    Raises:
        ValueError: If the key has characters that no header takes; it does not show the key.
    """

    def __init__(self, base_url: str, api_key: str | Secret | None = None) -> None:
        self.endpoint = Endpoint(base_url, api_key)
        self._refused: set[str] = set()

    def serves(self, name: str) -> bool:
        """Return ``True``: the upstream knows which models it has."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Ask the upstream, and yield what it answers as it comes."""
        line = Line()
        try:
            with (
                request.cancellation.ending(line.cut),
                open_session(line) as session,
                self._answer(session, request) as response,
            ):
                yield from _chunks(response)
        except UpstreamError as exc:
            raise self.endpoint.failure(exc, request.cancellation) from None

    def _answer(self, session: requests.Session, request: ModelRequest) -> requests.Response:
        """Ask, again and again while the model is being loaded."""
        until = time.monotonic() + LOADING_PATIENCE
        while True:
            body = self._body(request)
            try:
                return self.endpoint.request(session, "POST", COMPLETIONS, body)
            except UpstreamError as exc:
                field = _refused_field(exc, body)
                if field is not None:
                    logger.debug("the upstream knows no %r; it is left out from now on", field)
                    self._refused.add(field)
                    continue
                if not exc.is_loading or time.monotonic() + LOADING_PAUSE > until:
                    raise
                logger.debug("the upstream loads the model (%s)", exc.kind)
            request.cancellation.wait(LOADING_PAUSE)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body that asks, without the fields that the upstream has refused."""
        body = _body(request)
        for field in self._refused & body.keys():
            value = body.pop(field)
            if field == "max_tokens":
                body["max_completion_tokens"] = value
        return body


def _refused_field(error: UpstreamError, body: Mapping[str, Any]) -> str | None:
    """Return the field that an upstream refuses, and that it need not have."""
    # A value that is too large is named as well, and is no reason to say it otherwise.
    if error.status not in (400, 422) or not _UNKNOWN.search(error.text):
        return None
    for field in ("stream_options", "parallel_tool_calls", "max_tokens"):
        # What a client has said is not left out: calls one at a time, that is.
        is_needed = field == "parallel_tool_calls" and body.get(field) is False
        if field in body and not is_needed and re.search(rf"\b{field}\b", error.text):
            return field
    return None


def _chunks(response: requests.Response) -> Iterator[ModelChunk]:
    """Yield the chunks of a reply: text at once, tool calls when all of it is there."""
    completion = Completion()
    try:
        pieces = read_pieces(response)
        # Some servers name no media type, or a wrong one; and some ignore that a stream is asked
        # for, and answer whole.
        first = next(pieces, b"")
        pieces = itertools.chain([first], pieces)
        if _is_stream(response.headers.get("Content-Type", ""), first):
            yield from _streamed(_until_over(pieces, completion), completion)
        else:
            yield from completion.add(completions.read_whole(join(pieces)))
            yield from completion.end(whole=True)
    except requests.RequestException as exc:
        raise UpstreamError(_BROKEN, type(exc).__name__, exc) from exc
    except StreamLost as exc:
        raise UpstreamError(UNREADABLE, "a large event", exc) from exc
    except CompletionError as exc:
        raise UpstreamError(_WORDS[type(exc)], exc.kind, exc.words) from exc


def _until_over(pieces: Iterable[bytes], completion: Completion) -> Iterator[bytes]:
    try:
        yield from pieces
    except requests.RequestException as exc:
        # After its last word an answer may end as it likes.
        if not completion.has_ended:
            raise
        logger.debug("the upstream's connection broke after its answer: %s", type(exc).__name__)


def _streamed(pieces: Iterable[bytes], completion: Completion) -> Iterator[ModelChunk]:
    parser = EventParser(error_lines=True)
    # Some servers leave out the blank line after the last event.
    for piece in itertools.chain(pieces, [b"\n\n"]):
        for event in parser.feed(piece):
            if event.data.strip() != completions.DONE:
                for part in completions.read_event(event):
                    yield from completion.add(part)
            if completions.ends_stream(event):
                yield from completion.end(whole=True)
                return
    yield from completion.end(whole=False)


def _is_stream(content_type: str, begin: bytes) -> bool:
    # Media types have no case, and parameters may follow, with or without a space before.
    media_type, _, _ = content_type.partition(";")
    return media_type.strip().lower() == "text/event-stream" or begins_stream(begin)


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        # Ollama takes no null here, and everybody an empty text.
        "messages": [
            {**message, "content": ""} if message["content"] is None else message
            for message in request.messages
        ],
        "stream": True,
        # Without it OpenAI's streams end without usage.
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = list(request.tools)
        body["tool_choice"] = request.tool_choice
    body.update(request.options)
    # Some servers refuse every word about tools where there are none.
    if not request.tools:
        body.pop("parallel_tool_calls", None)
    return body
