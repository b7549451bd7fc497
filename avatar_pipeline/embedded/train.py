"""Train the embedded model from nothing: `python -m avatar_pipeline.embedded.train --build build/embedded`.

Steps: dataset (pictures -> latents), autoencoder (decoder), denoiser (U-Net and text encoder), export (the pipeline folder that ships).
Each leaves its result in the build folder; `--only` runs one of them, and an interrupted denoiser resumes.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

from avatar_pipeline.embedded import dataset, text, train_autoencoder, train_denoiser
from avatar_pipeline.embedded.augment import vary
from avatar_pipeline.embedded.autoencoder import PatchAutoencoder
from avatar_pipeline.embedded.people import HELD_OUT
from avatar_pipeline.faces.dlib_analyzer import DlibAnalyzer

SEED = 2026
VARIATIONS = 6  # of each picture: two plain (mirrored or not), four with other light or walls
FLOW_SHIFT = 3.0
MODEL = Path(__file__).parent / "model"


def build_dataset(build: Path) -> None:
    """Pictures, morphs, linear code and latents; a contact sheet to look at."""
    analyzer = DlibAnalyzer()
    samples = dataset.photographs(analyzer)
    mixtures = list(dataset.morphs(samples, SEED))
    held_out = np.stack([sample.image for sample in dataset.photographs(analyzer, HELD_OUT)])
    np.save(build / "held_out.npy", held_out)
    np.save(build / "photographs.npy", np.stack([sample.image for sample in samples]))
    code = train_autoencoder.linear_code(np.stack([sample.image for sample in samples]), SEED)
    code.save_pretrained(build / "linear_code")
    print(
        f"{len(samples)} photographs, {len(mixtures)} morphs; linear code {train_autoencoder.psnr(code, held_out):.2f} dB on {HELD_OUT}"
    )

    rng = random.Random(SEED)
    latents, inside, people, shows, weights, tiles = [], [], [], [], [], []
    # Photographs and morphs are drawn equally often, however many there are of each.
    shares = {id(group): 1 / sum(sample.weight for sample in group) for group in (samples, mixtures)}
    for group in (samples, mixtures):
        for sample in group:
            for number in range(VARIATIONS):
                varied = vary(sample, rng, plain=number < 2)
                with torch.no_grad():
                    latents.append(code.encoder(train_autoencoder.to_tensor(varied.image[None]))[0].half())
                inside.append(torch.from_numpy(np.ascontiguousarray(varied.inside)))
                people.append(varied.person)
                shows.append(varied.shows)
                weights.append(sample.weight * shares[id(group)])
                if rng.random() < 0.02:
                    tiles.append(varied.image[::4, ::4])
    torch.save(
        train_denoiser.Latents(torch.stack(latents), torch.stack(inside), people, shows, torch.tensor(weights)),
        build / "latents.pt",
    )
    rows = [np.hstack(tiles[i : i + 12]) for i in range(0, len(tiles) - 11, 12)]
    Image.fromarray(np.vstack(rows)).save(build / "dataset.png")


def build_autoencoder(build: Path, steps: int) -> None:
    """The decoder's residual network, trained on the photographs."""
    model = PatchAutoencoder.from_pretrained(build / "linear_code")
    pictures = np.load(build / "photographs.npy")
    history = train_autoencoder.train_decoder(model, pictures, steps, SEED, np.load(build / "held_out.npy")[::3])
    (build / "decoder_history.json").write_text(json.dumps(history, indent=1))
    model.save_pretrained(build / "autoencoder")


def build_denoiser(build: Path, steps: int) -> None:
    """U-Net and text encoder."""
    torch.manual_seed(SEED)
    tokenizer = text.make_tokenizer(SEED)
    text_encoder = text.make_text_encoder(tokenizer)
    unet = train_denoiser.make_unet()
    data = torch.load(build / "latents.pt", weights_only=False)
    train_denoiser.train(data, tokenizer, text_encoder, unet, steps, SEED, build)


def export(build: Path, model: Path) -> None:
    """Write the folder that `StableDiffusionPipeline.from_pretrained` loads, in half precision, from the newest checkpoint."""
    tokenizer = text.make_tokenizer(SEED)
    text_encoder = text.make_text_encoder(tokenizer)
    unet = train_denoiser.make_unet()
    step = train_denoiser.load_average(build / "denoiser.pt", unet, text_encoder)
    trained = build / "autoencoder"
    pipeline = StableDiffusionPipeline(
        vae=PatchAutoencoder.from_pretrained(trained if trained.exists() else build / "linear_code"),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        # A flow shift of 3 spends half of the steps above t = 0.75, where the prompt decides (train_denoiser.TIMESTEP_MEAN).
        scheduler=DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT, solver_order=2
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(model, safe_serialization=True)
    print(f"step {step} -> {model}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/embedded"), help="folder of the intermediate results")
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the finished pipeline")
    parser.add_argument("--decoder-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=7000, help="denoiser steps in all")
    parser.add_argument("--only", choices=["dataset", "autoencoder", "denoiser", "export"])
    arguments = parser.parse_args()
    arguments.build.mkdir(parents=True, exist_ok=True)
    jobs = {
        "dataset": lambda: build_dataset(arguments.build),
        "denoiser": lambda: build_denoiser(arguments.build, arguments.steps),
        "autoencoder": lambda: build_autoencoder(arguments.build, arguments.decoder_steps),
        "export": lambda: export(arguments.build, arguments.model),
    }
    for name, job in jobs.items():
        if arguments.only in (None, name):
            job()


if __name__ == "__main__":
    main()
