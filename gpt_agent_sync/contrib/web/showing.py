"""What users see of events; pure.

Services and exceptions have words that are not theirs to read.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from gpt_agent_sync.events import Event, RunFailed, ToolCallFailed, ToolOutputSubmissionFailed

_BY_CODE: Mapping[str, str] = {
    "expired": "it took too long",
    "run_timeout": "it took too long",
    "incomplete": "it was cut off",
    "rate_limit_exceeded": "the assistant is busy",
    "insufficient_quota": "the assistant is not available now",
}


def show_to_users(event: Event) -> Event:
    """Return an event with words that tell of no hosts, accounts or programs.

    What services and exceptions have said stays with the program's own callbacks, and in its log.
    Names, arguments and outputs of tool calls are shown.
    """
    if isinstance(event, RunFailed):
        known = (_BY_CODE.get(each) for each in (event.code, event.status) if each is not None)
        words = next((each for each in known if each), "the assistant met an error")
        return attrs.evolve(event, message=words)
    if isinstance(event, ToolCallFailed):
        return attrs.evolve(event, message="the tool failed")
    if isinstance(event, ToolOutputSubmissionFailed):
        return attrs.evolve(event, message="the results could not be sent")
    return event
