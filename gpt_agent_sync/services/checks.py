"""What the arguments of services that are reached over HTTP must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gpt_agent_sync.errors import ConfigurationError

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSAFE = re.compile(r"[^\x21-\x7e]")


def check_base_url(base_url: object, name: str = "base_url") -> str:
    """Return the base URL without a trailing slash.

    Raises:
        ConfigurationError: If it is not an ``http`` or ``https`` URL with a host, or has a user or
            password in it, which errors and logs would show.
    """
    wanted = f"{name} must be an http or https URL such as 'http://host/v1'"
    if not isinstance(base_url, str) or not base_url.strip():
        raise ConfigurationError(f"{wanted}, not {base_url!r}")
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        usable = usable and not _UNSAFE.search(parts.path + parts.query)
        secret = parts.username or parts.password
    except ValueError:
        usable, secret = False, None
    if secret:
        raise ConfigurationError(f"{name} must not hold a user or password; pass them in headers")
    if not usable:
        raise ConfigurationError(f"{wanted}, not {base_url!r}")
    return base_url.strip().rstrip("/")


def check_api_key(api_key: object) -> str | None:
    """Return the key if it can go into a header; the error does not show it.

    Raises:
        ConfigurationError: If it is not a text, blank, or has characters no header takes.
    """
    if api_key is None:
        return None
    if not isinstance(api_key, str) or not api_key.strip():
        raise ConfigurationError("api_key must be a non-blank string")
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("api_key has characters that no HTTP header can carry")
    return key


def check_headers(headers: Mapping[str, str | None]) -> dict[str, str]:
    """Return the headers that are set, if HTTP can carry them.

    Raises:
        ConfigurationError: If a name or value is no text, or has characters no header takes; the
            value is not shown.
    """
    checked = {name: value for name, value in headers.items() if value is not None}
    for name, value in checked.items():
        texts = isinstance(name, str) and isinstance(value, str)
        if (
            not texts
            or not _HEADER_NAME.fullmatch(name)
            or not value.isascii()
            or not value.isprintable()
            or value != value.strip()
        ):
            raise ConfigurationError(f"header {name!r} has a value that no HTTP header can carry")
    return checked


def check_timeout(timeout: object) -> tuple[float, float] | None:
    """Return seconds to connect and of silence; ``None`` for those of the settings.

    Raises:
        ConfigurationError: If it is neither a number of seconds nor a pair of them.
    """
    if timeout is None:
        return None
    pair = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    if len(pair) != 2 or not all(_is_positive(seconds) for seconds in pair):
        raise ConfigurationError(
            f"timeout must be seconds above 0, or (connect, read), not {timeout!r}"
        )
    return pair


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def check_retries(retries: object) -> int | None:
    """Return how often a request is repeated; ``None`` for what the settings say.

    Raises:
        ConfigurationError: If it is no such number.
    """
    if retries is None or (
        isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0
    ):
        return retries
    raise ConfigurationError(f"http_retries must be a whole number of 0 or more, not {retries!r}")
