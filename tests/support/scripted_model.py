"""The embedded server with a model that follows the same scripts as ``ScriptedService``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply, ScriptStep
from gpt_agent_sync.testing.script import Script


class ScriptedModel(Model):
    """A model that answers by a script, under any name."""

    def __init__(self, script: Script) -> None:
        self._script = script if callable(script) else iter(tuple(script))
        self._lock = threading.Lock()
        self.released = threading.Event()
        self.requests: list[ModelRequest] = []

    def serves(self, name: str) -> bool:
        """Return whether the name is not the one that tests use for a model that is not there."""
        return name != "no-such-model"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the chunks of the next step."""
        with self._lock:
            self.requests.append(request)
            step = self._next(request)
        if isinstance(step, Hold):
            assert self.released.wait(30)
            step = step.then
        yield from _chunks(step)

    def _next(self, request: ModelRequest) -> ScriptStep:
        if not callable(self._script):
            return next(self._script, Reply("ok"))
        return self._script(*_round(request))


def _round(request: ModelRequest) -> tuple[str, Mapping[str, str]]:
    """Return the user's text, and the outputs of the last round of tools."""
    text, names, outputs = "", dict[str, str](), dict[str, str]()
    for message in request.messages:
        if message["role"] == "user":
            text, outputs = str(message["content"]), {}
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
        if message["role"] == "tool":
            outputs[names[message["tool_call_id"]]] = message["content"]
    return text, outputs


def _chunks(step: ScriptStep) -> Iterator[ModelChunk]:
    if isinstance(step, Fail):
        raise ModelError(step.code, step.message)
    if isinstance(step, CallTools):
        for name, arguments in step.calls:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            yield ToolCall(name, text)
        yield Finish()
    elif isinstance(step, Incomplete):
        yield TextDelta(step.text)
        yield Finish(reason=step.reason)
    elif isinstance(step, Reply):
        for text in step.texts:
            yield TextDelta(text)
        usage = step.usage
        yield Finish(prompt_tokens=usage.input_tokens, completion_tokens=usage.output_tokens)


class ScriptedServer:
    """An embedded server in memory, and the scripted model that answers."""

    def __init__(self, script: Script = (), **options: Any) -> None:
        self.model = ScriptedModel(script)
        location = options.pop("location", ":memory:")
        self._server = EmbeddedServer.start(location, models=[self.model], **options)

    @property
    def base_url(self) -> str:
        """The URL below which both wires lie."""
        return self._server.base_url

    def stop(self) -> None:
        """Release the model that is held, and stop."""
        self.model.released.set()
        self._server.stop()
