"""Checking the pairs of texts that go along with threads, messages, runs and assistants."""

from __future__ import annotations

from collections.abc import Mapping

PAIRS = 16
KEY_LENGTH = 64
VALUE_LENGTH = 512


def read_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Give a copy of the pairs if every wire can carry them (16 pairs, 64 and 512 characters).

    Raises:
        ValueError: If they are not such pairs; it names the key.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a mapping of texts, not {metadata!r}")
    if len(metadata) > PAIRS:
        raise ValueError(f"metadata has {len(metadata)} pairs; {PAIRS} is the most")
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key) <= KEY_LENGTH:
            raise ValueError(f"metadata key {key!r} must be a text of 1 to {KEY_LENGTH} characters")
        if not isinstance(value, str) or len(value) > VALUE_LENGTH:
            raise ValueError(
                f"metadata value of {key!r} must be a text of up to {VALUE_LENGTH} characters"
            )
    return dict(metadata)
