"""What the training of the embedded model leaves in its build folder, and which of it belongs
together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from avatar_pipeline.core.digests import digest_files, sha256_file
from avatar_pipeline.core.errors import StoreError

# By asset, what it leaves in the build folder: a file, or a folder of weights.
RESULTS = {
    "embedded_dataset": Path("dataset", "dataset.json"),
    "embedded_autoencoder": Path("autoencoder"),
    "embedded_text_encoder": Path("text_encoder"),
    "embedded_denoiser": Path("denoiser.pt"),
    "embedded_decoder": Path("decoder"),
}
DENOISER_INPUTS = ("embedded_dataset", "embedded_autoencoder", "embedded_text_encoder")
INPUTS = "denoiser_inputs.json"


def version_of(build: Path, asset: str) -> str:
    """Return the version of what an asset of RESULTS left: the data set's own digest, or that of
    the weights.

    Raises StoreError when it is not there.
    """
    result = build / RESULTS[asset]
    if not result.exists():
        raise StoreError(
            f"{build} has no {asset} yet. Materialize it first: "
            "dagster asset materialize -m avatar_pipeline.bundled_model_definitions --select "
            f"{asset}"
        )
    if asset == "embedded_dataset":
        return str(json.loads(result.read_text())["digest"])
    if result.is_file():
        return sha256_file(result)
    return digest_files(
        {
            path.relative_to(result).as_posix(): sha256_file(path)
            for path in result.rglob("*")
            if path.is_file()
        }
    )


def prepare_denoiser(build: Path, inputs: Mapping[str, str]) -> str:
    """Make sure that a training resumes only what was begun on the same `inputs` (asset to
    version); returns what was set aside, in words.

    Latents of other inputs are removed, since they are made again; a checkpoint of other or unknown
    inputs took hours, and is kept under another name.
    """
    record, checkpoint, notice = build / INPUTS, build / "denoiser.pt", ""
    if not record.exists() or json.loads(record.read_text()) != dict(inputs):
        (build / "latents.pt").unlink(missing_ok=True)
        if checkpoint.exists():
            aside = checkpoint.with_name(f"denoiser-{sha256_file(checkpoint)[:8]}.pt")
            checkpoint.replace(aside)
            notice = (
                f"The checkpoint there was not trained on these inputs: it is {aside.name} now, "
                "and training starts again."
            )
        history = build / "denoiser_history.jsonl"
        history.unlink(missing_ok=True)
        record.write_text(json.dumps(dict(inputs), indent=1))
    return notice
