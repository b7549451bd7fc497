"""Model families and their defaults: one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatar_pipeline.errors import ModelError
from avatar_pipeline.provenance.digests import digest_files, sha256_file

EMBEDDED_MODEL = Path(__file__).parents[1] / "embedded" / "model"


@dataclass(frozen=True)
class Preset:
    """Everything that differs between base models.

    `sizes` gives the width and height in pixels at which each framing is drawn; `width` and `height` are those of a head shot.
    `head_inter_eye` (share of the width) and `head_eye_y` (share of the height) say where the model draws the eyes of
    a head shot. Training draws its noise levels from a logit-normal of `timestep_mean` and `timestep_spread`, and the share
    `timestep_uniform` of them evenly. `lora_*` are the defaults for 10-20 photographs; in the face the loss counts `lora_face_weight`
    times as much as around it. `identity_adapter` is the model folder's IP-Adapter of the FaceID kind, and `identity_analyzer`
    the analyzer whose embeddings it reads; both are empty where there is none.
    """

    name: str
    model: Path
    model_id: str
    revision: str
    licence: str
    sizes: dict[str, tuple[int, int]]
    size_multiple: int
    largest: int
    steps: int
    guidance_scale: float
    head_inter_eye: float
    head_eye_y: float
    lora_rank: int
    lora_alpha: int
    lora_learning_rate: float
    lora_steps: int
    lora_face_weight: float
    lora_batch_size: int
    lora_targets: tuple[str, ...]
    timestep_mean: float
    timestep_spread: float
    timestep_uniform: float
    identity_adapter: str
    identity_analyzer: str

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


PRESETS: dict[str, Preset] = {
    "embedded": Preset(
        name="embedded",
        model=EMBEDDED_MODEL,
        model_id="avatar_pipeline/embedded",
        revision="1",
        licence="MIT (weights trained by this project on openpeople, MIT, synthetic people only)",
        sizes={"headshot": (512, 512), "half_body": (512, 768), "full_body": (512, 768)},
        size_multiple=64,  # 16 for the latents times 4 for the U-Net's two halvings
        largest=768,
        steps=12,
        guidance_scale=3.0,
        head_inter_eye=104 / 512,
        head_eye_y=240 / 512,
        lora_rank=16,
        lora_alpha=16,
        lora_learning_rate=2e-3,
        lora_steps=500,
        lora_batch_size=4,
        lora_face_weight=3.0,
        # A small base has little to say about a new face in its attention alone: its convolutions learn along.
        lora_targets=("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "conv1", "conv2", "conv_shortcut"),
        timestep_mean=1.5,
        timestep_spread=1.3,
        timestep_uniform=0.3,
        identity_adapter="ip_adapter/ip_adapter.safetensors",
        identity_analyzer="dlib",
    ),
}


def get_preset(name: str) -> Preset:
    """The preset called `name`. Raises ModelError naming the ones that exist."""
    if name not in PRESETS:
        raise ModelError(f"preset {name!r} does not exist. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


def check_model_folder(folder: Path) -> None:
    """Raise ModelError when `folder` is not a complete diffusers pipeline folder."""
    if not folder.is_dir():
        raise ModelError(
            f"the model folder {folder} does not exist. Give the folder of a diffusers pipeline, "
            "or leave `model` empty to use the preset's own."
        )
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"{folder} is not a diffusers pipeline: it has no model_index.json. Save one there with pipeline.save_pretrained()."
        )
    for part in ("unet", "vae", "text_encoder"):
        if not list((folder / part).glob("*.safetensors")):
            raise ModelError(f"{folder} lacks the weights of its {part}: no .safetensors file in {folder / part}.")


def model_sha256(folder: Path) -> str:
    """sha256 over the names and contents of a model folder's files; within a process an unchanged file is read only once.

    Raises ModelError when the folder is not a complete pipeline.
    """
    check_model_folder(folder)
    return digest_files({p.relative_to(folder).as_posix(): sha256_file(p) for p in folder.rglob("*") if p.is_file()})
