"""What our LoRA trainer and diffusers' own scripts are compared on, and their scripts' options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

PROMPT = "a photo of sks person"
SD_TARGETS = ("to_k", "to_q", "to_v", "to_out.0")  # those of their SD and SDXL scripts
# Of their FLUX script's default only the attention, on both sides (theirs: --lora_layers).
FLUX_TARGETS = tuple(
    f"attn.{name}" for name in (*SD_TARGETS, "add_k_proj", "add_q_proj", "add_v_proj", "to_add_out")
)
# their klein script's, without the second output layer, which it names block by block
KLEIN_TARGETS = (*SD_TARGETS, "to_qkv_mlp_proj")
TARGETS = {
    "sd15": SD_TARGETS,
    "sdxl": SD_TARGETS,
    "flux-dev": FLUX_TARGETS,
    "flux2-klein": KLEIN_TARGETS,
    "z-image": SD_TARGETS,
}
SCRIPTS = {
    "sd15": "train_dreambooth_lora.py",
    "sdxl": "train_dreambooth_lora_sdxl.py",
    "flux-dev": "train_dreambooth_lora_flux.py",
    "flux2-klein": "train_dreambooth_lora_flux2_klein.py",
    "z-image": "train_dreambooth_lora_z_image.py",
}
TINY = {  # presets by the names of their tiny models
    "tiny-sdxl": "sdxl",
    "tiny-flux": "flux-dev",
    "tiny-flux2": "flux2-klein",
    "tiny-z_image": "z-image",
}
FULL_SIZE = ("sdxl", "flux2-klein", "z-image", "flux-dev")
PADDED = {"flux2-klein", "z-image"}  # prompts are read to 512 tokens


@dataclass(frozen=True)
class Case:
    """What both sides train. model: a name that lora_models.build knows. script: theirs. theirs:
    whether they can do it at all.
    """

    model: str
    preset: str
    script: str
    side: int
    rank: int
    batch: int
    targets: tuple[str, ...]
    checkpointing: bool = False
    quantization: str = "none"
    compile: bool = False
    theirs: bool = True


def cases(arguments: argparse.Namespace) -> list[Case]:
    """What is asked for on the command line."""
    if arguments.middle:
        return [
            Case("middle-klein", "flux2-klein", SCRIPTS["flux2-klein"], 256, 16, 4, KLEIN_TARGETS),
            Case("middle-z-image", "z-image", SCRIPTS["z-image"], 256, 16, 4, SD_TARGETS),
        ]
    if arguments.tiny:
        return [
            Case(name, preset, SCRIPTS[preset], 64, 4, 2, TARGETS[preset], preset == "flux-dev")
            for name, preset in {"tiny-sd": "sd15", **TINY}.items()
            if preset in ("sd15", *arguments.model)
        ]
    if not arguments.gpu:
        return [Case("embedded", "sd15", SCRIPTS["sd15"], 512, 16, 4, SD_TARGETS)]
    found = []
    for name in arguments.model:  # each model is built once
        of = (name, name, SCRIPTS[name], 1024)
        for batch in arguments.batch:
            for rank in arguments.rank:
                large = batch > 1 and name != "sdxl"
                found.append(Case(*of, rank, batch, TARGETS[name], checkpointing=large))
        # What else the trainer can do, at one size: by its own memory and time.
        for more in (
            {"checkpointing": True},
            {"checkpointing": True, "quantization": "fp8"},
            {"compile": True},
        ):
            found.append(Case(*of, 16, 1, TARGETS[name], theirs=False, **more))
    return found


def their_arguments(case: Case, job: dict[str, Any]) -> list[str]:
    """Their script's options: all that makes it faster or smaller is on, text embeddings computed
    once among it.
    """
    found = {
        "pretrained_model_name_or_path": job["model"],
        "instance_data_dir": job["pictures"],
        "instance_prompt": PROMPT,
        "output_dir": job["output"],
        "resolution": case.side,
        "train_batch_size": case.batch,
        "max_train_steps": job["steps"],
        "rank": case.rank,
        "learning_rate": 1e-4,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 10,
        "checkpointing_steps": 1_000_000,
        "seed": 0,
        "mixed_precision": "bf16" if job["precision"] == "bfloat16" else "no",
    }
    switches = []
    if case.preset == "sd15":  # the other scripts compute text embeddings once by themselves
        switches.append("--pre_compute_text_embeddings")
    if case.preset == "flux-dev":
        found["guidance_scale"], found["max_sequence_length"] = 1, 512
        found["lora_layers"] = ",".join(case.targets)
        switches.append("--cache_latents")
    if case.preset in PADDED:
        found["max_sequence_length"] = 512
        found["lora_layers"] = ",".join(case.targets)
        switches += ["--cache_latents", "--skip_final_inference"]
    if case.preset == "flux2-klein":
        # of the text encoder's four layers, as 9, 18 and 27 of 36
        switches += ["--text_encoder_out_layers", "1", "2", "3"]
    if case.checkpointing:
        switches.append("--gradient_checkpointing")
    return [part for name, value in found.items() for part in (f"--{name}", str(value))] + switches
