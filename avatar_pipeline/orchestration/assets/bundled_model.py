"""The making of the embedded model as assets: pictures, autoencoder, text encoder, denoiser, the
pipeline folder, its evaluation.

They belong to no actor, and to another code location than the actors' assets
(embedded_definitions.py): hours of training must not be part of "all assets". What they do is
bundled_model/train.py and bundled_model/evaluate.py, which also run without Dagster; here it gets
versions, figures that plot over time, and pictures to look at.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of `config`.

import json
import time

import dagster as dg
from pydantic import Field

from avatar_pipeline.bundled_model.build_folder import DENOISER_INPUTS, version_of
from avatar_pipeline.core.digests import sha256_file
from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.weights import check_model_folder
from avatar_pipeline.diffusion.weights_digest import model_sha256
from avatar_pipeline.orchestration.assets.bundled_model_results import (
    denoiser_step,
    materialized,
    preview_of,
    training_figures,
)
from avatar_pipeline.orchestration.assets.folders import BundledModelFolders
from avatar_pipeline.orchestration.assets.training_history import read_history
from avatar_pipeline.orchestration.failures import as_failure
from avatar_pipeline.orchestration.pools import GPU_POOL

GROUP = "embedded_model"
# A change of what an asset does to the same inputs gets the next number: Dagster then shows it and
# what follows as stale.
CODE_VERSION = "1"


class Steps(dg.Config):
    """How long to train."""

    steps: int | None = Field(
        None, gt=0, description="Training steps (> 0). Default: those of the model that ships."
    )


class EvaluationConfig(dg.Config):
    """How much to measure, and where."""

    only: list[str] = Field(
        [],
        description="Measures of bundled_model/evaluate.py, such as disk or faces. Default: all.",
    )
    pictures: int | None = Field(
        None,
        gt=0,
        description="At most so many pictures a figure: to try it out. Default: the full counts.",
    )
    device: str = Field(
        "cpu",
        description='"cpu", "auto", "cuda" or "mps"; the bars of the model card are about a CPU.',
    )


@dg.asset(group_name=GROUP, code_version=CODE_VERSION)
def embedded_dataset(folders: BundledModelFolders) -> dg.MaterializeResult:
    """The training pictures: framed heads, morphs between people, turned heads, bodies. Version:
    the digest of pictures and captions.
    """
    from avatar_pipeline.bundled_model import train

    build, began = folders.build_folder(), time.monotonic()
    with as_failure():
        train.build_dataset(build)
    folder = build / "dataset"
    facts = json.loads((folder / "dataset.json").read_text())
    counts = {
        name: count for name, count in facts.items() if isinstance(count, int) and name != "seed"
    }
    sheet = folder / "contact_sheet.jpg"
    metadata: dict[str, dg.MetadataValue] = {
        "contact_sheet": preview_of(sheet, 800),
        "contact_sheet_file": dg.MetadataValue.path(str(sheet)),
        "pictures": dg.MetadataValue.int(sum(counts.values())),
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
    }
    return materialized(
        version_of(build, "embedded_dataset"), metadata, began, folder, facts["seed"]
    )


@dg.asset(group_name=GROUP, code_version=CODE_VERSION, deps=[embedded_dataset])
def embedded_autoencoder(config: Steps, folders: BundledModelFolders) -> dg.MaterializeResult:
    """Pictures to latents and back, scored on people it never saw. Version: the digest of the
    weights.
    """
    from avatar_pipeline.bundled_model import train

    build, began, steps = (
        folders.build_folder(),
        time.monotonic(),
        config.steps or train.AUTOENCODER_STEPS,
    )
    with as_failure():
        inputs = {"embedded_dataset": version_of(build, "embedded_dataset")}
        train.build_autoencoder(build, steps)
    history = read_history(build / "autoencoder_history.json")
    metadata = training_figures(history, steps) | {"inputs": dg.MetadataValue.json(inputs)}
    return materialized(
        version_of(build, "embedded_autoencoder"),
        metadata,
        began,
        build / "autoencoder",
        train.SEED,
    )


@dg.asset(group_name=GROUP, code_version=CODE_VERSION)
def embedded_text_encoder(config: Steps, folders: BundledModelFolders) -> dg.MaterializeResult:
    """What prompts say, learned from captions that are made up on the spot: it needs no pictures.
    Version: the digest of the weights.
    """
    from avatar_pipeline.bundled_model import train

    build, began, steps = folders.build_folder(), time.monotonic(), config.steps or train.TEXT_STEPS
    train.build_text(build, steps)
    metadata = training_figures(read_history(build / "text_history.jsonl"), steps)
    return materialized(
        version_of(build, "embedded_text_encoder"),
        metadata,
        began,
        build / "text_encoder",
        train.SEED,
    )


@dg.asset(
    group_name=GROUP,
    code_version=CODE_VERSION,
    deps=[embedded_dataset, embedded_autoencoder, embedded_text_encoder],
    pool=GPU_POOL,
)
def embedded_denoiser(
    context: dg.AssetExecutionContext, config: Steps, folders: BundledModelFolders
) -> dg.MaterializeResult:
    """U-Net and identity input, hours on a CPU. An interrupted training resumes. Version: the hash
    of the checkpoint.
    """
    from avatar_pipeline.bundled_model import train

    build, began, steps = (
        folders.build_folder(),
        time.monotonic(),
        config.steps or train.DENOISER_STEPS,
    )
    with as_failure():
        inputs = {name: version_of(build, name) for name in DENOISER_INPUTS}
        if warning := train.build_denoiser(build, steps):
            context.log.warning(warning)
    checkpoint = build / "denoiser.pt"
    metadata = training_figures(
        read_history(build / "denoiser_history.jsonl"), denoiser_step(checkpoint)
    )
    metadata["inputs"] = dg.MetadataValue.json(inputs)
    return materialized(
        version_of(build, "embedded_denoiser"), metadata, began, checkpoint, train.SEED
    )


@dg.asset(
    group_name=GROUP,
    code_version=CODE_VERSION,
    deps=[embedded_dataset, embedded_autoencoder, embedded_text_encoder, embedded_denoiser],
)
def embedded_decoder(config: Steps, folders: BundledModelFolders) -> dg.MaterializeResult:
    """The autoencoder with a decoder refined on what the denoiser predicts. Version: the digest of
    the weights.
    """
    from avatar_pipeline.bundled_model import train

    build, began, steps = (
        folders.build_folder(),
        time.monotonic(),
        config.steps or train.DECODER_STEPS,
    )
    with as_failure():
        inputs = {name: version_of(build, name) for name in (*DENOISER_INPUTS, "embedded_denoiser")}
        train.build_decoder(build, steps)
    metadata = training_figures(read_history(build / "decoder_history.json"), steps) | {
        "inputs": dg.MetadataValue.json(inputs)
    }
    return materialized(
        version_of(build, "embedded_decoder"),
        metadata,
        began,
        build / "decoder",
        train.DECODER_SEED,
    )


@dg.asset(
    group_name=GROUP,
    code_version=CODE_VERSION,
    deps=[embedded_decoder, embedded_text_encoder, embedded_denoiser],
)
def embedded_pipeline(folders: BundledModelFolders) -> dg.MaterializeResult:
    """The folder that diffusers loads. Version: as that of `base_model`, so the two agree once this
    model is the one that ships.
    """
    from avatar_pipeline.bundled_model import train

    build, model, began = folders.build_folder(), folders.finished_folder(), time.monotonic()
    with as_failure():
        needed = ("embedded_decoder", "embedded_text_encoder", "embedded_denoiser")
        inputs = {name: version_of(build, name) for name in needed}
        train.export(build, model)
        version = model_sha256(model)
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    metadata: dict[str, dg.MetadataValue] = {
        "megabytes": dg.MetadataValue.float(size / 1e6),
        "steps": dg.MetadataValue.int(denoiser_step(build / "denoiser.pt")),
        "inputs": dg.MetadataValue.json(inputs),
    }
    return materialized(version, metadata, began, model, train.SEED)


@dg.asset(group_name=GROUP, code_version=CODE_VERSION, deps=[embedded_pipeline], pool=GPU_POOL)
def embedded_evaluation(
    config: EvaluationConfig, folders: BundledModelFolders
) -> dg.MaterializeResult:
    """The figures of the model card, measured on the finished pipeline; its card and pictures go to
    `evaluation` in the build folder.
    """
    from avatar_pipeline.bundled_model import evaluate
    from avatar_pipeline.bundled_model.evaluation import card, rows

    folder, model, began = (
        folders.build_folder() / "evaluation",
        folders.finished_folder(),
        time.monotonic(),
    )
    page = folder / "MODEL_CARD.md"
    known = [*evaluate.MEASURES, evaluate.SAMPLES]
    with as_failure():
        check_model_folder(model)
        if unknown := [name for name in config.only if name not in known]:
            raise ModelError(
                f"there is no measure {unknown[0]!r} of the embedded model. "
                f"Measures: {', '.join(known)}."
            )
        if not page.exists():
            folder.mkdir(exist_ok=True)
            page.write_text(f"# The embedded model, measured\n\n{card.BEGIN}\n{card.END}\n")
        options = {"--model": model, "--card": page, "--images": folder, "--device": config.device}
        options |= {"--only": ",".join(config.only)} if config.only else {}
        options |= {"--pictures": config.pictures} if config.pictures else {}
        evaluate.main([str(word) for option in options.items() for word in option])
    measured = list(card.read_rows(page.with_name("evaluation.json")).values())
    digest = model_sha256(model)
    metadata: dict[str, dg.MetadataValue] = {
        path.stem.removeprefix("embedded-"): preview_of(path, 900)
        for path in sorted(folder.glob("*.jpg"))
    }
    metadata |= {
        "table": dg.MetadataValue.md(rows.table(measured, digest)),
        "figures": dg.MetadataValue.int(len(measured)),
        "met": dg.MetadataValue.int(sum(row.met for row in measured if row.model == digest)),
        "inputs": dg.MetadataValue.json({"embedded_pipeline": digest}),
    }
    return materialized(
        sha256_file(page.with_name("evaluation.json")), metadata, began, folder, None
    )


EMBEDDED_ASSETS = [
    embedded_dataset,
    embedded_autoencoder,
    embedded_text_encoder,
    embedded_denoiser,
    embedded_decoder,
    embedded_pipeline,
    embedded_evaluation,
]
