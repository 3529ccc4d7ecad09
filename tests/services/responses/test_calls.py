"""Calls that wait for an output, as refusals and items show them."""

from __future__ import annotations

import pytest

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.services.http.errors import lacks_outputs, missing_call
from gpt_agent_sync.services.responses.calls import (
    ABANDONED,
    UNSUPPORTED,
    OpenCall,
    answered_ids,
    call_of,
    open_unsupported_calls,
)
from tests.support.open_calls_stub import KINDS, custom_tool, shell, shell_output
from tests.support.responses_stub import called, gave


@pytest.mark.parametrize(
    "words, kind",
    [
        ("function call", "function_call"),
        ("custom tool call", "custom_tool_call"),
        ("computer call", "computer_call"),
        ("local shell call", "local_shell_call"),
        ("shell call", "shell_call"),
        ("apply patch call", "apply_patch_call"),
        ("tool call", "function_call"),
    ],
)
def test_refusal_names_the_call(words: str, kind: str) -> None:
    """The kind and the id of the call are read out of a refusal; a strange kind is a function's."""
    refusal = RequestRejectedError(f"POST /x: No tool output found for {words} call_7.")
    named = missing_call(refusal)
    assert lacks_outputs(refusal)
    assert named == (words, "call_7")
    assert call_of(*named) == OpenCall(kind=kind, id="call_7")


def test_refusal_may_name_no_call() -> None:
    """Other refusals name none."""
    assert missing_call(RequestRejectedError("No tool output found.")) is None


@pytest.mark.parametrize("kind", KINDS)
def test_call_is_open_until_what_closes_it(kind: str) -> None:
    """The item that closes a call is known as its answer."""
    item = KINDS[kind]()
    (call,) = open_unsupported_calls([item])
    assert (call.kind, call.id) == (kind, "call_1")
    assert open_unsupported_calls([item, {**call.closing(), "id": "item_1"}]) == ()


def test_model_is_told_that_nobody_answers() -> None:
    """A function call is closed with an error, a call of another kind in plain words."""
    assert OpenCall(kind="function_call", id="c").closing()["output"] == ABANDONED
    assert OpenCall(kind="custom_tool_call", id="c").closing()["output"] == UNSUPPORTED


def test_output_of_a_local_shell_is_known_by_its_own_id() -> None:
    """As it may be listed, it has no other."""
    item = {"type": "local_shell_call_output", "id": "call_1", "output": "x"}
    assert answered_ids([item]) == {"call_1"}


def test_calls_that_need_no_output_are_not_open() -> None:
    """Functions are the program's, and what has no id to answer by is nobody's."""
    nameless = {**custom_tool(), "call_id": None}
    answered = [shell(), shell_output()]
    assert open_unsupported_calls([*called("f"), gave("f"), nameless, *answered]) == ()
