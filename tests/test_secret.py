"""Tests of secrets as a type, and of texts without them."""

from __future__ import annotations

import copy
import pickle

import pytest

from gpt_agent_sync.secret import HIDDEN, Secret, conceal, redact

TEXT = "sk-of-the-test"


@pytest.fixture
def secret() -> Secret:
    """Return a secret."""
    return Secret(TEXT)


def test_secret_is_not_shown(secret: Secret) -> None:
    """No way of printing a secret shows it."""
    shown = f"{secret} {secret!r} {[secret]} {copy.deepcopy({1: secret})} {secret._reveal}"
    assert TEXT not in shown
    assert HIDDEN in shown


def test_secret_is_not_pickled(secret: Secret) -> None:
    """A secret in a pickle would be there for all to read."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(secret)


def test_secret_is_revealed(secret: Secret) -> None:
    """Where a request is built it is unwrapped."""
    assert secret.reveal() == TEXT


def test_secrets_of_one_text_are_equal(secret: Secret) -> None:
    """Secrets are keys as their texts are, and are not equal to those."""
    assert {secret: 1}[Secret(TEXT)] == 1
    assert secret != Secret("other")
    assert secret != TEXT


def test_conceal_leaves_what_is_no_text(secret: Secret) -> None:
    """A secret and what is no text are as they were."""
    assert conceal(secret) is secret
    assert conceal(None) is None
    assert conceal(TEXT) == secret


@pytest.mark.parametrize(
    "text",
    [
        "key 'a\"b/c<d>-of-the-test' refused",
        r'{"key": "a\"b\/c<d>-of-the-test"}',
        "a&quot;b/c&lt;d&gt;-of-the-test",
        "?key=a%22b%2Fc%3Cd%3E-of-the-test",
        "?key=a%22b/c%3cd%3e-of-the-test",
    ],
)
def test_redaction_knows_how_secrets_are_written(text: str) -> None:
    """A secret of the process is found as it is, and as JSON, HTML and URLs write it."""
    kept = Secret('a"b/c<d>-of-the-test')
    assert "of-the-test" not in redact(text)
    assert kept.reveal() == 'a"b/c<d>-of-the-test'


@pytest.mark.parametrize(
    "text, redacted",
    [
        ("postgresql://app:pass@host/db", "postgresql://***@host/db"),
        ("Authorization: Bearer abcdefghijk1", "Authorization: Bearer ***"),
        ("refused sk-proj-abcdefghijklmnopqrst", "refused ***"),
        ("http://host/v1 of a bearer", "http://host/v1 of a bearer"),
        ("Basic authentication is required", "Basic authentication is required"),
        ("http://app:p@ss@proxy:80/v1", "http://***@proxy:80/v1"),
        ("", ""),
    ],
)
def test_redaction_knows_what_looks_like_a_secret(text: str, redacted: str) -> None:
    """Passwords in addresses, tokens after their scheme and OpenAI's keys are known by sight."""
    assert redact(text) == redacted


def test_short_secrets_are_whole_words() -> None:
    """A short secret is only found as a word of its own, and only where it is passed."""
    kept = Secret("abc")
    assert redact("abc, abcd and x-abc", [kept.reveal()]) == "***, abcd and x-***"
    assert redact("abc") == "abc"
