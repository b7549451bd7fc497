"""The manifest of one materialization: everything that is needed to say where a file comes from,
and to make it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avatar_pipeline.core.clock import utc_now
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.renamed import PRESET_FIELDS, SETTINGS, with_present_names

MANIFEST = "manifest.json"  # its name in a version's folder

# The libraries whose version can change a pixel or a weight.
LIBRARIES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "dlib-bin",
    "onnxruntime",
    "insightface",
)


class FileEntry(BaseModel):
    """One stored file: sha256 of its content (hexadecimal) and its length in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What made one version of one asset of one actor. `digest` and `files` are filled in by the
    store.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    actor: str
    asset: str
    digest: str = Field("", description="sha256 of the contents of `files`; Dagster's data version")
    code_version: str = Field(description="the asset's code version")
    created: str = Field(default_factory=utc_now, description="UTC, ISO 8601")
    run_id: str = Field("", description="the Dagster run")
    inputs: dict[str, str] = Field({}, description="upstream name -> its digest")
    root_seed: int = Field(description="the seed really used, never -1")
    seeds: dict[str, int] = Field({}, description="sample -> the seed derived for it")
    settings: dict[str, Any] = Field(
        {}, description="the stage's settings, all of them, defaults included"
    )
    preset: str = ""
    preset_values: dict[str, Any] = Field(
        {}, description="the preset's values, overrides included: what replay uses"
    )
    model: str = Field(
        "",
        description="where an overriding model lay: folder, or id@revision; "
        "empty for the preset's own",
    )
    model_id: str = ""
    model_revision: str = ""
    model_sha256: str = ""
    lora_sha256: str | None = None
    memory_plans: list[str] = Field(
        [], description="how the pipeline was held; more than one after an out-of-memory"
    )
    device: str = Field("", description="device name, such as NVIDIA H200 or cpu")
    libraries: dict[str, str] = {}
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    waited_seconds: dict[str, float] = Field(
        {}, description="for the pool's slot, the actor, the device; no part of seconds"
    )
    device_since: str = Field("", description="when the device was taken, UTC; empty when none was")
    device_until: str = Field("", description="when it was given back")
    files: dict[str, FileEntry] = {}
    metrics: dict[str, float | int | str | bool | None] = {}
    person: str = Field(
        "",
        description="version of what actor.yaml said, its `settings` aside; "
        "empty before this was recorded",
    )
    analyzer: str = Field("", description="the face analyzer")
    checks: list[dict[str, Any]] = Field([], description="the verdicts, as faces/check.py's Check")
    skipped: str = Field(
        "",
        description="why the stage did nothing of what it is for, as train with too few "
        "photographs; empty when it did",
    )
    named: dict[str, str] = Field(
        {},
        description="of an actor that was renamed: file -> its name when the digest was taken",
    )
    provenance: dict[str, Any] = Field(
        {},
        description="what a stage wrote into its files of where its inputs come from; empty where "
        "none did, and before this was recorded",
    )

    @property
    def verdicts(self) -> dict[str, str]:
        """Check -> verdict: pass, warn, error, not_assessed. Empty in manifests from before checks
        were recorded.
        """
        return {check["name"]: check["verdict"] for check in self.checks}

    def to_json(self) -> str:
        """Return the text of manifest.json, ending with a newline. A NaN or infinity in it becomes
        null.
        """
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, name: str = "manifest.json") -> Manifest:
        """Return the manifest in a manifest.json; `name` is what errors call the file. Raises
        StoreError when it is damaged. Settings have the names of today, whichever it was written
        with.
        """
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole file"
            raise StoreError(
                f"{name} is damaged or of another version of this program ({field}: "
                f"{first['msg']}). "
                "Restore the file, or materialize the asset again."
            ) from None
        source = "manifests of earlier versions"
        settings = SETTINGS.get(manifest.asset, {})
        present = {
            "settings": with_present_names(manifest.settings, settings, source, name),
            "preset_values": with_present_names(
                manifest.preset_values, PRESET_FIELDS, source, name
            ),
        }
        return manifest.model_copy(update=present)


def library_versions(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Installed versions by distribution name; what is not installed is left out. Imports none of
    them.
    """
    versions = {}
    for name in names:
        try:
            versions[name] = _version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def _version(name: str) -> str:
    """Return the installed version of a distribution, whose files are read once by a process."""
    return metadata.version(name)
