"""The wire-neutral records: what they check, and what they tell of themselves."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync import records
from gpt_agent_sync.arguments import read_content, require_text
from gpt_agent_sync.errors import BlankValueError
from gpt_agent_sync.records import (
    FINAL_STATUSES,
    LIVE_STATUSES,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    Usage,
)

RECORDS = [
    record
    for record in vars(records).values()
    if isinstance(record, type) and attrs.has(record) and record.__module__ == records.__name__
]


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_frozen(record: type[Any]) -> None:
    """No field of a record can be set."""
    instance = object.__new__(record)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(instance, attrs.fields(record)[0].name, "changed")


@pytest.mark.parametrize("record", RECORDS)
def test_records_are_keyword_only(record: type[Any]) -> None:
    """Every field of a record is given by name."""
    assert all(field.kw_only for field in attrs.fields(record))


def test_usage_defaults() -> None:
    """Tokens that a service does not tell count as none."""
    assert Usage() == Usage(input_tokens=0, output_tokens=0, total_tokens=0)


def test_given_options() -> None:
    """Only the options that were set are given, by name."""
    options = RunOptions(model="m", temperature=0, parallel_tool_calls=False)
    assert options.given() == {"model": "m", "temperature": 0, "parallel_tool_calls": False}


def test_no_options() -> None:
    """Options that were not set give nothing."""
    assert RunOptions().given() == {}


def test_nested_options_are_given_whole() -> None:
    """An option that is an object is given as it is."""
    choice = {"type": "function", "function": {"name": "add"}}
    assert RunOptions(tool_choice=choice).given() == {"tool_choice": choice}


@pytest.mark.parametrize(
    "name, value",
    [
        ("model", "m"),
        ("instructions", ""),
        ("additional_instructions", "Be brief."),
        ("temperature", 0),
        ("temperature", 2.0),
        ("top_p", 0.0),
        ("top_p", 1),
        ("max_output_tokens", 1),
        ("tool_choice", "required"),
        ("parallel_tool_calls", True),
        ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "low"),
        ("metadata", {"user": "7"}),
        ("truncation", "auto"),
    ],
)
def test_usable_options(name: str, value: Any) -> None:
    """Each option takes the values that the wires know."""
    assert RunOptions(**{name: value}).given() == {name: value}


@pytest.mark.parametrize(
    "name, value",
    [
        ("model", 4),
        ("instructions", b"Be brief."),
        ("additional_instructions", ["Be brief."]),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_p", "all"),
        ("max_output_tokens", 1.5),
        ("max_output_tokens", True),
        ("parallel_tool_calls", 1),
        ("reasoning_effort", 1),
    ],
)
def test_options_of_the_wrong_type(name: str, value: Any) -> None:
    """An option of the wrong type is refused."""
    with pytest.raises(TypeError, match=name):
        RunOptions(**{name: value})


@pytest.mark.parametrize(
    "name, value",
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_p", -0.1),
        ("top_p", 1.1),
        ("max_output_tokens", 0),
    ],
)
def test_options_out_of_range(name: str, value: Any) -> None:
    """A number outside its range is refused."""
    with pytest.raises(ValueError, match=name):
        RunOptions(**{name: value})


def test_unknown_option() -> None:
    """An option that does not exist is refused."""
    with pytest.raises(TypeError, match=r"temprature"):
        RunOptions(temprature=1)  # type: ignore[call-arg]  # the point


@pytest.mark.parametrize("text", ["x", " x ", "two\nlines"])
def test_text(text: str) -> None:
    """A text that is not blank is given back as it is."""
    assert require_text("name", text) == text


@pytest.mark.parametrize("value", ["", " ", "\n\t", None, 7, b"x"])
def test_no_text(value: object) -> None:
    """A blank text, or what is no text, is refused by its name."""
    with pytest.raises(BlankValueError, match=r"^thread_id must be a non-blank string"):
        require_text("thread_id", value)


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
FILE = {"type": "image_file", "image_file": {"file_id": "file_1"}}


@pytest.mark.parametrize(
    "content, read",
    [
        ("hi", "hi"),
        (["hi"], ({"type": "text", "text": "hi"},)),
        (("a", "b"), ({"type": "text", "text": "a"}, {"type": "text", "text": "b"})),
        ([{"type": "text", "text": "hi"}, IMAGE], ({"type": "text", "text": "hi"}, IMAGE)),
        ([FILE], (FILE,)),
        ((part for part in [IMAGE]), (IMAGE,)),
    ],
)
def test_content(content: Any, read: object) -> None:
    """Text stays text, and parts become a tuple of dictionaries."""
    assert read_content(content) == read


def test_content_is_copied() -> None:
    """A later change of a part does not reach the content that was read."""
    part = {"type": "text", "text": "hi"}
    read = read_content([part])
    part["text"] = "changed"
    assert read == ({"type": "text", "text": "hi"},)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "  ",
        [],
        None,
        7,
        {"type": "text", "text": "hi"},
        [""],
        ["hi", " "],
        [7],
        b"hi",
        [{"type": "text", "text": " "}],
        [{"type": "text", "text": ""}],
        [{"type": "text", "text": 7}],
    ],
)
def test_blank_content(content: Any) -> None:
    """Content without text or image, or of another kind, is refused as blank."""
    with pytest.raises(BlankValueError, match=r"content"):
        read_content(content)


@pytest.mark.parametrize(
    "part, words",
    [
        ({"type": "audio", "audio": {}}, "'audio' is not one of text, image_url, image_file"),
        ({"text": "hi"}, "None is not one of"),
        ({"type": ["text"]}, "is not one of"),
        ({"type": "text"}, "'text' needs 'text'"),
        ({"type": "image_url"}, "'image_url' needs 'image_url'"),
        ({"type": "image_file", "image_file": {}}, "'image_file' needs 'image_file'"),
        ({"type": "image_url", "image_url": "https://x"}, "'image_url' .* must be an object"),
    ],
)
def test_unusable_part(part: dict[str, Any], words: str) -> None:
    """A part of an unknown type, or without its field, is refused with what it lacks."""
    with pytest.raises(ValueError, match=words):
        read_content([part])


@pytest.mark.parametrize(
    "status, is_live, is_final",
    [
        *((status, True, False) for status in sorted(LIVE_STATUSES)),
        *((status, False, True) for status in sorted(FINAL_STATUSES)),
        ("a_word_of_tomorrow", False, False),
    ],
)
def test_run_status(status: str, is_live: bool, is_final: bool) -> None:
    """A run is live or final by its status, and neither with a word we do not know."""
    run = RunSnapshot(id="run_1", status=status)
    assert (run.is_live, run.is_final) == (is_live, is_final)


def test_run_request_defaults() -> None:
    """A run is asked for without options and tools unless it has some."""
    request = RunRequest(thread_id="t", assistant_id=None)
    assert (request.options, request.tools, request.posted) == (RunOptions(), (), None)


class Held:
    """Be a receipt that holds something open."""

    closed = False

    def close(self) -> None:
        """Let go of it."""
        self.closed = True


def test_dropped_receipt_is_closed() -> None:
    """What nobody starts a run with lets go of what it holds."""
    held = Held()
    Posted(message_id="m", receipt=held).drop()
    assert held.closed


@pytest.mark.parametrize("receipt", [None, "word"])
def test_receipt_that_holds_nothing_is_dropped_quietly(receipt: str | None) -> None:
    """Most receipts hold nothing."""
    posted = Posted(message_id="m", receipt=receipt)
    posted.drop()
    assert posted.receipt is receipt
