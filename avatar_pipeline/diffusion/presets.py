"""Model families and their defaults: one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters
from avatar_pipeline.diffusion.preset_types import Preset, TrainingBase

EMBEDDED_MODEL = Path(__file__).parents[1] / "bundled_model" / "model"

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FLUX_SIZES = {"headshot": (1024, 1024), "half_body": (1024, 1536), "full_body": (1024, 1536)}
FLUX_PARTS = {
    "transformer": 11_901.0,
    "text_encoder": 123.0,
    "text_encoder_2": 4_762.0,
    "vae": 84.0,
}
# Attention of both streams, of image and of words. diffusers' FLUX script trains the four
# feed-forward layers of the double blocks too. They are left out: they would be another 1.17
# million parameters a rank beside 1.63, to learn 10-20 photographs by, and nothing was measured
# here that would speak for them. lora_targets takes them by name: ff.net.0.proj, ff.net.2,
# ff_context.net.0.proj ...
FLUX_TARGETS = (*ATTENTION, "add_k_proj", "add_q_proj", "add_v_proj", "to_add_out")

# Sizes, steps, sampler and guidance of the Base Image Generation API; ComfyUI shifts FLUX.1-dev by
# a constant 1.15.
FLUX_DEV = Preset(
    name="flux-dev",
    family="flux",
    model="black-forest-labs/FLUX.1-dev",
    model_id="black-forest-labs/FLUX.1-dev",
    revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
    licence="FLUX.1 [dev] Non-Commercial License",
    accept="non-commercial use only: "
    "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    parameters=FLUX_PARTS,
    sizes=FLUX_SIZES,
    size_multiple=16,  # 8 for the latents times 2 for the tokens
    largest=2048,
    scheduler="euler_simple",
    flow_shift=1.15,
    steps=25,
    guidance_scale=3.5,
    lora=LoraHyperparameters(
        rank=16,
        alpha=16,
        learning_rate=1e-4,
        max_train_steps=1200,
        batch_size=1,
        targets=FLUX_TARGETS,
        ema=0.99,
        timestep_uniform=0.0,
    ),
    identity_adapter="ip_adapter/ip_adapter.safetensors",
)

KLEIN_BASE_4B = TrainingBase(
    model="black-forest-labs/FLUX.2-klein-base-4B",
    model_id="black-forest-labs/FLUX.2-klein-base-4B",
    revision="a3b4f4849157f664bdbc776fd7453c2783562f4d",
    steps=50,
    guidance_scale=4.0,
)
KLEIN_4B = Preset(
    name="flux2-klein",
    family="flux2",
    model="black-forest-labs/FLUX.2-klein-4B",
    model_id="black-forest-labs/FLUX.2-klein-4B",
    revision="e7b7dc27f91deacad38e78976d1f2b499d76a294",
    licence="Apache-2.0 (text encoder Qwen3-4B: Apache-2.0)",
    parameters={"transformer": 3_876.0, "text_encoder": 4_022.0, "vae": 84.0},
    sizes=FLUX_SIZES,
    size_multiple=16,
    largest=2048,
    steps=4,
    guidance_scale=1.0,
    lora=LoraHyperparameters(
        rank=16,
        alpha=16,
        learning_rate=1e-4,
        max_train_steps=1200,
        batch_size=1,
        # Attention of both streams; in the blocks of one stream a layer gives queries, keys, values
        # and the feed-forward layer, as diffusers' train_dreambooth_lora_flux2_klein.py has it.
        targets=(*FLUX_TARGETS, "to_qkv_mlp_proj", "attn.to_out"),
        ema=0.99,
        timestep_uniform=0.0,
    ),
    base=KLEIN_BASE_4B,
    draw_with="distilled",
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="embedded",
            family="sd",
            model=str(EMBEDDED_MODEL),
            model_id="avatar_pipeline/embedded",
            revision="1",
            licence="MIT (weights trained by this project on openpeople, MIT, synthetic people "
            "only)",
            parameters={"unet": 11.3, "text_encoder": 0.8, "vae": 2.5},
            sizes={"headshot": (512, 512), "half_body": (512, 768), "full_body": (512, 768)},
            size_multiple=64,  # 16 for the latents times 4 for the U-Net's two halvings
            largest=768,
            steps=12,
            guidance_scale=3.0,
            lora=LoraHyperparameters(
                rank=16,
                alpha=16,
                learning_rate=2e-3,
                max_train_steps=250,
                batch_size=4,
                ema=0.95,
                evaluate_every=50,
                # A small base has little to say about a new face in its attention alone: its
                # convolutions learn along.
                targets=(
                    "to_q",
                    "to_k",
                    "to_v",
                    "to_out.0",
                    "proj_in",
                    "proj_out",
                    "conv1",
                    "conv2",
                    "conv_shortcut",
                ),
                face_weight=3.0,
                timestep_mean=1.5,
                timestep_spread=1.3,
                timestep_uniform=0.3,
            ),
            identity_adapter="ip_adapter/ip_adapter.safetensors",
            identity_analyzer="dlib",
            # beyond about 2 faces grow too strong: an id_weight of 2 still draws a person, 3 is too
            # much
            identity_unit=0.8,
        ),
        Preset(
            name="sd15",
            family="sd",
            model="stable-diffusion-v1-5/stable-diffusion-v1-5",
            model_id="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            licence="CreativeML Open RAIL-M (commercial use allowed, with use restrictions)",
            parameters={"unet": 860.0, "text_encoder": 123.0, "vae": 84.0},
            sizes={"headshot": (512, 512), "half_body": (512, 768), "full_body": (512, 768)},
            size_multiple=64,  # 8 for the latents times 8 for the U-Net's three halvings
            largest=1024,
            scheduler="dpmpp_2m_karras",
            steps=25,
            guidance_scale=7.0,
            lora=LoraHyperparameters(
                rank=16,
                alpha=16,
                learning_rate=1e-4,
                max_train_steps=800,
                batch_size=4,
                targets=ATTENTION,
                snr_gamma=5.0,
            ),
            identity_adapter="ip_adapter/ip-adapter-faceid_sd15.safetensors",
            identity_analyzer="insightface",
        ),
        Preset(
            name="sdxl",
            family="sdxl",
            model="stabilityai/stable-diffusion-xl-base-1.0",
            model_id="stabilityai/stable-diffusion-xl-base-1.0",
            revision="462165984030d82259a11f4367a4eed129e94a7b",
            licence="CreativeML Open RAIL++-M (commercial use allowed, with use restrictions)",
            parameters={
                "unet": 2_567.0,
                "text_encoder": 123.0,
                "text_encoder_2": 695.0,
                "vae": 84.0,
            },
            sizes={"headshot": (1024, 1024), "half_body": (832, 1216), "full_body": (832, 1216)},
            size_multiple=32,  # 8 for the latents times 4 for the U-Net's two halvings
            largest=1536,
            scheduler="dpmpp_2m_karras",
            steps=30,
            guidance_scale=6.0,
            lora=LoraHyperparameters(
                rank=32,
                alpha=32,
                learning_rate=1e-4,
                max_train_steps=1200,
                batch_size=4,
                targets=ATTENTION,
                snr_gamma=5.0,
            ),
            identity_adapter="ip_adapter/ip-adapter-faceid_sdxl.safetensors",
            identity_analyzer="insightface",
        ),
        FLUX_DEV,
        # Steps and guidance of the face-migration API. schnell is distilled from guidance and has
        # no input for it: the number is accepted and changes nothing.
        replace(
            FLUX_DEV,
            name="flux-schnell",
            model="black-forest-labs/FLUX.1-schnell",
            model_id="black-forest-labs/FLUX.1-schnell",
            revision="741f7c3ce8b383c54771c7003378a50191e9efe9",
            licence="Apache-2.0",
            accept="",
            flow_shift=0.0,
            steps=4,
            guidance_scale=4.0,
        ),
        KLEIN_4B,
        replace(
            KLEIN_4B,
            name="flux2-klein-9b",
            model="black-forest-labs/FLUX.2-klein-9B",
            model_id="black-forest-labs/FLUX.2-klein-9B",
            revision="92196c8e11f7b6cf2b7493e037d8c5345c559216",
            licence="FLUX Non-Commercial License (text encoder Qwen3-8B: Apache-2.0)",
            accept="non-commercial use only: "
            "https://huggingface.co/black-forest-labs/FLUX.2-klein-9B/blob/main/LICENSE.md",
            parameters={"transformer": 9_079.0, "text_encoder": 8_191.0, "vae": 84.0},
            base=replace(
                KLEIN_BASE_4B,
                model="black-forest-labs/FLUX.2-klein-base-9B",
                model_id="black-forest-labs/FLUX.2-klein-base-9B",
                revision="32773329fbe7e81a90ef971740e8ba4b0364ecf3",
            ),
        ),
        Preset(
            name="z-image",
            family="z_image",
            model="Tongyi-MAI/Z-Image-Turbo",
            model_id="Tongyi-MAI/Z-Image-Turbo",
            revision="f332072aa78be7aecdf3ee76d5c247082da564a6",
            licence="Apache-2.0 (text encoder Qwen3-4B: Apache-2.0)",
            parameters={"transformer": 6_155.0, "text_encoder": 4_022.0, "vae": 84.0},
            sizes=FLUX_SIZES,
            size_multiple=16,
            largest=2048,
            steps=8,
            guidance_scale=1.0,
            lora=LoraHyperparameters(
                rank=16,
                alpha=16,
                learning_rate=1e-4,
                max_train_steps=1500,
                batch_size=1,
                targets=ATTENTION,
                ema=0.99,
                timestep_uniform=0.0,
            ),
            base=TrainingBase(
                model="Tongyi-MAI/Z-Image",
                model_id="Tongyi-MAI/Z-Image",
                revision="04cc4abb7c5069926f75c9bfde9ef43d49423021",
                steps=50,
                guidance_scale=5.0,  # what diffusers' pipeline of the family calls 4
            ),
            draw_with="distilled",
        ),
        Preset(
            name="qwen-image",
            family="qwen_image",
            model="Qwen/Qwen-Image-2512",
            model_id="Qwen/Qwen-Image-2512",
            revision="25468b98e3276ca6700de15c6628e51b7de54a26",
            licence="Apache-2.0 (text encoder Qwen2.5-VL-7B: Apache-2.0)",
            parameters={"transformer": 20_430.0, "text_encoder": 8_292.0, "vae": 127.0},
            sizes={
                "headshot": (1328, 1328),
                "half_body": (1104, 1472),
                "full_body": (928, 1664),
            },
            size_multiple=16,
            largest=2048,
            steps=50,
            guidance_scale=4.0,
            lora=LoraHyperparameters(
                rank=16,
                alpha=16,
                learning_rate=1e-4,
                max_train_steps=1500,
                batch_size=1,
                targets=FLUX_TARGETS,
                ema=0.99,
                timestep_uniform=0.0,
            ),
        ),
    )
}


def is_pinned(preset: Preset) -> bool:
    """Return whether the preset's model and commit are one of the table's."""
    table = PRESETS.get(preset.name)
    if table is None:
        return False
    pinned = [(table.model, table.revision)]
    pinned += [(table.base.model, table.base.revision)] if table.base else []
    return (preset.model, preset.revision) in pinned


def get_preset(name: str) -> Preset:
    """Return the preset called `name`. Raises ModelError naming the ones that exist."""
    if name not in PRESETS:
        raise ModelError(f"preset {name!r} does not exist. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]
