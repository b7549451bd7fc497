"""Model families and their defaults: one table."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.families import FamilyName
from avatar_pipeline.diffusion.hyperparameters import LoraHyperparameters

EMBEDDED_MODEL = Path(__file__).parents[1] / "bundled_model" / "model"

# own: as the model's folder says. dpmpp_2m_karras: DPM-Solver++ 2M on Karras' noise levels.
# euler_simple: Euler steps of a flow model, noise levels evenly spaced and shifted by a constant,
# as ComfyUI's sampler "euler" with the scheduler "simple".
SchedulerName = Literal["own", "dpmpp_2m_karras", "euler_simple"]


@dataclass(frozen=True)
class Preset:
    """Everything that differs between base models.

    model: a diffusers folder, or a model id of the Hugging Face hub, of which `revision` is the
    commit. accept: what its licence asks a user to accept first; empty when there is nothing.
    parameters: millions of weights by part of the pipeline.
    scheduler, flow_shift: how noise levels are stepped through; flow_shift is the exponent mu of
    FLUX's time shift. `sizes` gives the width and height in pixels at which each framing is drawn;
    `width` and `height` are those of a head shot. `head_inter_eye` (share of the width) and
    `head_eye_y` (share of the height) say where the model draws the eyes of a head shot. `lora` is
    how a LoRA is trained on 10-20 photographs. `identity_adapter` is the model folder's IP-Adapter,
    and `identity_analyzer` the analyzer whose embeddings it reads; both are empty where there is
    none, the analyzer's name alone where any will do. `identity_unit` is the adapter's scale at an
    `id_weight` of 1.
    """

    name: str
    family: FamilyName
    model: str
    model_id: str
    revision: str
    licence: str
    parameters: dict[str, float]
    sizes: dict[str, tuple[int, int]]
    size_multiple: int
    largest: int
    steps: int
    guidance_scale: float
    lora: LoraHyperparameters
    accept: str = ""
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    scheduler: SchedulerName = "own"
    flow_shift: float = 0.0
    head_inter_eye: float = 104 / 512
    head_eye_y: float = 240 / 512
    identity_adapter: str = ""
    identity_analyzer: str = ""
    identity_unit: float = 1.0

    @property
    def framings(self) -> tuple[str, ...]:
        """The framings that the model can draw."""
        return tuple(self.sizes)

    @property
    def width(self) -> int:
        """Width of a head shot in pixels."""
        return self.sizes["headshot"][0]

    @property
    def height(self) -> int:
        """Height of a head shot in pixels."""
        return self.sizes["headshot"][1]


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
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset called `name`. Raises ModelError naming the ones that exist."""
    if name not in PRESETS:
        raise ModelError(f"preset {name!r} does not exist. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


HUB_ID = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")


def hub_id(model: str) -> str | None:
    """Return the hub id that `model` is, None when it is a folder: what exists, or what cannot be
    an OWNER/NAME.
    """
    found = None if Path(model).expanduser().is_dir() else HUB_ID.fullmatch(model)
    return found["id"] if found else None


def with_model(preset: Preset, model: str, revision: str | None = None) -> Preset:
    """Return the preset with other weights: a folder, or OWNER/NAME@REVISION of the hub.

    A manifest must not claim that a folder holds the preset's own weights, so its id becomes
    "local:" and the folder's name. Raises ModelError for a hub id without a revision: what it means
    could change between two runs.
    """
    name = hub_id(model)
    if name is None:
        folder = Path(model).expanduser()
        own = str(folder) == preset.model
        return (
            preset
            if own
            else replace(
                preset, model=str(folder), model_id=f"local:{folder.resolve().name}", revision=""
            )
        )
    found = HUB_ID.fullmatch(model)
    revision = (
        revision
        or (found["revision"] if found else None)
        or (preset.revision if name == preset.model_id else None)
    )
    if not revision:
        raise ModelError(
            f"the model {model!r} has no revision. Give a folder that exists, or "
            "OWNER/NAME@REVISION with a commit."
        )
    return replace(preset, model=name, model_id=name, revision=revision)
