"""The steps of a script that an assistant follows in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.records import Usage


@attrs.frozen(init=False)
class Reply:
    """The run completes with these texts, one message each.

    Attributes:
        texts: The messages.
        usage: The tokens that the run reports.
    """

    texts: tuple[str, ...]
    usage: Usage

    def __init__(self, *texts: str, usage: Usage | None = None) -> None:
        default = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
        self.__attrs_init__(texts, usage or default)


@attrs.frozen(init=False)
class CallTools:
    """The run asks for tool calls.

    Attributes:
        calls: Name and arguments of each; arguments may be a text that is no JSON.
    """

    calls: tuple[tuple[str, Mapping[str, Any] | str], ...]

    def __init__(self, *calls: tuple[str, Mapping[str, Any] | str]) -> None:
        self.__attrs_init__(calls)


@attrs.frozen
class Fail:
    """The run fails.

    Attributes:
        code: Such as ``"server_error"`` or ``"rate_limit_exceeded"``.
        message: The reason.
    """

    code: str = "server_error"
    message: str = "Sorry, something went wrong."


@attrs.frozen
class Incomplete:
    """The run ends as incomplete.

    Attributes:
        reason: Such as ``"max_completion_tokens"``.
        text: What was written until then.
    """

    reason: str = "max_completion_tokens"
    text: str = ""


@attrs.frozen
class Hold:
    """The run stays in progress until ``release()``, and does another step then.

    Attributes:
        then: That step.
    """

    then: Reply | CallTools | Fail | Incomplete = attrs.field(factory=lambda: Reply("released"))


ScriptStep = Reply | CallTools | Fail | Incomplete | Hold

Script = Sequence[ScriptStep] | Callable[[str, Mapping[str, str]], ScriptStep]
"""Steps in the order in which runs ask for them, or a function from the user's text and the tool
outputs of the round (by the tool's name) to the next step."""
