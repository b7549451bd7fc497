"""Where a model's weights lie, whether they are complete, and which ones they are."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.model_choice import hub_id
from avatar_pipeline.diffusion.model_fit import (
    SAYS_DISTILLED,
    check_chat_template,
    check_distilled,
    check_size,
)
from avatar_pipeline.diffusion.preset_types import Preset

# The parts that each family's pipeline needs, and the names under which diffusers saves such
# pipelines.
PARTS: dict[FamilyName, tuple[str, ...]] = {
    "sd": ("unet", "vae", "text_encoder"),
    "sdxl": ("unet", "vae", "text_encoder", "text_encoder_2"),
    "flux": ("transformer", "vae", "text_encoder", "text_encoder_2"),
    "flux2": ("transformer", "vae", "text_encoder"),
    "z_image": ("transformer", "vae", "text_encoder"),
    "qwen_image": ("transformer", "vae", "text_encoder"),
}
SMALL_PARTS: dict[FamilyName, tuple[str, ...]] = {
    "sd": ("tokenizer", "scheduler"),
    "sdxl": ("tokenizer", "tokenizer_2", "scheduler"),
    "flux": ("tokenizer", "tokenizer_2", "scheduler"),
    "flux2": ("tokenizer", "scheduler"),
    "z_image": ("tokenizer", "scheduler"),
    "qwen_image": ("tokenizer", "scheduler"),
}
CLASSES: dict[str, FamilyName] = {
    "StableDiffusionPipeline": "sd",
    "StableDiffusionImg2ImgPipeline": "sd",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLImg2ImgPipeline": "sdxl",
    "FluxPipeline": "flux",
    "FluxImg2ImgPipeline": "flux",
    "Flux2KleinPipeline": "flux2",
    "ZImagePipeline": "z_image",
    "QwenImagePipeline": "qwen_image",
}
FAMILY_NAMES = {
    "sd": "Stable Diffusion 1.5",
    "sdxl": "SDXL",
    "flux": "FLUX.1",
    "flux2": "FLUX.2",
    "z_image": "Z-Image",
    "qwen_image": "Qwen-Image",
}
# what diffusers calls pipelines that a folder may be taken for one of ours by
OTHER_MODELS = {
    "Flux2Pipeline": "FLUX.2 dev",
    "Flux2KleinKVPipeline": "FLUX.2 klein KV",
    "Flux2KleinInpaintPipeline": "a FLUX.2 klein for inpainting",
    "ZImageOmniPipeline": "Z-Image-Omni",
    "QwenImageEditPipeline": "Qwen-Image-Edit",
    "QwenImageEditPlusPipeline": "Qwen-Image-Edit",
    "QwenImageLayeredPipeline": "Qwen-Image-Layered",
}
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
# configuration files, and what tokenizers are made of, the template of a chat included
READ_BY_TOKENIZERS = (".json", ".txt", ".model", ".jinja")


def locate_model(preset: Preset) -> Path:
    """The folder of a preset's weights: a folder as it is, or a hub id's snapshot in the Hugging
    Face cache. Downloads nothing.

    Raises ModelError when a hub id has not been fetched in its revision.
    """
    if hub_id(preset.model) is None:
        return Path(preset.model)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(preset.model, "model_index.json", revision=preset.revision)
    if not isinstance(found, str):
        base = " (the base, which its LoRAs are trained on)" if preset.draw_with == "base" else ""
        raise ModelError(
            f"the weights of preset {preset.name}{base} are missing: {preset.model} at revision "
            f"{preset.revision} is neither a folder nor in "
            f"the Hugging Face cache. Fetch them: avatar-pipeline fetch {preset.name}"
        )
    return Path(found).parent


def check_model_folder(folder: Path, preset: Preset | None = None) -> FamilyName:
    """Raise ModelError when `folder` is not a complete diffusers pipeline folder of the preset's
    family; any family when None.

    Reads the headers of the weights, not the weights. Returns the family.
    """
    index = read_index(folder)
    family = check_index(index, str(folder), "folder", preset)
    for part in (*PARTS[family], *SMALL_PARTS[family]):
        if not is_used(index, part) or not (folder / part).is_dir():
            what = f"the weights of its {part}" if part in PARTS[family] else f"its {part}"
            raise ModelError(
                f"{folder} lacks {what}: there is no folder {folder / part}. "
                f"{_remedy(folder, preset)}"
            )
    for files in weight_files(folder, family, preset).values():
        for file in files:
            check_safetensors(file, _remedy(folder, preset))
    check_chat_template(folder / "tokenizer", family, _remedy(folder, preset))
    if preset is not None and preset.base:
        check_size(count_parameters(folder, family), preset, folder)
    return family


def check_index(
    index: dict[str, Any], where: str, kind: str, preset: Preset | None = None
) -> FamilyName:
    """Return the family that model_index.json says. Raises ModelError for a pipeline that is none
    of ours, or not the preset's: of another family, or distilled where the base is wanted, or the
    other way round.

    where: the folder or hub id, which is a `kind`.
    """
    name = str(index.get("_class_name", "pipeline of no class"))
    family = CLASSES.get(name)
    if family is None:
        known = f", which is {OTHER_MODELS[name]}: another model" if name in OTHER_MODELS else ""
        raise ModelError(
            f"{where} holds a {name}{known}. Give the {kind} of one of: {', '.join(CLASSES)}."
        )
    if preset is None:
        return family
    if preset.family != family:
        raise ModelError(
            f"{where} is a {FAMILY_NAMES[family]} {kind}, and preset {preset.name} wants "
            f"{FAMILY_NAMES[preset.family]}. "
            f"Choose the preset of that family, or another {kind}."
        )
    if preset.base and family in SAYS_DISTILLED:
        check_distilled(index.get("is_distilled") is True, where, preset)
    return family


def read_index(folder: Path) -> dict[str, Any]:
    """The content of model_index.json. Raises ModelError when the folder is not a diffusers
    pipeline.
    """
    if not folder.is_dir():
        raise ModelError(
            f"the model folder {folder} does not exist. Give the folder of a diffusers pipeline, "
            "or leave `model` empty to use the preset's own."
        )
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        single = [
            file.name for file in folder.iterdir() if file.suffix in (".safetensors", *PICKLES)
        ]
        hint = (
            f" {single[0]} is a checkpoint in one file: load it with from_single_file() first."
            if single
            else ""
        )
        raise ModelError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json.{hint} Save one "
            "there with pipeline.save_pretrained()."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / 'model_index.json'} is damaged: {error}. Fetch or save the model again."
        ) from None
    if not isinstance(index, dict):
        raise ModelError(
            f"{folder / 'model_index.json'} is damaged: it holds no object. Fetch or "
            "save the model again."
        )
    return index


def weight_files(
    folder: Path, family: FamilyName, preset: Preset | None = None
) -> dict[str, list[Path]]:
    """By part, the safetensors files that are loaded. Raises ModelError for a part without any, and
    for a missing shard.
    """
    variant = variant_of(folder, family)
    files = {}
    for part in PARTS[family]:
        names = (
            [path.name for path in (folder / part).iterdir()] if (folder / part).is_dir() else []
        )
        chosen = choose_weights(names, variant) or choose_weights(names, "")
        if chosen is None:
            pickles = [name for name in names if name.endswith(PICKLES)]
            if pickles:
                raise ModelError(
                    f"{folder / part} has its weights only as a pickle ({pickles[0]}), which can "
                    "run any code when it is opened. "
                    "Convert it where you trust it: load it with diffusers' "
                    "from_pretrained(use_safetensors=False), and "
                    "save_pretrained(safe_serialization=True)."
                )
            raise ModelError(
                f"{folder} lacks the weights of its {part}: no .safetensors file in "
                f"{folder / part}. {_remedy(folder, preset)}"
            )
        files[part] = [folder / part / chosen]
        if chosen.endswith(".json"):
            shards = _shards(folder / part / chosen)
            files[part] = [folder / part / shard for shard in shards]
            if missing := [shard for shard in files[part] if not shard.is_file()]:
                raise ModelError(
                    f"{folder} lacks {len(missing)} of the {len(shards)} shards of its {part}: "
                    f"{missing[0]} is missing. "
                    f"{_remedy(folder, preset)}"
                )
    return files


def count_parameters(folder: Path, family: FamilyName) -> dict[str, float]:
    """Millions of weights by part, as the headers of the files say."""
    counted = {}
    for part, files in weight_files(folder, family).items():
        total = 0
        for file in files:
            with file.open("rb") as opened:
                header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
            total += sum(
                math.prod(entry["shape"])
                for name, entry in header.items()
                if name != "__metadata__"
            )
        counted[part] = total / 1e6
    return counted


def variant_of(folder: Path, family: FamilyName) -> str:
    """ ".fp16" when some part lies there in half precision only, else "" (the originals)."""
    for part in PARTS[family]:
        names = (
            [path.name for path in (folder / part).iterdir()] if (folder / part).is_dir() else []
        )
        if choose_weights(names, "") is None and choose_weights(names, ".fp16"):
            return ".fp16"
    return ""


def choose_weights(names: Sequence[str], variant: str) -> str | None:
    """Which of a part's files holds its weights in this variant: one safetensors file, or the index
    of its shards.
    """
    suffix = variant.lstrip(".")
    for stem in ("diffusion_pytorch_model", "model"):
        for name in (
            f"{stem}{variant}.safetensors",
            f"{stem}.safetensors.index{f'.{suffix}' if suffix else ''}.json",
            f"{stem}{variant}.safetensors.index.json",
        ):
            if name in names:
                return name
    return None


def check_safetensors(file: Path, remedy: str) -> None:
    """Raise ModelError when a safetensors file is cut off or has no readable header. Reads the
    header only.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if 8 < length <= size - 8 else None
        if not isinstance(header, dict):
            raise ValueError("it has no safetensors header")
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes, and its header promises {8 + length + end}")
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelError(f"{file} is damaged: {error}. {remedy}") from None


def _shards(index: Path) -> list[str]:
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(shard).name != shard for shard in shards):
            raise ValueError("it names files of other folders")
        return shards
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{index} is damaged: {error}. Fetch or save the model again.") from None


def is_used(index: dict[str, Any], part: str) -> bool:
    """Return whether a pipeline has this part: its entry is a pair of library and class. Parts
    that we leave out do not count.
    """
    entry = index.get(part)
    return (
        isinstance(entry, list) and len(entry) == 2 and entry[1] is not None and part not in UNUSED
    )


# The safety checker and what serves it: see PipelineSession.pipeline for why it is left out.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")


def _remedy(folder: Path, preset: Preset | None) -> str:
    if preset is not None and hub_id(preset.model):
        return f"Fetch it again: avatar-pipeline fetch {preset.name}"
    return "Copy or save the model again."
