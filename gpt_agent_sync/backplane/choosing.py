"""The backplane that a setting names: one a process for its own threads, and one for each URL."""

from __future__ import annotations

from typing import Any

import attrs

from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.backplane.local import LocalBackplane
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.secret import Secret

SCHEMES = ("redis", "rediss", "unix")


# A forked child goes on with these, as each backplane knows forks itself. No lock: a dictionary
# takes one of several backplanes by itself.
@attrs.define
class _Chosen:
    """The backplanes that were made for settings."""

    local: LocalBackplane = attrs.field(factory=LocalBackplane)
    by_url: dict[Secret, Backplane] = attrs.field(factory=dict)


_chosen = _Chosen()


def backplane_of(setting: Any) -> Backplane:
    """Return the backplane that a setting names, the same one each time.

    Args:
        setting: A backplane, the URL of a Redis, or ``None`` for the process's own.

    Raises:
        ConfigurationError: If it is none of these.
    """
    setting = Secret(setting) if isinstance(setting, str) else setting
    if setting is None:
        return _chosen.local
    if isinstance(setting, Backplane):
        return setting
    if not isinstance(setting, Secret):
        raise ConfigurationError(
            f"backplane must be a Backplane or the URL of a Redis, not {setting!r}"
        )
    scheme, separator, _ = setting.reveal().partition("://")
    if not separator or scheme not in SCHEMES:
        raise ConfigurationError(
            f"a backplane's URL begins with one of {', '.join(SCHEMES)} and '://', "
            f"not with {scheme[:20]!r}"
        )
    known = _chosen.by_url.get(setting)
    if known is not None:
        return known
    # Imported here: few programs need Redis.
    from gpt_agent_sync.backplane.redis import RedisBackplane

    # Of two threads that come here at once the first one to be done wins; nothing is open yet in
    # the other.
    return _chosen.by_url.setdefault(setting, RedisBackplane(setting))


def reset() -> None:
    """Close the backplanes that were made for settings, and forget them."""
    made, _chosen.by_url = _chosen.by_url, {}
    _chosen.local = LocalBackplane()
    for backplane in made.values():
        backplane.close()
