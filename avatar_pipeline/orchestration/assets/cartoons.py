"""The making of the cartoon generators as assets: pictures drawn by DiceBear, the two GANs, their
evaluation.

Like those of the embedded model (embedded.py) they belong to no actor and have a code location of
their own (cartoon_definitions.py). What they do is cartoons/train.py and cartoons/evaluation.py,
which also run without Dagster.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of `config`.

import time
from pathlib import Path

import dagster as dg
from PIL import Image
from pydantic import Field

from avatar_pipeline.cartoons.attributes import SIZES, Size
from avatar_pipeline.core.digests import digest_files, sha256_file
from avatar_pipeline.imaging.images import preview_markdown
from avatar_pipeline.orchestration.assets.folders import CartoonFolders
from avatar_pipeline.orchestration.assets.training_history import draw_history, read_history
from avatar_pipeline.orchestration.failures import as_failure
from avatar_pipeline.orchestration.pools import GPU_POOL

GROUP = "cartoons"
# A change of what an asset does to the same inputs gets the next number: Dagster then shows it and
# what follows as stale.
CODE_VERSION = "1"
CURVES = {
    "difference": "from the pictures asked for",
    "psnr": "held-out cartoons, dB",
    "discriminator": "discriminator's loss",
    "generator": "generator's loss",
    "told_right": "told right by the discriminator",
}
# of a training's last row of history, those that plot over time
FIGURES = (*CURVES, "seconds_a_step")


class Pictures(dg.Config):
    """How many cartoons to draw."""

    count: int | None = Field(
        None,
        gt=0,
        description="Cartoons of either size to train on. Default: those of the "
        "generators that ship.",
    )
    held_out: int | None = Field(
        None, gt=0, description="Cartoons of either size never trained on. Default: 256."
    )


class GanSteps(dg.Config):
    """How long to train, and where."""

    steps: int | None = Field(
        None,
        gt=0,
        description="Training steps in all (> 0). Default: those of the generators that ship. "
        "Another number is another training.",
    )
    device: str = Field(
        "auto", description='"auto" (cuda, else mps, else cpu) or one of them, such as "cuda:1".'
    )


class Measuring(dg.Config):
    """How much to measure."""

    pictures: int | None = Field(
        None,
        ge=24,
        description="At most so many pictures a figure: to try it out. Default: the full counts.",
    )
    steps: int | None = Field(
        None, gt=0, description="At most so many training steps of a judge: to try it out."
    )


@dg.asset(group_name=GROUP, code_version=CODE_VERSION)
def cartoon_dataset(config: Pictures, folders: CartoonFolders) -> dg.MaterializeResult:
    """Cartoons drawn here by DiceBear, RGBA, in both sizes, with what each shows. Version: the
    digest of the pictures and of that.
    """
    from avatar_pipeline.cartoons import dataset, train

    folder, began = folders.build_folder() / train.DATASET, time.monotonic()
    with as_failure():
        facts = dataset.build_dataset(
            folder, config.count or dataset.COUNT, config.held_out or dataset.HELD_OUT_COUNT
        )
    sheet = folder / "contact_sheet.png"
    metadata: dict[str, dg.MetadataValue] = {
        "contact_sheet": _preview(sheet, 1000),
        "contact_sheet_file": dg.MetadataValue.path(str(sheet)),
        "pictures": dg.MetadataValue.int(facts["count"] * len(SIZES)),
        "pictures_a_size": dg.MetadataValue.int(facts["count"]),
        "held_out_a_size": dg.MetadataValue.int(facts["held_out"]),
        "style": dg.MetadataValue.text(facts["style"]),
        "author": dg.MetadataValue.text(facts["author"]),
        "source": dg.MetadataValue.url(facts["source"]),
        "licence": dg.MetadataValue.text(facts["licence"]),
        "attribution": dg.MetadataValue.text(facts["attribution"]),
        "drawn_by": dg.MetadataValue.json(facts["drawn_by"]),
        "seed": dg.MetadataValue.int(facts["seed"]),
    }
    return _result(facts["digest"], metadata, began, folder)


@dg.asset(group_name=GROUP, code_version=CODE_VERSION, deps=[cartoon_dataset], pool=GPU_POOL)
def cartoon_gan_small(
    context: dg.AssetExecutionContext, config: GanSteps, folders: CartoonFolders
) -> dg.MaterializeResult:
    """The generator of 96x96 pixels out of 100 numbers; an interrupted training goes on. Version:
    the sha256 of its weights.
    """
    return _trained("small", context, config, folders)


@dg.asset(group_name=GROUP, code_version=CODE_VERSION, deps=[cartoon_dataset], pool=GPU_POOL)
def cartoon_gan_large(
    context: dg.AssetExecutionContext, config: GanSteps, folders: CartoonFolders
) -> dg.MaterializeResult:
    """The generator of 128x128 pixels out of 128 numbers; an interrupted training goes on. Version:
    the sha256 of its weights.
    """
    return _trained("large", context, config, folders)


@dg.asset(group_name=GROUP, code_version=CODE_VERSION, deps=[cartoon_gan_small, cartoon_gan_large])
def cartoon_evaluation(config: Measuring, folders: CartoonFolders) -> dg.MaterializeResult:
    """Diversity, clusters covered, told from real or not, drawn as asked: the figures of the model
    card, with grids to look at.
    """
    from avatar_pipeline.cartoons import evaluation, samples
    from avatar_pipeline.cartoons.figures import table
    from avatar_pipeline.cartoons.generator import read_weights
    from avatar_pipeline.imaging.images import encode_png

    folder, began = folders.build_folder() / "evaluation", time.monotonic()
    files = {size: folders.finished_folder() / f"{size}.safetensors" for size in SIZES}
    found, metadata, amount = (
        {},
        dict[str, dg.MetadataValue](),
        evaluation.Amount().at_most(config.pictures, config.steps),
    )
    with as_failure():
        # both, before minutes of measuring
        generators = {size: read_weights(path, size) for size, path in files.items()}
        folder.mkdir(parents=True, exist_ok=True)
        for size, generator in generators.items():
            measured = evaluation.evaluate(generator, size, amount)
            found[size] = measured.figures
            sheets = {
                "pairs": samples.side_by_side(measured.asked, measured.drawn),
                "on_checkerboard": samples.on_checkerboard(measured.drawn[-60:]),
            }
            for name, sheet in sheets.items():
                path = folder / f"{size}_{name}.png"
                path.write_bytes(encode_png(sheet))
                metadata[f"{size}_{name}"] = _preview(path, 1000)
            metadata |= {
                f"{size}: {name}": dg.MetadataValue.float(figure.value)
                for name, figure in measured.figures.items()
            }
        page = folder / "figures.md"
        page.write_text(table(found) + "\n")
    metadata |= {
        "table": dg.MetadataValue.md(page.read_text()),
        "met": dg.MetadataValue.bool(
            all(figure.met for figures in found.values() for figure in figures.values())
        ),
        "inputs": dg.MetadataValue.json(
            {f"cartoon_gan_{size}": sha256_file(path) for size, path in files.items()}
        ),
    }
    return _result(digest_files({page.name: page.read_bytes()}), metadata, began, folder)


CARTOON_ASSETS = [cartoon_dataset, cartoon_gan_small, cartoon_gan_large, cartoon_evaluation]


def _trained(
    size: Size, context: dg.AssetExecutionContext, config: GanSteps, folders: CartoonFolders
) -> dg.MaterializeResult:
    from avatar_pipeline.cartoons import dataset, train
    from avatar_pipeline.cartoons.samples import over_time
    from avatar_pipeline.cartoons.training import SEED, STEPS

    build, began = folders.build_folder(), time.monotonic()
    with as_failure():
        weights = train.train_generator(
            build,
            folders.finished_folder(),
            size,
            config.steps,
            config.device,
            lambda line: context.log.info(line),
        )
        inputs = {"cartoon_dataset": dataset.read_facts(build / train.DATASET)["digest"]}
    history, sheets = (
        read_history(build / size / "history.jsonl"),
        sorted((build / size / "samples").glob("*.jpg")),
    )
    metadata: dict[str, dg.MetadataValue] = {
        "curves": dg.MetadataValue.md(preview_markdown(draw_history(history, CURVES), width=1400)),
        "samples_over_time": dg.MetadataValue.md(preview_markdown(over_time(sheets), width=1000)),
        "first_samples": _preview(sheets[0], 1000),
        "last_samples": _preview(sheets[-1], 1000),
        "samples_files": dg.MetadataValue.path(str(sheets[0].parent)),
        "steps": dg.MetadataValue.int(config.steps or STEPS),
        "seed": dg.MetadataValue.int(SEED),
        "kilobytes": dg.MetadataValue.float(round(weights.stat().st_size / 1e3, 1)),
        "inputs": dg.MetadataValue.json(inputs),
    }
    metadata |= {
        key: dg.MetadataValue.float(float(value))
        for key, value in history[-1].items()
        if key in FIGURES
    }
    return _result(sha256_file(weights), metadata, began, weights)


def _result(
    version: str, metadata: dict[str, dg.MetadataValue], began: float, files: Path
) -> dg.MaterializeResult:
    """Return what every asset of the group reports. began: of its work, on the monotonic clock."""
    common: dict[str, dg.MetadataValue] = {
        "seconds": dg.MetadataValue.float(round(time.monotonic() - began, 2)),
        "digest": dg.MetadataValue.text(version),
        "files": dg.MetadataValue.path(str(files)),
    }
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version), metadata={**metadata, **common}
    )


def _preview(path: Path, width: int) -> dg.MetadataValue:
    with Image.open(path) as picture:
        return dg.MetadataValue.md(preview_markdown(picture.convert("RGB"), width))
