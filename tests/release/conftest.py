"""What tests of releases share: a PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.release.postgres import programs, server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty database."""
    binaries = programs()
    if binaries is None:
        if os.environ.get("CI"):
            pytest.fail("the programs of a PostgreSQL server are missing: apt install postgresql")
        pytest.skip("the programs of a PostgreSQL server are missing: apt install postgresql")
    with server(binaries) as url:
        yield url
