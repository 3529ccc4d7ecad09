"""The pairs of texts that go along with threads, messages, runs and assistants."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.arguments import KEY_LENGTH, METADATA_PAIRS, VALUE_LENGTH, read_metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"user": "7"},
        {"empty": ""},
        {"k" * KEY_LENGTH: "v" * VALUE_LENGTH},
        {str(number): "x" for number in range(METADATA_PAIRS)},
    ],
)
def test_pairs_that_every_wire_carries(metadata: dict[str, str]) -> None:
    """Up to 16 pairs of up to 64 and 512 characters are given as they are."""
    assert read_metadata(metadata) == metadata


def test_no_metadata() -> None:
    """No metadata is no pairs."""
    assert read_metadata(None) == {}


def test_copy() -> None:
    """What is given is a copy, which a later change of the original does not reach."""
    metadata = {"user": "7"}
    read = read_metadata(metadata)
    metadata["user"] = "8"
    assert read == {"user": "7"}


@pytest.mark.parametrize(
    "metadata, words",
    [
        ([("user", "7")], "must be a mapping"),
        ("user=7", "must be a mapping"),
        (
            {str(number): "x" for number in range(METADATA_PAIRS + 1)},
            "has 17 pairs; 16 is the most",
        ),
        ({"": "x"}, "key '' must be a text of 1 to 64"),
        ({"k" * (KEY_LENGTH + 1): "x"}, "must be a text of 1 to 64"),
        ({7: "x"}, "key 7 must be a text"),
        ({"user": 7}, "value of 'user' must be a text"),
        ({"user": None}, "value of 'user' must be a text"),
        ({"user": "v" * (VALUE_LENGTH + 1)}, "value of 'user' must be a text of up to 512"),
    ],
)
def test_pairs_that_a_wire_would_refuse(metadata: Any, words: str) -> None:
    """Anything else is refused, and the error names the key."""
    with pytest.raises(ValueError, match=words):
        read_metadata(metadata)
