"""What a service says, without the secrets of the request that it answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.secret import EVERYDAY_LENGTH, HIDDEN, Secret, redact, secrets_pattern

Headers = Mapping[str, "str | Secret"]
"""The headers of a request to be made; what may be a secret is one."""

_HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "connection",
        "content-length",
        "content-type",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "user-agent",
    }
)
"""Headers whose values are no secrets, and may be what an error is about."""

_CREDENTIALS = re.compile(r"auth|key|token|secret|password|cookie|credential|signature")
"""Names of headers that carry one; the others may, in values that are no everyday words."""

_ERROR_FIELDS = ("error", "last_error", "incomplete_details")
_ENVELOPES = ("data", "response")

MOST_TEXTS = 1000
"""Texts of errors in one answer, or stream, that are shown; a run has a few."""

LONGEST_TEXT = 65536
"""Characters of a text that are shown at most, and so looked through."""

SHORTEST = 4
"""Characters: a part of a credential that is shorter is none by itself, such as a cookie's 1."""

_NOTHING = re.compile(r"(?!)")

_DEEPEST = 32
"""Levels of JSON in which an error says something; what lies deeper is not shown."""

_USER_IN_URL = re.compile(r"(?<=://)[^/?#]{1,4096}(?=@)")

_TELLS_ERROR = re.compile(r'(?:error|incomplete_details|\\u00\w\w\w*)"\s*:\s*[^n\s]|:\s*"error"')
"""How an event's JSON shows that there is an error in it; found without parsing."""


def may_be_secret(header: str) -> bool:
    """Return whether a header's value may be a secret."""
    return header.lower() not in _HARMLESS


def carries_credentials(headers: Iterable[str]) -> bool:
    """Return whether headers of these names say who asks: cookies do not, nor what proxies get."""
    names = (name.lower() for name in headers)
    return any(
        _CREDENTIALS.search(name) and name not in ("cookie", "proxy-authorization")
        for name in names
    )


def merged(*several: Headers) -> Headers:
    """Return headers as one, the later before the earlier; their names have no case."""
    headers: dict[str, tuple[str, str | Secret]] = {}
    for each in several:
        headers |= {name.lower(): (name, value) for name, value in each.items()}
    return dict(headers.values())


def revealed(headers: Headers) -> dict[str, str]:
    """Return headers as they are sent."""
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in headers.items()
    }


def passwords_in(url: object) -> list[Secret]:
    """Return the name and password in an address, as they are written and as they are."""
    found = _USER_IN_URL.search(url) if isinstance(url, str) else None
    return [Secret(text) for text in {found[0], unquote(found[0])}] if found else []


class Redaction:
    """The secrets of one request, and texts without them.

    Args:
        headers: The headers that were sent.
        passwords: Further ones, as ``name:password``, such as those of proxies.
    """

    __slots__ = ("_headers", "_passwords", "_pattern", "_texts_left")

    def __init__(
        self, headers: Mapping[str, str | bytes], passwords: Iterable[Secret] = ()
    ) -> None:
        # They are looked at when there is an error only.
        self._headers = headers
        self._passwords = passwords
        self._pattern: re.Pattern[str] | None = None
        self._texts_left = MOST_TEXTS

    @property
    def has_credentials(self) -> bool:
        """Whether the request said who asks."""
        return carries_credentials(self._headers)

    def text(self, text: str) -> str:
        """Return the beginning of a text without them."""
        if self._pattern is None:
            self._pattern = secrets_pattern(self._secrets()) or _NOTHING
        return self._pattern.sub(HIDDEN, redact(text[:LONGEST_TEXT]))

    def answer(self, data: Any) -> Any:
        """Return the JSON of an answer, with the errors in it redacted: of a run, of runs.

        What the conversation says is left as it is.
        """
        return self._errors(data, 0)

    def error(self, data: Any) -> Any:
        """Return the JSON of an answer that is an error, redacted."""
        return self._texts(data, 0)

    def event(self, name: str, data: str) -> str:
        """Return what an event of a stream holds, with the errors in it redacted."""
        if name != "error" and not _TELLS_ERROR.search(data):
            return data
        try:
            content = read_foreign_json(data)
        except ValueError:
            return data  # is not shown, as it is no JSON
        kinds = {name}
        if isinstance(content, dict):
            kinds |= {str(content.get("type")), str(content.get("event"))}
        cleaned = self.error(content) if "error" in kinds else self.answer(content)
        return json.dumps(cleaned, ensure_ascii=False)

    def _errors(self, data: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return data
        if isinstance(data, dict):
            errors = {name: self._texts(data[name], 0) for name in _ERROR_FIELDS if data.get(name)}
            inner = {
                name: self._errors(data[name], depth + 1)
                for name in _ENVELOPES
                if isinstance(data.get(name), (dict, list))
            }
            return {**data, **inner, **errors} if errors or inner else data
        if isinstance(data, list):
            return [self._errors(item, depth + 1) for item in data]
        return data

    def _texts(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return HIDDEN
        if isinstance(value, str):
            self._texts_left -= 1
            return self.text(value) if self._texts_left >= 0 else HIDDEN
        if isinstance(value, dict):
            return {name: self._texts(each, depth + 1) for name, each in value.items()}
        if isinstance(value, list):
            return [self._texts(each, depth + 1) for each in value]
        return value

    def _secrets(self) -> Iterator[str]:
        for name_and_password in self._passwords:
            yield name_and_password.reveal()
            yield name_and_password.reveal().partition(":")[2]
        for name, value in self._headers.items():
            name = name.lower()
            text = value if isinstance(value, str) else value.decode("latin-1")
            if name in _HARMLESS:
                continue
            if _CREDENTIALS.search(name):
                yield from (each for each in _parts(text) if len(each) >= SHORTEST)
            elif len(text) >= EVERYDAY_LENGTH:
                yield text


NO_SECRETS = Redaction({})


def _parts(value: str) -> Iterator[str]:
    """Return the secrets in a header's value: a key after its scheme, a password, cookies."""
    yield value
    scheme, _, rest = value.partition(" ")
    if rest:
        yield rest.strip()
    if scheme.lower() == "basic":
        try:
            name_and_password = base64.b64decode(rest, validate=True).decode()
        except ValueError:
            return
        yield name_and_password
        yield name_and_password.partition(":")[2]
    elif "=" in value:
        for part in value.split(";"):
            yield part.partition("=")[2].strip().strip('"')
