"""Settings: their defaults, their checks, and the environment they may come from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.journal.memory import MemoryJournal
from gpt_agent_sync.settings import (
    SETTING_NAMES,
    SETTING_VARIABLES,
    Settings,
    from_environment,
    with_changes,
)

DEFAULTS = {
    "service": None,
    "heartbeat_interval": 1.0,
    "streaming": True,
    "idle_timeout": 120.0,
    "connect_timeout": 5.0,
    "read_timeout": 30.0,
    "request_timeout": 120.0,
    "max_answer_bytes": 67108864,
    "http_retries": 4,
    "rate_limit_retries": 10,
    "rate_limit_delay": 30.0,
    "tool_workers": 16,
    "tool_timeout": None,
    "journal": None,
    "backplane": None,
    "watch": None,
    "run_timeout": 900.0,
}

POSITIVE = (
    "heartbeat_interval",
    "idle_timeout",
    "connect_timeout",
    "read_timeout",
    "request_timeout",
    "tool_timeout",
    "watch",
    "run_timeout",
)
SECONDS = (*POSITIVE, "rate_limit_delay")
COUNTS = ("http_retries", "rate_limit_retries", "tool_workers", "max_answer_bytes")


def test_defaults() -> None:
    """The defaults are those of the design."""
    assert attrs.asdict(Settings()) == DEFAULTS


def test_names() -> None:
    """The names of the settings are those of the design."""
    assert list(SETTING_NAMES) == list(DEFAULTS)


def test_frozen() -> None:
    """Settings cannot be changed in place."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().tool_workers = 1  # type: ignore[misc]  # the point


def test_keyword_only() -> None:
    """Settings are given by name."""
    with pytest.raises(TypeError, match="positional"):
        Settings("local")  # type: ignore[call-arg]  # the point


@pytest.mark.parametrize(
    "name, value",
    [
        *((name, 1) for name in (*SECONDS, *COUNTS)),
        *((name, 0.001) for name in SECONDS),
        ("rate_limit_delay", 0),
        ("http_retries", 0),
        ("rate_limit_retries", 0),
        ("idle_timeout", None),
        ("tool_timeout", None),
        ("run_timeout", None),
        ("streaming", False),
        ("service", "local"),
        ("journal", None),
        ("journal", "calls.db"),
        ("journal", Path("calls.db")),
        ("journal", MemoryJournal()),
    ],
)
def test_usable_values(name: str, value: Any) -> None:
    """Each setting takes the values of its kind."""
    assert getattr(with_changes(Settings(), {name: value}), name) == value


@pytest.mark.parametrize("value", ["1", b"1", True, -1, -0.001, math.nan, math.inf, [1]])
@pytest.mark.parametrize("name", SECONDS)
def test_unusable_seconds(name: str, value: Any) -> None:
    """A time is a finite number of seconds that is not negative."""
    with pytest.raises(ConfigurationError, match=f"setting {name} must be a number of seconds"):
        with_changes(Settings(), {name: value})


@pytest.mark.parametrize("name", POSITIVE)
def test_no_time_at_all(name: str) -> None:
    """A time that must pass is above 0."""
    with pytest.raises(ConfigurationError, match=f"setting {name} .* above 0.*not 0"):
        with_changes(Settings(), {name: 0})


@pytest.mark.parametrize(
    "name", ["heartbeat_interval", "connect_timeout", "read_timeout", "rate_limit_delay"]
)
def test_seconds_that_are_needed(name: str) -> None:
    """Most times cannot be ``None``."""
    with pytest.raises(ConfigurationError, match=f"setting {name} .* not None"):
        with_changes(Settings(), {name: None})


@pytest.mark.parametrize("value", ["1", 1.0, True, None, -1])
@pytest.mark.parametrize("name", COUNTS)
def test_unusable_counts(name: str, value: Any) -> None:
    """A count is a whole number that is not negative."""
    with pytest.raises(ConfigurationError, match=f"setting {name} must be a whole number of"):
        with_changes(Settings(), {name: value})


def test_no_workers() -> None:
    """At least one handler must be able to run."""
    with pytest.raises(ConfigurationError, match="tool_workers must be a whole number of 1"):
        with_changes(Settings(), {"tool_workers": 0})


@pytest.mark.parametrize("value", [1, "true", None])
def test_unusable_flags(value: Any) -> None:
    """A flag is ``True`` or ``False``."""
    with pytest.raises(ConfigurationError, match="setting streaming must be True or False"):
        with_changes(Settings(), {"streaming": value})


@pytest.mark.parametrize("value", ["", " ", 1, True, b"calls.db", object(), MemoryJournal])
def test_unusable_journals(value: Any) -> None:
    """A journal is an object of the kind or a path; its class was passed by mistake."""
    with pytest.raises(ConfigurationError, match="setting journal must be a Journal object, the"):
        with_changes(Settings(), {"journal": value})


@pytest.mark.parametrize(
    "name, close",
    [
        ("heartbeat", "heartbeat_interval"),
        ("idle_time_out", "idle_timeout"),
        ("tool_worker", "tool_workers"),
        ("Streaming", "streaming"),
    ],
)
def test_unknown_name_with_a_close_one(name: str, close: str) -> None:
    """An unknown name is refused with the name that was probably meant."""
    with pytest.raises(ConfigurationError, match=f"no setting '{name}'; did you mean '{close}'?"):
        with_changes(Settings(), {name: 1})


def test_unknown_name() -> None:
    """An unknown name like no other is refused with all the names there are."""
    with pytest.raises(ConfigurationError) as caught:
        with_changes(Settings(), {"xyz": 1})
    assert str(caught.value) == f"no setting 'xyz' (there are: {', '.join(SETTING_NAMES)})"


def test_changes_make_a_copy() -> None:
    """Changed settings are new ones, and the old ones stay."""
    settings = Settings()
    with_changes(settings, {"tool_workers": 1})
    assert settings == Settings()


def test_unchanged_settings() -> None:
    """What is not named stays as it was."""
    changed = with_changes(Settings(tool_workers=3), {"http_retries": 1})
    assert changed == Settings(tool_workers=3, http_retries=1)


def test_variables() -> None:
    """Every setting has its variable."""
    assert [f"GPT_AGENT_{name.upper()}" for name in DEFAULTS] == list(SETTING_VARIABLES)


def test_empty_environment() -> None:
    """Without variables the defaults hold."""
    assert from_environment({"OTHER": "1", "GPT_AGENT_UNKNOWN": "1"}) == Settings()


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("service", "local", "local"),
        ("heartbeat_interval", "0.25", 0.25),
        ("heartbeat_interval", " 2 ", 2.0),
        ("idle_timeout", "60", 60.0),
        ("idle_timeout", "none", None),
        ("idle_timeout", "None", None),
        ("tool_timeout", "1.5", 1.5),
        ("connect_timeout", "1", 1.0),
        ("read_timeout", "1e2", 100.0),
        ("rate_limit_delay", "0", 0.0),
        ("http_retries", "0", 0),
        ("rate_limit_retries", "3", 3),
        ("tool_workers", "2", 2),
        *(("streaming", text, True) for text in ("1", "true", "YES", "On")),
        *(("streaming", text, False) for text in ("0", "False", "no", "OFF")),
        ("journal", " calls.db ", "calls.db"),
        ("heartbeat_interval", "", 1.0),
        ("http_retries", "  ", 4),
    ],
)
def test_variable(name: str, text: str, value: object) -> None:
    """A variable is read as its setting's kind; a blank one counts as missing."""
    settings = from_environment({f"GPT_AGENT_{name.upper()}": text})
    assert attrs.asdict(settings) == {**DEFAULTS, name: value}


@pytest.mark.parametrize(
    "name, text",
    [
        ("heartbeat_interval", "fast"),
        ("heartbeat_interval", "-1"),
        ("heartbeat_interval", "nan"),
        ("connect_timeout", "none"),
        ("read_timeout", "0"),
        ("idle_timeout", "never"),
        ("tool_timeout", "-5"),
        ("rate_limit_delay", "inf"),
        ("http_retries", "4.5"),
        ("http_retries", "-1"),
        ("tool_workers", "0"),
        ("streaming", "maybe"),
    ],
)
def test_unusable_variable(name: str, text: str) -> None:
    """A variable that cannot be read is refused by the variable's name."""
    variable = f"GPT_AGENT_{name.upper()}"
    with pytest.raises(ConfigurationError, match=variable):
        from_environment({variable: text})
