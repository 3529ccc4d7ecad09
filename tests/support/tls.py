"""Servers that speak TLS, with certificates of an authority that only the test knows."""

from __future__ import annotations

import ssl

import attrs
import trustme

from tests.support.stub import Answerer, StubServer


@attrs.frozen
class Authority:
    """An authority that signs certificates.

    Attributes:
        path: The file with its own certificate, which who trusts it needs.
        issuer: What signs.
    """

    path: str
    issuer: trustme.CA

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names speaks TLS with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issuer.issue_cert(*names).configure_cert(context)
        return context


class TlsStub(StubServer):
    """A stub server over TLS; a context manager."""

    scheme = "https"

    def __init__(self, authority: Authority, answer: Answerer) -> None:
        super().__init__(answer, tls=authority.context("127.0.0.1"))

    def __enter__(self) -> TlsStub:
        """Return the server."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop listening."""
        self.stop()
