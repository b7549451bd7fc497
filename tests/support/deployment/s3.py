"""What the tests of several machines share: the servers, started once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment.servers import BUCKET, s3_server


@pytest.fixture(scope="session")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the S3 server logs its requests."""
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="session")
def s3(s3_folder: Path) -> Iterator[dict[str, str]]:
    """The environment of an S3 store with an empty bucket."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    import s3fs

    with s3_server(s3_folder) as environment:
        s3fs.S3FileSystem.clear_instance_cache()
        yield environment


@pytest.fixture
def bucket(
    s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """The URL of a folder of the bucket for this test alone, reachable from this process."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return f"s3://{BUCKET}/{os.getpid()}-{request.node.name}".replace("[", "-").replace("]", "")
