"""The manifest: what is written is what is read, and a damaged one is said to be damaged."""

from __future__ import annotations

import json

import pytest

from avatar_pipeline.actors.manifest import FileEntry, Manifest, library_versions
from avatar_pipeline.core.errors import StoreError


def manifest() -> Manifest:
    return Manifest(
        actor="demo",
        asset="lora",
        code_version="1",
        root_seed=42,
        seeds={"probe/0": 7},
        settings={"rank": 16, "targets": ["to_q", "to_k"], "nested": {"alpha": 8.0}},
        inputs={"base_image": "ab" * 32},
        files={"demo.safetensors": FileEntry(sha256="cd" * 32, bytes=3)},
        metrics={"identity": 0.44, "steps": 150, "kept": True, "verdict": "pass", "none": None},
        libraries=library_versions(),
    )


def test_round_trip() -> None:
    one = manifest()
    assert Manifest.from_json(one.to_json()) == one
    assert one.created.endswith("+00:00")
    types = {name: type(value) for name, value in Manifest.from_json(one.to_json()).metrics.items()}
    assert types == {
        "identity": float,
        "steps": int,
        "kept": bool,
        "verdict": str,
        "none": type(None),
    }


def test_json_stays_json_when_a_number_is_not() -> None:
    text = (
        manifest()
        .model_copy(update={"metrics": {"loss": float("nan")}, "settings": {"x": float("inf")}})
        .to_json()
    )
    assert json.loads(text)["metrics"] == {"loss": None}
    assert Manifest.from_json(text).metrics == {"loss": None}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"actor": "demo"}', manifest().to_json().replace("root_seed", "rootseed")],
)
def test_damage_is_named(text: str) -> None:
    with pytest.raises(
        StoreError,
        match=r"x/manifest\.json is damaged .* materialize the asset "
        r"again",
    ):
        Manifest.from_json(text, name="x/manifest.json")


def test_library_versions_imports_nothing() -> None:
    versions = library_versions(("numpy", "pillow", "surely-not-installed"))
    assert set(versions) == {"numpy", "pillow"}
    assert versions["numpy"][0].isdigit()
