"""What services that are reached over HTTP share: address, credentials, headers, bounds."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gpt_agent_sync.configuration import get_settings
from gpt_agent_sync.errors import AuthenticationError, ConfigurationError
from gpt_agent_sync.records import Message, Pause, RunRequest, RunSnapshot
from gpt_agent_sync.secret import Secret, conceal, redact
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.services.checks import (
    check_api_key,
    check_base_url,
    check_headers,
    check_retries,
    check_timeout,
    conceal_headers,
)
from gpt_agent_sync.services.feeds.pacing import Pace, RunTimes
from gpt_agent_sync.services.feeds.polling import FirstRequest, PollingFeed, PollResult, RunSource
from gpt_agent_sync.services.feeds.streaming import Streaming, StreamingFeed
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import HttpClient, Limits, wait_on_this_thread
from gpt_agent_sync.services.http.redaction import Headers, carries_credentials, merged

if TYPE_CHECKING:
    import requests

OPENAI = "https://api.openai.com/v1"
"""Where OpenAI's own wire begins."""

AuthSource = Callable[[], str]
"""Returns a bearer token, such as Azure Entra's; called before each request, on any thread."""


class RemoteService(Service):
    """The base of the services that speak to a server.

    Args:
        base_url: Where the wire begins, such as ``"http://host/v1"``; else ``OPENAI_BASE_URL``.
        api_key: The bearer key; else, at ``OPENAI_BASE_URL`` or OpenAI, ``OPENAI_API_KEY``. May be
            missing for servers without keys.
        organization: Sent as ``OpenAI-Organization``.
        project: Sent as ``OpenAI-Project``.
        headers: Further headers of every request.
        api_version: Azure's ``api-version`` parameter, sent with every request.
        auth: Returns a bearer token in place of the key; called before each request.
        timeout: Seconds a request may be silent, or ``(connect, read)``; else the settings.
        http_retries: How often a request is repeated where that is safe; else the settings.
        session: A ``requests.Session`` of the program's, never changed or closed by us; see
            ``Transport`` for what its threads may do.

    Raises:
        ConfigurationError: If there is no usable base URL, or another argument is unusable.
    """

    _trusts_environment = True
    _address = ""  # until it is checked: error trackers show services that are only half made
    _default_base_url: str | None = None
    """Where the wire is at home; there a key is needed."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        api_version: str | None = None,
        auth: AuthSource | None = None,
        timeout: float | tuple[float, float] | None = None,
        http_retries: int | None = None,
        session: requests.Session | None = None,
    ) -> None:
        # Rebound before anything can fail: error trackers keep the variables of a frame.
        base_url, api_key = conceal(base_url), conceal(api_key)
        headers = conceal_headers(headers)
        home = conceal(os.environ.get("OPENAI_BASE_URL") or None)
        address: Secret | None = conceal(base_url) if base_url is not None else home
        self._address = self._check_address(address)
        if auth is not None and not callable(auth):
            raise ConfigurationError("auth must be a callable that returns a bearer token")
        self._session, self._session_credentials = _read_session(session)
        # What says by itself who asks is not overruled by a key of the environment, and that is for
        # the environment's server alone.
        named = not (api_key is None and auth is None and self._session_credentials is None)
        named = named or carries_credentials(headers)
        at_home = self._address == (OPENAI if home is None else home.reveal().strip().rstrip("/"))
        if not named and at_home:
            api_key = conceal(os.environ.get("OPENAI_API_KEY") or None)
        self._api_key = None if auth is not None else check_api_key(api_key)
        if address is None and not named and api_key is None:
            raise ConfigurationError(
                f"{type(self).__name__} needs api_key (or OPENAI_API_KEY) at {self._address}; "
                "LocalService() needs none"
            )
        self._auth = auth
        self._own_headers = merged(
            check_headers({"OpenAI-Organization": organization, "OpenAI-Project": project}),
            check_headers(headers),
        )
        self._api_version = api_version
        self._timeout = check_timeout(timeout)
        self._http_retries = check_retries(http_retries)
        self._http = HttpClient(
            self._headers,
            self._limits,
            query={"api-version": api_version} if api_version else None,
            session=self._session,
            trust_environment=self._trusts_environment,
            renews_key=auth is not None,
        )
        self._times = RunTimes()
        self._streaming = Streaming(self)
        self._set_up()

    def _check_address(self, address: Secret | None) -> str:
        if address is None and self._default_base_url is None:
            raise ConfigurationError(
                f"{type(self).__name__} needs base_url (or OPENAI_BASE_URL), such as "
                "'http://host/v1'; OpenAI itself switched this wire off on 2026-08-26: "
                "ResponsesService() speaks its successor, and LocalService() needs no address"
            )
        return check_base_url(self._default_base_url if address is None else address)

    def _set_up(self) -> None:
        """Set up what a wire needs, when all arguments have been checked."""

    @property
    def base_url(self) -> str:
        """Where the wire begins, without a trailing slash."""
        return self._address

    @property
    def identity(self) -> Hashable:
        """Class, address, API version, credentials, key, project and headers, none to be read."""
        return (
            type(self),
            self._address,
            self._api_version,
            self._api_key,
            frozenset(self._own_headers.items()),
            None if self._auth is None else _hashable(self._auth),
            self._session_credentials,
        )

    @property
    def journal_name(self) -> str:
        """Kind and address: a thread's id is the only one of its kind there, whoever asks."""
        return f"{self.name}:{self.base_url}"

    def __repr__(self) -> str:
        """Show the address, never the key."""
        return f"{type(self).__name__}(base_url={self._address!r})"

    def close(self) -> None:
        """Close the pooled connections; those of a session of the program's are the program's."""
        self._http.close()

    def _get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        pause: Pause = wait_on_this_thread,
        **how: Any,
    ) -> Answer:
        return self._http.get(self.base_url + path, params, pause, **how)

    def _post(self, path: str, body: Mapping[str, Any], **how: Any) -> Any:
        return self._http.post(self.base_url + path, body, **how)

    def _feed(
        self,
        request: RunRequest,
        begin: FirstRequest,
        poll: Callable[[str, Pause], PollResult],
        read_messages: Callable[[RunSnapshot, Pause], Iterable[Message]],
        *,
        stage: str | None,
    ) -> Feed:
        """Return a feed.

        Args:
            request: What it is for.
            begin: Makes the first request.
            poll: Polls the run of an id.
            read_messages: Returns the messages of a run that is final.
            stage: What the first request does, ``"start"`` or ``"submit"``: how long the run then
                takes is remembered by that. ``None`` when it only polls.
        """
        kind = None if stage is None else (stage, request.assistant_id, request.options.model)
        source = RunSource(
            begin=begin,
            poll=poll,
            read_messages=read_messages,
            pace=Pace(request.heartbeat_interval, self._times, kind),
            deadline=request.deadline,
            starts_work=stage is not None,
        )
        return StreamingFeed(source, self._streaming) if request.streaming else PollingFeed(source)

    def _headers(self) -> Headers:
        if self._auth is None:
            return self._fixed_headers
        return merged(self._fixed_headers, _bearer(_fetch_token(self._auth)))

    @functools.cached_property
    def _fixed_headers(self) -> Headers:
        """The headers that all requests have in common."""
        key = {} if self._api_key is None else _bearer(self._api_key)
        return merged(self._wire_headers(), key, self._own_headers)

    def _wire_headers(self) -> Mapping[str, str]:
        """Return the headers that the wire itself demands."""
        return {}

    def _limits(self) -> Limits:
        settings = get_settings()
        connect, read = self._timeout or (settings.connect_timeout, settings.read_timeout)
        retries = settings.http_retries if self._http_retries is None else self._http_retries
        return Limits(connect, read, retries, settings.request_timeout, settings.max_answer_bytes)


def _read_session(
    session: requests.Session | None,
) -> tuple[requests.Session | None, Hashable]:
    """Return the program's session, and what it says by itself of who asks, ``None`` for nothing.

    That is read once: services are keys, whose identity must not change with the session.
    """
    if session is None:
        return None, None
    # Imported here: only a program with a session of its own has loaded requests already.
    from gpt_agent_sync.services.http.sessions import check_session

    headers = check_session(session).headers
    credentials = {name: headers[name] for name in headers if carries_credentials([name])}
    auth = session.auth
    if auth is None and not credentials:
        return session, None
    # A name and password are texts, an auth of any other kind is an object.
    texts = Secret(repr((sorted(credentials.items()), None if callable(auth) else auth)))
    return session, (_hashable(auth) if callable(auth) else None, texts)


def _bearer(key: Secret) -> Headers:
    return {"Authorization": Secret(f"Bearer {key.reveal()}")}


def _fetch_token(auth: AuthSource) -> Secret:
    try:
        token = check_api_key(auth())
    except ConfigurationError:
        raise
    except Exception as exc:
        raise AuthenticationError(f"auth could not give a token: {redact(repr(exc))}") from exc
    if token is None:
        raise AuthenticationError("auth gave no token")
    return token


def _hashable(auth: object) -> Hashable:
    try:
        hash(auth)
    except TypeError:
        return id(auth)
    return auth
