"""The LoRA under the names of kohya's sd-scripts, which ComfyUI, A1111 and most others read.

SD 1.5 keeps diffusers' module names there. SDXL has those of the original U-Net
(`input_blocks_4_1_...`), FLUX those of the original transformer, where one layer gives queries,
keys and values: the LoRAs of the three become one of three times the rank, block by block
(networks/lora_flux.py of sd-scripts, split_qkv). rsLoRA's scale alpha / sqrt(rank) is written as
the alpha that gives the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from avatar_pipeline import __version__
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.lora.original_names import FLUX_DOUBLE, FLUX_SINGLE, sgm_name
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.training.files import adapter_config, read, to_bytes
from avatar_pipeline.diffusion.training.noising import Prediction

# What sd-scripts writes for each family: ss_base_model_version, modelspec.architecture,
# modelspec.implementation, ss_network_module.
SDXL_CODE, FLUX_CODE = (
    "https://github.com/Stability-AI/generative-models",
    "https://github.com/black-forest-labs/flux",
)
IDENTITY = {
    "sd15": ("sd_v1", "stable-diffusion-v1/lora", "diffusers", "networks.lora"),
    "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", SDXL_CODE, "networks.lora"),
    "flux-dev": ("flux1", "flux-1-dev/lora", FLUX_CODE, "networks.lora_flux"),
    "flux-schnell": ("flux1", "flux-1-schnell/lora", FLUX_CODE, "networks.lora_flux"),
}
MLP_WIDTH = 4  # rows of proj_mlp, in widths of the model
# sd-scripts' library/sai_model_spec.py, which has no word for rectified flow and leaves the field
# out for FLUX.
PREDICTION_TYPES: dict[Prediction, str] = {"epsilon": "epsilon", "v_prediction": "v"}

Layer = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # down, up, DoRA's magnitudes


@dataclass(frozen=True)
class LoraFacts:
    """What a LoRA was trained on. actor, trigger: who it shows, and the word that calls for them.
    captions: one for each picture. class_pictures: how many. seed: of the training. step: the one
    that was kept.
    """

    actor: str
    trigger: str
    captions: Sequence[str]
    class_pictures: int
    seed: int
    step: int


def kohya_file(
    weights: bytes, preset: Preset, layers_per_block: int, notes: Mapping[str, str]
) -> bytes | None:
    """Return the file in kohya's format, from a LoRA in diffusers' format.

    layers_per_block: of the U-Net. notes: further metadata, as `training_notes` gives it.
    None for what the format cannot hold: DoRA on FLUX, whose fused layers would need magnitudes for
    rows that were not trained, and FLUX layers beyond attention and feed-forward ones.
    """
    tensors, metadata = read(weights)
    config = adapter_config(metadata)
    if preset.family == "flux" and config["use_dora"]:
        return None
    layers = _layers(tensors)
    rank = config["r"]
    alpha = config["lora_alpha"] * (math.sqrt(rank) if config["use_rslora"] else 1.0)
    if preset.family == "flux":
        named, left_out = _flux(layers, rank)
        if left_out:
            return None
    elif preset.family == "sdxl":
        named = {sgm_name(name, layers_per_block, layers): layer for name, layer in layers.items()}
    else:
        named = layers
    found: dict[str, torch.Tensor] = {}
    for name, (down, up, magnitudes) in named.items():
        key = "lora_unet_" + name.replace(".", "_")
        found[f"{key}.lora_down.weight"], found[f"{key}.lora_up.weight"] = (
            down.contiguous(),
            up.contiguous(),
        )
        found[f"{key}.alpha"] = torch.tensor(alpha * len(down) / rank, dtype=torch.float32)
        if magnitudes is not None:
            # one for each row of the output
            found[f"{key}.dora_scale"] = magnitudes.reshape(-1, *[1] * (up.ndim - 1))
    data = to_bytes(found, {})
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    about = {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha), "sshs_model_hash": digest}
    return to_bytes(
        found, {"format": "pt", **notes, **about, "modelspec.hash_sha256": f"0x{digest}"}
    )


def training_notes(
    preset: Preset,
    prediction: Prediction,
    hyperparameters: LoraHyperparameters,
    facts: LoraFacts,
) -> dict[str, str]:
    """Return the `ss_*` and `modelspec.*` metadata that other programs show or go by. prediction:
    what the base model predicts.

    modelspec.date and ss_training_started_at are left out: the same training shall give the same
    bytes; the manifest has the time.
    """
    base = f"avatar-pipeline-{preset.name}"
    version, architecture, implementation, module = IDENTITY.get(
        preset.name, (base, f"{base}/lora", "diffusers", "networks.lora")
    )
    # As sd-scripts counts tags: by training folder, which it names {repeats}_{subject}, the
    # captions taken apart at the commas.
    tags = Counter(
        tag.strip() for caption in facts.captions for tag in caption.split(",") if tag.strip()
    )
    folder = f"1_{facts.actor}"
    switches = {"rslora": hyperparameters.use_rslora, "use_dora": hyperparameters.use_dora}
    arguments = {name: "True" for name, on in switches.items() if on}
    passes = hyperparameters.gradient_accumulation_steps
    notes = {
        "ss_network_module": module,
        "ss_network_args": json.dumps(
            arguments | ({"use_dora": "True"} if hyperparameters.use_dora else {})
        ),
        "ss_base_model_version": version,
        "ss_sd_model_name": preset.model_id,
        "ss_v2": "False",
        "ss_output_name": facts.actor,
        "ss_num_train_images": str(len(facts.captions)),
        "ss_num_reg_images": str(facts.class_pictures),
        "ss_prior_loss_weight": str(hyperparameters.prior_loss_weight),
        "ss_learning_rate": str(hyperparameters.learning_rate),
        "ss_optimizer": hyperparameters.optimizer,
        "ss_lr_scheduler": "cosine",
        "ss_max_train_steps": str(hyperparameters.max_train_steps),
        "ss_steps": str(facts.step),
        "ss_seed": str(facts.seed),
        "ss_total_batch_size": str(
            hyperparameters.batch_size * hyperparameters.gradient_accumulation_steps
        ),
        "ss_gradient_accumulation_steps": str(passes),
        "ss_gradient_checkpointing": str(hyperparameters.gradient_checkpointing),
        "ss_min_snr_gamma": str(hyperparameters.snr_gamma or None),
        "ss_caption_dropout_rate": str(hyperparameters.caption_dropout),
        "ss_resolution": str((preset.width, preset.height)),
        "ss_enable_bucket": "True",
        "ss_tag_frequency": json.dumps({folder: dict(sorted(tags.items()))}),
        "ss_dataset_dirs": json.dumps({folder: {"n_repeats": 1, "img_count": len(facts.captions)}}),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": implementation,
        "modelspec.implementation_version": f"avatar_pipeline/{__version__}",
        "modelspec.title": facts.actor,
        "modelspec.resolution": f"{preset.width}x{preset.height}",
        "modelspec.trigger_phrase": facts.trigger,
        "modelspec.license": preset.licence,
    }
    kind = PREDICTION_TYPES.get(prediction)
    return {**notes, "modelspec.prediction_type": kind} if kind else notes


def _layers(tensors: Mapping[str, torch.Tensor]) -> dict[str, Layer]:
    """Return the LoRA's layers by diffusers' module names, the pipeline's part left out."""
    found: dict[str, Layer] = {}
    for key, down in tensors.items():
        if key.endswith(".lora_A.weight"):
            whole = key.removesuffix(".lora_A.weight")
            name = whole.partition(".")[2]
            found[name] = (
                down,
                tensors[f"{whole}.lora_B.weight"],
                tensors.get(f"{whole}.lora_magnitude_vector"),
            )
    return found


def _flux(layers: Mapping[str, Layer], rank: int) -> tuple[dict[str, Layer], set[str]]:
    """Return the layers by the original transformer's names, and those of ours that have no place
    there.
    """
    found: dict[str, Layer] = {}
    left_out = set(layers)
    for name, layer in layers.items():
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", name)
        single = re.fullmatch(r"single_transformer_blocks\.(\d+)\.attn\.to_q", name)
        width = len(layer[1])
        if single:
            start = f"single_transformer_blocks.{single[1]}"
            rows = (width, width, width, MLP_WIDTH * width)
            names = [f"{start}.{part}" for part in FLUX_SINGLE]
            found[f"single_blocks.{single[1]}.linear1"] = _fused(
                [layers.get(part) for part in names], rows, rank
            )
            left_out.difference_update(names)
        elif block:
            for original, members in FLUX_DOUBLE.items():
                if block[2] == members[0]:
                    names = [f"transformer_blocks.{block[1]}.{part}" for part in members]
                    found[f"double_blocks.{block[1]}.{original}"] = _fused(
                        [layers.get(part) for part in names], (width,) * len(names), rank
                    )
                    left_out.difference_update(names)
        elif name.startswith("single_transformer_blocks.") and name.endswith(".proj_out"):
            found[f"single_blocks.{name.split('.')[1]}.linear2"] = layer
            left_out.discard(name)
    return found, left_out


def _fused(parts: Sequence[Layer | None], rows: Sequence[int], rank: int) -> Layer:
    """Return one layer for several that share their input: downs one below the other, ups along the
    diagonal, zeros for a missing one.
    """
    first = next(part for part in parts if part is not None)
    if len(parts) == 1:
        return first
    down = torch.cat([part[0] if part else torch.zeros_like(first[0]) for part in parts])
    up = torch.zeros(sum(rows), rank * len(parts), dtype=first[1].dtype)
    top = 0
    for index, (part, height) in enumerate(zip(parts, rows, strict=True)):
        if part:
            up[top : top + height, index * rank : (index + 1) * rank] = part[1]
        top += height
    return down, up, None
