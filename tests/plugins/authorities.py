"""An authority that signs certificates, and that nobody trusts by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.support.tls import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that nobody trusts by himself."""
    path: Path = tmp_path_factory.mktemp("authority") / "ca.pem"
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(path))
    return Authority(str(path), issuer)
