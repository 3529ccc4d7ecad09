"""Keys, tokens and passwords as a type of their own, and texts without them."""

from __future__ import annotations

import html
import json
import re
import weakref
from collections.abc import Callable, Iterable
from typing import Any, final
from urllib.parse import quote, quote_plus

HIDDEN = "***"
"""What is shown in place of a secret."""

EVERYDAY_LENGTH = 8
"""Characters: a shorter secret may be an everyday word, which a text may hold by chance."""

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/?#]{1,512}(?=@)")
_PERCENT = re.compile("%[0-9A-F]{2}")
# A token has a digit somewhere; "basic authentication" is none.
_TOKEN = re.compile(r"(?i)\b(bearer|basic)\s{1,8}(?=[A-Za-z_.~+/=-]{0,64}\d)[\w.~+/=-]{8,}")
_OPENAI_KEY = re.compile(r"\bsk-[\w-]{16,}")


@final
class Secret:
    """A text that is never shown: not by ``repr``, ``str``, ``format``, ``pickle`` or ``vars``.

    It is unwrapped where a request is built, and nowhere else. Secrets of one text are equal.

    Args:
        text: The text.
    """

    __slots__ = ("__weakref__", "_reveal")

    def __init__(self, text: str) -> None:
        # A function keeps it from those who walk over attributes: debuggers, error trackers.
        self._reveal: Callable[[], str] = lambda: text
        if len(text) >= EVERYDAY_LENGTH:
            global _made
            _known[id(self)] = self
            _made += 1

    def reveal(self) -> str:
        """Return the text."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({HIDDEN!r})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._reveal() == other._reveal()

    def __hash__(self) -> int:
        return hash((Secret, self._reveal()))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a secret cannot be pickled: it would stand in the pickle for all to read")


# Weakly: a secret is known while somebody has it.
_known: weakref.WeakValueDictionary[int, Secret] = weakref.WeakValueDictionary()

_made = 0
"""How many of them were made so far."""

_patterns: tuple[int, re.Pattern[str] | None] = 0, None
"""What finds them, and how many there were then."""


def conceal(value: Any) -> Any:
    """Return a secret of a text; what is one already, or no text at all, as it is."""
    return Secret(value) if isinstance(value, str) else value


def redact(text: str, also: Iterable[str] = ()) -> str:
    """Return a text without the secrets of this process, and without what looks like one.

    They are found as they are, and as JSON, HTML and URLs write them. A short secret may be an
    everyday word: such a one is only looked for if it is passed, and only as a whole word.

    Args:
        text: What foreign code or a service says.
        also: Further secrets.
    """
    if not text:
        return text
    for pattern in (_known_pattern(), secrets_pattern(also)):
        if pattern is not None:
            text = pattern.sub(HIDDEN, text)
    text = _PASSWORD_IN_URL.sub(HIDDEN, text)
    text = _TOKEN.sub(rf"\1 {HIDDEN}", text)
    return _OPENAI_KEY.sub(HIDDEN, text)


def secrets_pattern(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds secrets in a text, however they are written; ``None`` if there are none."""
    patterns = [_pattern(each) for each in sorted(set(texts), key=len, reverse=True) if each]
    return re.compile("|".join(patterns)) if patterns else None


def _known_pattern() -> re.Pattern[str] | None:
    """Return what finds the secrets of this process; made anew where there are new ones."""
    global _patterns
    count = _made
    known_since, pattern = _patterns
    if known_since != count:
        known = [secret for ref in _known.valuerefs() if (secret := ref()) is not None]
        pattern = secrets_pattern(secret.reveal() for secret in known)
        _patterns = count, pattern
    return pattern


def _pattern(secret: str) -> str:
    """Return the pattern of a secret in the ways in which texts write it."""
    plain = json.dumps(secret)[1:-1]
    written = {
        secret,
        plain,
        plain.replace("/", "\\/"),
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        repr(secret)[1:-1],
    }
    for quoted in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        written |= {quoted, _PERCENT.sub(lambda code: code[0].lower(), quoted)}
    pattern = "|".join(re.escape(each) for each in sorted(written, key=len, reverse=True))
    if len(secret) >= EVERYDAY_LENGTH:
        return pattern
    return rf"(?:(?<!\w)|(?<=%[0-9A-Fa-f]{{2}}))(?:{pattern})(?!\w)"
