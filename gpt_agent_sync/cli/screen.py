"""The output of a chat: for people, or one JSON object a line for programs."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape as escape_markup
from rich.status import Status

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.text_streams import TextAssembler
from gpt_agent_sync.records import Usage
from gpt_agent_sync.texts import for_terminal, json_for_terminal


class Screen(ABC):
    """The input and output of a chat; ``show`` is called on the agent's worker thread."""

    @abstractmethod
    def show_session(self, service: str, model: str, thread_id: str) -> None:
        """Show the service, the model and the thread."""

    @abstractmethod
    def read_message(self) -> str:
        """Return the next message.

        Raises:
            EOFError: If there is none.
        """

    @abstractmethod
    def show_message(self, text: str) -> None:
        """Show a message that was not typed here."""

    @abstractmethod
    def show(self, event: gpt.Event) -> None:
        """Show an event."""

    @abstractmethod
    def show_note(self, text: str) -> None:
        """Show something about the session itself."""

    @abstractmethod
    def close(self) -> None:
        """Show what the session cost."""


class JsonScreen(Screen):
    """A screen for programs: each event is one JSON object a line, and nothing else is written.

    Args:
        write: Called with each line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def show_session(self, service: str, model: str, thread_id: str) -> None:
        """Show nothing: the events have it."""

    def read_message(self) -> str:
        """Read a line."""
        return input()

    def show_message(self, text: str) -> None:
        """Show nothing: ``UserMessageAdded`` follows."""

    def show_note(self, text: str) -> None:
        """Write it on standard error, beside the events."""
        print(for_terminal(text), file=sys.stderr)

    def close(self) -> None:
        """Show nothing."""

    def show(self, event: gpt.Event) -> None:
        """Write the event."""
        self._write(json_for_terminal(json.dumps(event.to_dict(), ensure_ascii=False)))


class TerminalScreen(Screen):
    """A screen for people, with a spinner while a run is live.

    Args:
        console: The console to write to.
    """

    def __init__(self, console: Console) -> None:
        with contextlib.suppress(ImportError):
            importlib.import_module("readline")  # gives the prompt line editing and a history
        self._console = console
        self._status: Status | None = None
        self._assembler = TextAssembler()
        self._in_line = False
        self._tokens = [0, 0]

    def show_session(self, service: str, model: str, thread_id: str) -> None:
        """Show the service, the model and the thread."""
        self._print(f"[bold]gpt-agent[/] over {escape(service)}, model [bold]{escape(model)}[/]")
        self._print(f"[dim]thread {escape(thread_id)}[/]")

    def read_message(self) -> str:
        """Read a line at a prompt."""
        text = self._console.input("\n[bold green]you[/] > ")
        # A terminal shows what is typed; input from a file or a pipe is not seen otherwise.
        if not sys.stdin.isatty():
            self._print(escape(text))
        return text

    def show_message(self, text: str) -> None:
        """Show the message as if it had been typed."""
        self._print(f"\n[bold green]you[/] > {escape(text)}")

    def show_note(self, text: str) -> None:
        """Write it dimmed."""
        self._print(f"[dim]{escape(text)}[/]")

    def show(self, event: gpt.Event) -> None:
        """Show the event, and turn the spinner on or off."""
        if isinstance(event, gpt.RunStarted):
            self._start_spinner()
        elif isinstance(event, _ENDS_SPINNER):
            self._stop_spinner()
        show = _SHOW.get(type(event))
        if show is not None:
            show(self, event)

    def close(self) -> None:
        """Show the tokens of the whole session."""
        self._stop_spinner()
        read, written = self._tokens
        if read or written:
            self._print(f"\n[dim]session: {read} tokens in, {written} out[/]")

    def _start_spinner(self) -> None:
        if self._status is None:
            self._status = self._console.status("thinking", spinner="dots")
            self._status.start()

    def _stop_spinner(self) -> None:
        status, self._status = self._status, None
        if status is not None:
            status.stop()

    def _text(self, event: gpt.AssistantMessageDelta | gpt.AssistantMessageAdded) -> None:
        """Write the new text of a message on its line, which the whole message ends."""
        begins, text = self._assembler.add(event)
        if text:
            if begins:
                self._print("[bold blue]assistant[/] > ", end="")
            self._console.print(
                for_terminal(text), end="", markup=False, highlight=False, soft_wrap=True
            )
            self._in_line = True
        if isinstance(event, gpt.AssistantMessageAdded):
            self._end_line()

    def _end_line(self) -> None:
        if self._in_line:
            self._in_line = False
            self._console.print()

    def _call(self, event: gpt.ToolCallRequested) -> None:
        self._print(f"  [yellow]tool[/] {escape(event.name)}({escape(_arguments(event))})")

    def _output(self, event: gpt.ToolCallOutputRecorded) -> None:
        self._print(f"  [yellow]  ->[/] {escape(event.output)}")

    def _completed(self, event: gpt.RunCompleted) -> None:
        usage = event.usage or Usage()
        self._tokens[0] += usage.input_tokens
        self._tokens[1] += usage.output_tokens

    def _failed(self, event: gpt.RunFailed) -> None:
        reason = ": ".join(text for text in (event.code, event.message) if text)
        self._print(f"[bold red]run {event.status}[/] {escape(reason)}")

    def _cancelled(self, event: gpt.RunCancelled) -> None:
        self._print("[bold red]run cancelled[/]")

    def _limited(self, event: gpt.RateLimited) -> None:
        self._print(f"[red]rate limit: trying again in {event.retry_in:g} s[/]")

    def _print(self, markup: str, end: str = "\n") -> None:
        self._end_line()
        self._console.print(markup, end=end, highlight=False, soft_wrap=True)


def escape(text: str) -> str:
    """Return a text of others as markup that shows it, and does nothing else."""
    return escape_markup(for_terminal(text))


def _arguments(event: gpt.ToolCallRequested) -> str:
    if isinstance(event.arguments, str):
        return event.arguments
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.arguments.items()
    )


_ENDS_SPINNER = (
    gpt.AssistantMessageDelta,
    gpt.RunCompleted,
    gpt.RunFailed,
    gpt.RunCancelled,
)

_SHOW: dict[type[gpt.Event], Callable[[TerminalScreen, Any], None]] = {
    gpt.AssistantMessageAdded: TerminalScreen._text,
    gpt.AssistantMessageDelta: TerminalScreen._text,
    gpt.ToolCallRequested: TerminalScreen._call,
    gpt.ToolCallOutputRecorded: TerminalScreen._output,
    gpt.RunCompleted: TerminalScreen._completed,
    gpt.RunFailed: TerminalScreen._failed,
    gpt.RunCancelled: TerminalScreen._cancelled,
    gpt.RateLimited: TerminalScreen._limited,
}
