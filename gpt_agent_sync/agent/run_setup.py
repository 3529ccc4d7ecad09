"""What an agent's runs are made with: tools, options, settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.arguments import read_content, read_metadata
from gpt_agent_sync.decisions import bounds
from gpt_agent_sync.decisions.state import Progress, Turn
from gpt_agent_sync.records import RunOptions, RunRequest, UserMessage
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.tools.tool import Tool
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox

Content = str | Sequence[str | Mapping[str, Any]]
"""A message's content as programs pass it: text, or a sequence of content parts."""


class RunSetup:
    """The tools and options of an agent's runs.

    Args:
        thread_id: The conversation.
        service: The service.
        settings: The settings the agent was made under.
        tools: The toolbox given to ``connect()``.
        options: The run options given to ``connect()``.
        wants_deltas: Returns whether anybody receives text as it arrives.
    """

    def __init__(
        self,
        thread_id: str,
        service: Service,
        settings: Settings,
        tools: Toolbox | None,
        options: RunOptions | None,
        wants_deltas: Callable[[], bool],
    ) -> None:
        self.own_tools = Toolbox()
        self._thread_id = thread_id
        self._service = service
        self._settings = settings
        self._tools = tools
        self._options = options or RunOptions()
        self._wants_deltas = wants_deltas

    def replace(self, tools: Toolbox | None, options: RunOptions | None) -> None:
        """Use the toolbox and the options of a further ``connect()``, where it gives them."""
        if tools is not None:
            self._tools = tools
        if options is not None:
            self._options = options

    def find_tool(self, name: str) -> Tool | None:
        """Return the handler for a tool's name: the agent's own, the given one, the shared one."""
        found = (toolbox.get(name) for toolbox in self._toolboxes())
        return next((tool for tool in found if tool is not None), None)

    def request(self, turn: Turn, progress: Progress) -> RunRequest:
        """Return what the service needs to know to work on a turn."""
        settings = self._settings
        if turn.run_since is None:  # its run begins now
            turn = attrs.evolve(turn, run_since=time.monotonic())
        # The shared toolbox first, so that the schema is that of the handler that is found.
        schemas = {
            tool.name: tool.schema for toolbox in reversed(self._toolboxes()) for tool in toolbox
        }
        return RunRequest(
            thread_id=self._thread_id,
            assistant_id=turn.assistant_id,
            posted=turn.posted,
            run_id=turn.run_id,
            options=turn.options,
            tools=tuple(schemas.values()),
            heartbeat_interval=settings.heartbeat_interval,
            streaming=settings.streaming,
            wants_deltas=self._wants_deltas,
            messages_known=turn.messages_known,
            last_message_id=progress.last_message_id,
            last_run_id=progress.last_run_id,
            token=turn.key,
            deadline=bounds.deadline(turn, settings),
        )

    def message(
        self,
        content: Content,
        run_options: RunOptions | None,
        attachments: Iterable[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[UserMessage, RunOptions]:
        """Check what a caller adds, and return the message and the options of its run.

        Raises:
            BlankValueError: If the content is blank.
            TypeError: If the options are no ``RunOptions``.
            ValueError: If the content or the metadata are unusable.
            ConfigurationError: If the wire lacks an option or an attachment.
        """
        message = UserMessage(
            content=read_content(content),
            attachments=tuple(dict(attachment) for attachment in attachments or ()),
            metadata=read_metadata(metadata),
        )
        options = self.options(run_options)
        self._service.check_message(message, options)
        return message, options

    def options(self, run_options: RunOptions | None) -> RunOptions:
        """Check the options that a caller gives a run, and return them over the agent's own.

        Raises:
            TypeError: If they are no ``RunOptions``.
            ConfigurationError: If the wire lacks one.
        """
        if run_options is not None and not isinstance(run_options, RunOptions):
            raise TypeError(f"run_options must be RunOptions, not {run_options!r}")
        options = self._options
        if run_options is not None:
            options = attrs.evolve(options, **run_options.given())
        self._service.check_options(options)
        return options

    def _toolboxes(self) -> list[Toolbox]:
        given = self._tools
        return [box for box in (self.own_tools, given, default_toolbox) if box is not None]
