"""Digests: of contents, whatever the order, read again when a file changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from avatar_pipeline.core import digests
from avatar_pipeline.core.digests import digest_files, sha256_bytes, sha256_file


def test_sha256_file_reads_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "CHUNK", 7)
    data = bytes(range(256)) * 3
    (tmp_path / "a").write_bytes(data)
    assert sha256_file(tmp_path / "a") == hashlib.sha256(data).hexdigest() == sha256_bytes(data)


def test_sha256_file_notices_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert sha256_file(path) == sha256_bytes(b"one")
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))  # same length: only the time tells
    assert sha256_file(path) == sha256_bytes(b"two")


def test_digest_files_depends_on_names_and_contents_only() -> None:
    one = digest_files({"a": b"1", "b": b"2"})
    assert (
        one
        == digest_files({"b": b"2", "a": b"1"})
        == digest_files({"a": sha256_bytes(b"1"), "b": b"2"})
    )
    assert (
        one
        == hashlib.sha256(f"a {sha256_bytes(b'1')}\nb {sha256_bytes(b'2')}\n".encode()).hexdigest()
    )
    assert (
        len(
            {
                one,
                digest_files({"a": b"2", "b": b"1"}),
                digest_files({"a": b"1"}),
                digest_files({"a": b"1", "c": b"2"}),
            }
        )
        == 4
    )


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        "a.json",
        "manifest.csv",
        "sub/folder/a.png",
        ".hidden",
        "a.safetensors",
        "no_suffix",
    ],
)
def test_every_file_counts_whatever_its_name_and_place(name: str) -> None:
    others = {"a.png": b"1", "z.txt": b"2"}
    with_it = digest_files({**others, name: b"3"})
    assert (
        len(
            {
                digest_files(others),
                with_it,
                digest_files({**others, name: b"4"}),
                digest_files({**others, name: b""}),
            }
        )
        == 4
    )
