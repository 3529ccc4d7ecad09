"""What the arguments of services that are reached over HTTP must be."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.services.http.redaction import Headers, may_be_secret, merged

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HOST = re.compile(r"[\w.-]{1,253}")
_UNSAFE = re.compile(r"[^\x21-\x7e]")


def check_base_url(base_url: object, name: str = "base_url") -> str:
    """Return the base URL without a trailing slash.

    Args:
        base_url: A text, or a ``Secret``, as one with a password in it is not to be shown.
        name: What the argument is called.

    Raises:
        ConfigurationError: If it is not an ``http`` or ``https`` URL with a host, has a query or
            fragment, or has a user or password in it, which errors and logs would show.
    """
    # Rebound, as error trackers keep the variables of a frame.
    base_url = conceal(base_url)
    problem = _address_problem(base_url)
    if problem is not None:
        raise ConfigurationError(f"{name} {problem}")
    return base_url.reveal().strip().rstrip("/") if isinstance(base_url, Secret) else ""


def _address_problem(base_url: object) -> str | None:
    """Return what is wrong with an address, without any password in it; ``None`` for nothing."""
    wanted = "must be an http or https URL such as 'http://host/v1'"
    if not isinstance(base_url, Secret) or not base_url.reveal().strip():
        shown = base_url.reveal() if isinstance(base_url, Secret) else base_url
        return f"{wanted}, not {shown!r}"
    address = base_url.reveal().strip()
    plain = address.partition("?")[0].partition("#")[0]
    if "@" in plain:
        return "must not hold a user or password, nor any other '@'; pass them in headers"
    if plain != address:
        return (
            f"must not have a query or a fragment, as {plain!r} has: paths are appended to it; "
            "api_version is an argument of its own"
        )
    try:
        parts = urlsplit(address)
        in_brackets = parts.netloc.startswith("[")
        usable = (
            parts.scheme in ("http", "https")
            and parts.port != 0
            and _is_host(parts.hostname or "", in_brackets)
            and not _UNSAFE.search(parts.path)
        )
    except ValueError:
        usable = False
    return None if usable else f"{wanted}, not {address!r}"


def _is_host(name: str, in_brackets: bool) -> bool:
    """Return whether a host can be one: a name, of any alphabet, or an address.

    Raises:
        ValueError: If it is an address of IPv6 that is none.
    """
    if in_brackets:
        return bool(ipaddress.IPv6Address(name))
    # What a name's other letters are in DNS is the HTTP library's affair.
    return bool(_HOST.fullmatch(name))


def check_api_key(api_key: object) -> Secret | None:
    """Return the key if it can go into a header; the error does not show it.

    Args:
        api_key: A text, or a ``Secret``.

    Raises:
        ConfigurationError: If it is not a text, blank, or has characters no header takes.
    """
    # Rebound, as error trackers keep the variables of a frame.
    api_key = conceal(api_key)
    if api_key is None:
        return None
    problem = _key_problem(api_key)
    if problem is not None:
        raise ConfigurationError(problem)
    return Secret(api_key.reveal().strip()) if isinstance(api_key, Secret) else None


def _key_problem(api_key: object) -> str | None:
    if not isinstance(api_key, Secret) or not api_key.reveal().strip():
        return "api_key must be a non-blank string"
    key = api_key.reveal().strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        return "api_key has characters that no HTTP header can carry"
    return None


def conceal_headers(headers: Any) -> dict[str, Any]:
    """Return headers with their values concealed, those that are texts and may be secrets.

    Raises:
        ConfigurationError: If they are no mapping.
    """
    if headers is not None and not isinstance(headers, Mapping):
        kind = type(headers).__name__
        headers = None
        raise ConfigurationError(f"headers must be a mapping of names to texts, not a {kind}")
    return {
        name: conceal(value) if isinstance(name, str) and may_be_secret(name) else value
        for name, value in dict(headers or {}).items()
    }


def check_headers(headers: Mapping[str, str | Secret | None]) -> Headers:
    """Return the headers that are set, if HTTP can carry them and they are the program's to set.

    Raises:
        ConfigurationError: If a name or value is no text, has characters no header takes, or is
            about the framing of a request; the value is not shown.
    """
    checked = {name: value for name, value in headers.items() if value is not None}
    for name in checked:
        if isinstance(name, str) and name.lower() in _FRAMING:
            raise ConfigurationError(
                f"header {name!r} is for the HTTP library to set; where another Host is meant, set "
                "it on the headers of a session of your own"
            )
        if not _is_usable(name, checked[name]):
            raise ConfigurationError(f"header {name!r} has a value that no HTTP header can carry")
    return merged(checked)


def _is_usable(name: object, value: object) -> bool:
    text = value.reveal() if isinstance(value, Secret) else value
    return (
        isinstance(name, str)
        and isinstance(text, str)
        and _HEADER_NAME.fullmatch(name) is not None
        and text.isascii()
        and text.isprintable()
        and text == text.strip()
    )


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
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 < value < math.inf


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


def check_flag(name: str, flag: object) -> bool | None:
    """Return a choice between two ways; ``None`` for whichever the server takes.

    Raises:
        ConfigurationError: If it is another value.
    """
    if flag is None or isinstance(flag, bool):
        return flag
    raise ConfigurationError(f"{name} must be True, False or None, not {flag!r}")
