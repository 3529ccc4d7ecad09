"""What of a thread a run's model is shown: within its truncation strategy and its budget; pure.

What a message costs is estimated; what a model says of an answer is what a run is charged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.models.base import ChatObject, Finish
from gpt_agent_sync.server.models.tokens import tokens


def most_messages(strategy: Mapping[str, Any] | None) -> int | None:
    """Return how many of a thread's newest messages a strategy leaves; ``None`` for all."""
    if not strategy or strategy.get("type") != "last_messages":
        return None
    return int(strategy["last_messages"])


def may_shorten(strategy: Mapping[str, Any] | None) -> bool:
    """Return whether a strategy leaves out what is too much for the model."""
    return most_messages(strategy) is None


def fitting(
    before: Sequence[ChatObject],
    thread: Sequence[ChatObject],
    after: Sequence[ChatObject],
    most: int | None,
) -> list[ChatObject] | None:
    """Return the messages that fit into a number of tokens; ``None`` where not even the needed do.

    The oldest of the thread are left out first; its newest message stays, and what is around it.

    Args:
        before: The instructions.
        thread: The thread's messages, oldest first.
        after: The run's calls and their outputs.
        most: The number of tokens; ``None`` for any.
    """
    if most is None:
        return [*before, *thread, *after]
    left = most - sum(map(tokens, (*before, *thread[-1:], *after)))
    if left < 0:
        return None
    kept = len(thread[-1:])
    for message in reversed(thread[:-1]):
        left -= tokens(message)
        if left < 0:
            break
        kept += 1
    return [*before, *thread[len(thread) - kept :], *after]


def used_up(run: Mapping[str, Any]) -> Finish | None:
    """Return how a run ends that has used its tokens up; ``None`` where it has not.

    Args:
        run: The run, with what it has spent so far.
    """
    for limit, counted in (
        ("max_prompt_tokens", "prompt_tokens"),
        ("max_completion_tokens", "completion_tokens"),
    ):
        if run[limit] is not None and run["_usage"][counted] >= run[limit]:
            return Finish(limit)
    return None


def left(run: Mapping[str, Any], limit: str, counted: str) -> int | None:
    """Return how many tokens a run may still use; ``None`` for any number.

    Args:
        run: The run.
        limit: The field of its limit.
        counted: What of its usage counts.
    """
    most = run[limit]
    return None if most is None else int(most) - int(run["_usage"][counted])
