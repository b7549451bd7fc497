"""The metadata of a LoRA that other programs show or go by: sd-scripts' `ss_*` and Stability's
`modelspec.*`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from avatar_pipeline import __version__
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.training.noising import Prediction

# What other trainers write for each model: ss_base_model_version, modelspec.architecture,
# modelspec.implementation, ss_network_module. sd-scripts for the first four; musubi-tuner at
# 30c658c4 for the others (utils/sai_model_spec.py, dataset/architectures.py, docs/flux_2.md,
# docs/zimage.md, docs/qwen_image.md).
SDXL_CODE, FLUX_CODE, FLUX2_CODE = (
    "https://github.com/Stability-AI/generative-models",
    "https://github.com/black-forest-labs/flux",
    "https://github.com/black-forest-labs/flux2",
)
Z_IMAGE_CODE, QWEN_IMAGE_CODE = (
    "https://github.com/Tongyi-MAI/Z-Image",
    "https://github.com/QwenLM/Qwen-Image",
)
FLUX2_MODULE = "networks.lora_flux_2"
IDENTITY = {
    "sd15": ("sd_v1", "stable-diffusion-v1/lora", "diffusers", "networks.lora"),
    "sdxl": ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", SDXL_CODE, "networks.lora"),
    "flux-dev": ("flux1", "flux-1-dev/lora", FLUX_CODE, "networks.lora_flux"),
    "flux-schnell": ("flux1", "flux-1-schnell/lora", FLUX_CODE, "networks.lora_flux"),
    "flux2-klein": ("flux_2_klein_4b", "Flux.2-klein-4b/lora", FLUX2_CODE, FLUX2_MODULE),
    "flux2-klein-9b": ("flux_2_klein_9b", "Flux.2-klein-9b/lora", FLUX2_CODE, FLUX2_MODULE),
    "z-image": ("z_image", "Z-Image/lora", Z_IMAGE_CODE, "networks.lora_zimage"),
    "qwen-image": ("qwen_image", "Qwen-Image/lora", QWEN_IMAGE_CODE, "networks.lora_qwen_image"),
}
# sd-scripts' library/sai_model_spec.py, which has no word for rectified flow and leaves the field
# out for FLUX.
PREDICTION_TYPES: dict[Prediction, str] = {"epsilon": "epsilon", "v_prediction": "v"}


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
