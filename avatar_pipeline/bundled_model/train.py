"""Train the embedded model from nothing: `python -m avatar_pipeline.bundled_model.train --build
build/bundled_model`.

Steps: dataset (pictures), autoencoder, text (the text encoder), denoiser (latents, U-Net and
identity input), decoder (refined on the denoiser's latents), export (the pipeline folder that
ships). Each leaves its result in the build folder; the first three are not done again when it is
there, `--only` runs one step again, and an interrupted denoiser resumes. With an NVIDIA card the
denoiser trains there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

from avatar_pipeline.bundled_model import (
    dataset,
    images,
    latents,
    refine_decoder,
    train_autoencoder,
    train_denoiser,
    train_text,
    unet,
)
from avatar_pipeline.bundled_model import text_encoder as text
from avatar_pipeline.bundled_model.build_folder import DENOISER_INPUTS, prepare_denoiser, version_of
from avatar_pipeline.bundled_model.captions import Picture
from avatar_pipeline.bundled_model.latents import Latents
from avatar_pipeline.bundled_model.people_attributes import HELD_OUT, Person
from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.faces.analyzers.dlib import DlibAnalyzer

SEED = 2026
# A flow shift of 3 spends half of the steps above t = 0.75, where the prompt decides
# (train_denoiser.TIMESTEP_MEAN).
FLOW_SHIFT = 3.0
MODEL = Path(__file__).parent / "model"
AUTOENCODER_STEPS, TEXT_STEPS, DENOISER_STEPS, DECODER_STEPS = 3600, 800, 9500, 1000
DECODER_SEED = 1
ADAPTER = get_preset("embedded").identity_adapter


def build_dataset(build: Path) -> None:
    """Build the training pictures, with a contact sheet to look at."""
    images.make_pictures(DlibAnalyzer(), build / "dataset", SEED)


def build_autoencoder(build: Path, steps: int = AUTOENCODER_STEPS) -> None:
    """Train the patch code and its decoder on the photographs and scored on people it never saw."""
    heads = np.stack(
        [sample.image for sample in images.read_pictures(build / "dataset")["photographs"]]
    )
    held_out = np.stack([sample.image for sample in dataset.photographs(DlibAnalyzer(), HELD_OUT)])
    model = train_autoencoder.linear_code(heads, SEED)
    whole = train_autoencoder.whole_pictures()
    history = train_autoencoder.train_autoencoder(model, heads, whole, steps, SEED, held_out[::3])
    (build / "autoencoder_history.json").write_text(json.dumps(history, indent=1))
    model.save_pretrained(build / "autoencoder")


def build_text(build: Path, steps: int = TEXT_STEPS) -> None:
    """Build tokenizer and text encoder."""
    torch.manual_seed(SEED)
    tokenizer = text.make_tokenizer(SEED)
    encoder = text.make_text_encoder(tokenizer)
    train_text.train_text(tokenizer, encoder, steps, SEED, build / "text_history.jsonl")
    # Kept, and not made again: of two pairs that are equally frequent, the library merges either
    # first, from run to run.
    tokenizer.save_pretrained(build / "tokenizer")
    encoder.save_pretrained(build / "text_encoder")


def build_latents(build: Path) -> dict[str, Latents]:
    """Return latents of the training pictures and their variations; kept in latents.pt."""
    kept = build / "latents.pt"
    if kept.exists():
        return {
            size: _latents(entry) for size, entry in torch.load(kept, weights_only=True).items()
        }
    groups = images.read_pictures(build / "dataset")
    code = PatchAutoencoder.from_pretrained(build / "autoencoder")
    data = {
        size: latents.encode([(share, groups[name]) for name, share in shares.items()], code, SEED)
        for size, shares in images.SIZES.items()
    }
    torch.save({size: _plain(entry) for size, entry in data.items()}, kept)
    return data


def build_denoiser(build: Path, steps: int = DENOISER_STEPS) -> str:
    """Train U-Net and identity input. Tells what was set aside of a training on other inputs; empty
    when nothing was.
    """
    notice = prepare_denoiser(build, {name: version_of(build, name) for name in DENOISER_INPUTS})
    torch.manual_seed(SEED)
    network = unet.make_unet()
    unet.add_identity(network)
    encoder = CLIPTextModel.from_pretrained(build / "text_encoder")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    train_denoiser.train(
        build_latents(build), _tokenizer(build), encoder, network, steps, SEED, build
    )
    return notice


def build_decoder(build: Path, steps: int = DECODER_STEPS) -> None:
    """Train the decoder once more, on latents as the finished denoiser predicts them; needs the
    denoiser.
    """
    groups, rng = images.read_pictures(build / "dataset"), random.Random(DECODER_SEED)
    picked = [
        *groups["photographs"] * 2,
        *rng.sample(groups["morphs"], min(150, len(groups["morphs"]))),
        *rng.sample(groups["turned"], min(80, len(groups["turned"]))),
        *groups["bodies"] * 2,
    ]
    plain, _ = unet.split(_averaged(build).state_dict())
    network = unet.make_unet()
    network.load_state_dict(plain)
    network.to(memory_format=torch.channels_last)
    first, refined = (PatchAutoencoder.from_pretrained(build / "autoencoder") for _ in range(2))
    words = (_tokenizer(build), CLIPTextModel.from_pretrained(build / "text_encoder"))
    triples = refine_decoder.predicted_latents(picked, first, network, *words, DECODER_SEED)
    held_out = np.stack([sample.image for sample in dataset.photographs(DlibAnalyzer(), HELD_OUT)])
    history = refine_decoder.refine(refined, triples, steps, DECODER_SEED, held_out[::4])
    refine_decoder.blend(first, refined)
    (build / "decoder_history.json").write_text(json.dumps(history, indent=1))
    refined.save_pretrained(build / "decoder")


def export(build: Path, model: Path = MODEL) -> None:
    """Write the folder that `StableDiffusionPipeline.from_pretrained` loads, in half precision,
    from the newest checkpoint.
    """
    plain, adapter = unet.split(_averaged(build).state_dict())
    network = unet.make_unet()
    network.load_state_dict(plain)
    pipeline = StableDiffusionPipeline(
        vae=PatchAutoencoder.from_pretrained(build / "decoder"),
        text_encoder=CLIPTextModel.from_pretrained(build / "text_encoder"),
        tokenizer=_tokenizer(build),
        unet=network,
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=FLOW_SHIFT,
            solver_order=2,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    # diffusers would write the build folder's path into the model
    pipeline.vae.register_to_config(_name_or_path="")
    pipeline.save_pretrained(model, safe_serialization=True)
    (model / ADAPTER).parent.mkdir(exist_ok=True)
    save_file(
        {key: value.detach().half().contiguous() for key, value in adapter.items()}, model / ADAPTER
    )
    print(f"-> {model}")


def _tokenizer(build: Path) -> CLIPTokenizer:
    """Return the tokenizer that the text encoder was trained with."""
    return CLIPTokenizer.from_pretrained(build / "tokenizer")


def _averaged(build: Path) -> UNet2DConditionModel:
    """Return the newest checkpoint's averaged U-Net, with its identity input."""
    network = unet.make_unet()
    unet.add_identity(network)
    step = train_denoiser.load_average(build / "denoiser.pt", network)
    print(f"denoiser: step {step}")
    return network


def _plain(data: Latents) -> dict[str, object]:
    """Return latents as tensors, lists and dictionaries, which load without running code."""
    entry = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    return {
        **entry,
        "people": [dataclasses.asdict(p) for p in data.people],
        "shows": [dataclasses.asdict(s) for s in data.shows],
    }


def _latents(entry: dict[str, object]) -> Latents:
    people, shows = (entry[key] for key in ("people", "shows"))
    return Latents(
        **{  # type: ignore[arg-type]
            **entry,
            "people": [Person(**fields) for fields in people],  # type: ignore[attr-defined]
            "shows": [Picture(**fields) for fields in shows],  # type: ignore[attr-defined]
        }
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--build",
        type=Path,
        default=Path("build/bundled_model"),
        help="folder of the intermediate results",
    )
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the finished pipeline")
    parser.add_argument("--steps", type=int, default=DENOISER_STEPS, help="denoiser steps in all")
    parser.add_argument(
        "--only", choices=["dataset", "autoencoder", "text", "denoiser", "decoder", "export"]
    )
    arguments = parser.parse_args()
    build: Path = arguments.build
    build.mkdir(parents=True, exist_ok=True)
    jobs: dict[str, tuple[Path | None, Callable[[], None]]] = {
        "dataset": (build / "dataset" / "dataset.json", lambda: build_dataset(build)),
        "autoencoder": (build / "autoencoder" / "config.json", lambda: build_autoencoder(build)),
        "text": (build / "text_encoder" / "config.json", lambda: build_text(build)),
        "denoiser": (None, lambda: print(build_denoiser(build, arguments.steps))),
        "decoder": (None, lambda: build_decoder(build)),  # of the denoiser as it is now
        "export": (None, lambda: export(build, arguments.model)),
    }
    for name, (result, job) in jobs.items():
        if arguments.only == name or (arguments.only is None and not (result and result.exists())):
            print(f"-- {name}", flush=True)
            job()


if __name__ == "__main__":
    main()
