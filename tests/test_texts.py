"""Texts of others on a terminal, in a log, and in addresses."""

from __future__ import annotations

import io
import json
import logging

import pytest
from rich.console import Console

import gpt_agent_sync as gpt
from gpt_agent_sync.arguments import path_part
from gpt_agent_sync.cli.screen import JsonScreen, TerminalScreen
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.texts import for_terminal, on_one_line

HOSTILE = "a\x1b[2Jb\x9b31mc\x07\x7f\u202ed\x00\ud800"
CONTROLS = ["\x1b", "\x9b", "\x07", "\x7f", "\u202e", "\x00", "\ud800"]


def test_terminal_texts() -> None:
    """Lines and tabs stay, and every other control is shown as a sign."""
    assert for_terminal("a\tb\r\nc\x1b[1m\x9b") == "a\tb\nc\ufffd[1m\ufffd"


def test_lines() -> None:
    """A text on one line shows its line ends and controls."""
    assert on_one_line("a\nb\r\x1b\u2028") == "a\\nb\\r\\x1b\\u2028"


@pytest.mark.parametrize("cut", range(len(HOSTILE)))
def test_streamed_texts_on_the_terminal(cut: int) -> None:
    """No control of a text that comes in pieces, cut anywhere, reaches the terminal."""
    output = io.StringIO()
    screen = TerminalScreen(Console(file=output, force_terminal=False))
    for text in (HOSTILE[:cut], HOSTILE[cut:]):
        screen.show(gpt.AssistantMessageDelta(thread_id="t", message_id="m", run_id="r", text=text))
    screen.show_note(HOSTILE)
    screen.show_session(HOSTILE, HOSTILE, HOSTILE)
    assert not [control for control in CONTROLS if control in output.getvalue()]


def test_json_on_the_terminal() -> None:
    """JSON has every control escaped, and means the same."""
    lines: list[str] = []
    event = gpt.AssistantMessageDelta(thread_id="t", message_id="m", run_id="r", text=HOSTILE)
    JsonScreen(lines.append).show(event)
    assert not [control for control in CONTROLS if control in lines[0]]
    assert json.loads(lines[0])["text"] == HOSTILE


def test_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    """What others say forges no line of the log."""
    get_logger("gpt_agent_sync.tests").warning("id %s", "x\nERROR forged\x1b[2J")
    assert caplog.messages == ["id x\\nERROR forged\\x1b[2J"]


@pytest.mark.parametrize("object_id", [".", ".."])
def test_ids_that_lead_elsewhere(object_id: str) -> None:
    """An id that is a step of a path is refused."""
    with pytest.raises(ValueError, match="is no id"):
        path_part(object_id)


def test_what_cannot_be_printed_is_the_handlers_to_complain_of() -> None:
    """A record whose text cannot be made does not raise where it is logged."""

    class Mute:
        def __str__(self) -> str:
            raise ValueError("no words")

    logger = get_logger("gpt_agent_sync.test_of_texts")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.warning("%s", Mute())


def test_tracebacks_forge_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    """What was raised is logged indented, and without controls, whatever its words are."""
    logger = get_logger("gpt_agent_sync.test_of_tracebacks")
    try:
        raise ValueError("no city\n2026-11-26 CRITICAL root logged in\x1b[2J")
    except ValueError:
        logger.warning("a tool failed", exc_info=True)
    first, *others = caplog.text.splitlines()
    assert "a tool failed" in first
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in caplog.text
