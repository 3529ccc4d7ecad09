"""What becomes of a call whose handler was interrupted, by a crash say."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Literal

from gpt_agent_sync.errors import ToolRegistrationError


class Recovery(enum.Enum):
    """What an ``after_crash`` function may say in place of an output."""

    RERUN = "rerun"
    FAIL = "fail"


RERUN = Recovery.RERUN
"""The handler is to be called again."""

FAIL = Recovery.FAIL
"""The model is to be told that the call was interrupted."""

AfterCrash = Literal["fail", "rerun", "ask"] | Callable[..., Any]
"""What becomes of an interrupted call: a word, or a function of its arguments and context."""

WORDS = ("fail", "rerun", "ask")


def check_after_crash(tool: str, after_crash: object) -> None:
    """Refuse what is no way to go on with an interrupted call.

    Raises:
        ToolRegistrationError: If it is none of the words, and cannot be called.
    """
    if not callable(after_crash) and after_crash not in WORDS:
        raise ToolRegistrationError(
            tool,
            f"after_crash must be 'fail', 'rerun', 'ask' or a function of arguments and context, "
            f"not {after_crash!r}",
        )
