"""diffusers' side: its plain pipelines as its documentation calls them, and a training step as its
examples/dreambooth scripts take it; of FLUX.2 klein and Z-Image, the scripts themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from avatar_pipeline.diffusion.families.flux2 import text_layers
from avatar_pipeline.diffusion.presets import get_preset
from benchmarks.device._case import (
    LORA_FILE,
    RANK,
    Case,
    Record,
    free,
    peak_gib,
    reset_peak,
    step_seconds,
    synchronize,
    timed,
    training_step,
)
from benchmarks.device._scripts import scripted


def measure(case: Case, folder: Path, record: Record) -> None:
    """All of their side, on the model and with the LoRA that ours left in `folder`."""
    from diffusers import DiffusionPipeline

    preset = get_preset(case.preset)
    dtype = torch.bfloat16 if case.device == "cuda" else torch.float32
    kept: dict[str, Any] = {}
    if case.scripted:  # first: the card is its own
        for batch in case.trained:
            record.take(
                f"training step, batch {batch}",
                lambda batch=batch: scripted(case, folder, batch, record.until),  # type: ignore[misc]
            )

    def loaded() -> dict[str, Any]:
        def load() -> None:
            kept["pipeline"] = DiffusionPipeline.from_pretrained(folder, dtype=dtype).to(
                case.device
            )
            kept["pipeline"].set_progress_bar_config(disable=True)

        return {"seconds": timed(case, load)}

    record.take("load", loaded)
    pipeline = kept.get("pipeline")
    if pipeline is None:
        return

    asked = own_arguments(case, pipeline)

    def drawing(batch: int) -> Callable[[int], object]:
        def draw(steps: int) -> object:
            return pipeline(
                prompt=case.prompts[:batch],
                width=case.side,
                height=case.side,
                num_inference_steps=steps,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(batch)],
                **asked,
            )

        return draw

    for batch in case.batches:
        record.take(
            f"step, batch {batch}",
            lambda batch=batch: step_seconds(case, drawing(batch)),  # type: ignore[misc]
            case.batch_seconds(batch),
        )
    steps = case.picture_steps or preset.steps

    def whole() -> dict[str, Any]:
        reset_peak(case.device)
        seconds = timed(case, lambda: drawing(1)(steps))
        return {"seconds": seconds, "gib": peak_gib(case.device)}

    record.take("picture", whole)
    weights = str(folder / LORA_FILE)

    def adapters() -> dict[str, Any]:
        pipeline.load_lora_weights(weights)
        return step_seconds(case, drawing(1)) | {"words": "as adapters"}

    def folded() -> dict[str, Any]:
        pipeline.fuse_lora()
        pipeline.unload_lora_weights()
        return step_seconds(case, drawing(1)) | {"words": "folded into the weights"}

    record.take("step with a LoRA, batch 1", adapters)
    record.take("step with a folded LoRA, batch 1", folded)
    if case.scripted:
        return
    for batch in case.trained:
        record.take(
            f"training step, batch {batch}",
            lambda batch=batch: trained(case, pipeline, batch, case.targets),  # type: ignore[misc]
        )


def own_arguments(case: Case, pipeline: Any) -> dict[str, Any]:
    """What a family's pipeline is called with beside prompt, size and steps. Z-Image's numbers of
    guidance are one less than ours.
    """
    scale = get_preset(case.preset).guidance_scale
    if case.preset == "z-image":
        return {"guidance_scale": scale - 1}
    if case.preset == "flux2-klein":
        return {"guidance_scale": scale, "text_encoder_out_layers": text_layers(pipeline)}
    return {"guidance_scale": scale}


def trained(case: Case, pipeline: Any, batch: int, targets: tuple[str, ...]) -> dict[str, Any]:
    """Steps as the scripts take them: text embeddings computed once; latents, too, by FLUX.1's
    (--cache_latents), at every step by SDXL's, whose autoencoder stays in float32.
    """
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    flux = case.preset == "flux-dev"
    denoiser = pipeline.transformer if flux else pipeline.unet
    pipeline.vae.to(torch.float32)
    denoiser.requires_grad_(False)
    if not getattr(denoiser, "peft_config", None):
        denoiser.add_adapter(
            LoraConfig(
                r=RANK,
                lora_alpha=RANK,
                init_lora_weights="gaussian",
                target_modules=list(targets),
            )
        )
    cast_training_params([denoiser], dtype=torch.float32)
    learning = [value for value in denoiser.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4)
    pixels = torch.rand(batch, 3, case.side, case.side, device=case.device) * 2 - 1
    with torch.no_grad():
        words = pipeline.encode_prompt(["a"] * batch, device=case.device)
        cached = encoded(pipeline, pixels)
    predict = flux_loss if flux else sdxl_loss
    denoiser.train()
    free()
    reset_peak(case.device)
    times = []
    for _ in range(case.training_steps):
        with torch.no_grad():
            clean = cached if flux else encoded(pipeline, pixels)
        with torch.autocast(case.device, torch.bfloat16, enabled=case.device == "cuda"):
            loss = predict(pipeline, denoiser, clean, words)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        synchronize(case.device)
        times.append(time.perf_counter())
    return training_step(times, batch, case.device)


def encoded(pipeline: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) latents of (N, 3, H, W) pixels."""
    latents = pipeline.vae.encode(pixels).latent_dist.sample()
    config = pipeline.vae.config
    return (latents - (config.shift_factor or 0)) * config.scaling_factor


def sdxl_loss(pipeline: Any, denoiser: Any, clean: torch.Tensor, words: Any) -> torch.Tensor:
    """Of the noise that the U-Net predicts."""
    embeds, _, pooled, _ = words
    count, side = clean.shape[0], clean.shape[-1] * 8
    noise = torch.randn_like(clean)
    steps = torch.randint(0, 1000, (count,), device=clean.device)
    frames = torch.tensor([[side, side, 0, 0, side, side]] * count, device=clean.device)
    predicted = denoiser(
        pipeline.scheduler.add_noise(clean, noise, steps),
        steps,
        embeds,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": frames},
        return_dict=False,
    )[0]
    return torch.nn.functional.mse_loss(predicted.float(), noise.float())


def flux_loss(pipeline: Any, denoiser: Any, clean: torch.Tensor, words: Any) -> torch.Tensor:
    """Of the velocity that the transformer predicts."""
    embeds, pooled, text_places = words
    count, channels, height, width = clean.shape
    noise = torch.randn_like(clean)
    share = torch.sigmoid(torch.randn(count, device=clean.device))
    wide = share.view(-1, 1, 1, 1)
    noisy = ((1 - wide) * clean + wide * noise).to(denoiser.dtype)
    places = pipeline._prepare_latent_image_ids(
        count, height // 2, width // 2, clean.device, denoiser.dtype
    )
    predicted = denoiser(
        hidden_states=pipeline._pack_latents(noisy, count, channels, height, width),
        timestep=share,
        guidance=torch.ones(count, device=clean.device),
        pooled_projections=pooled,
        encoder_hidden_states=embeds,
        txt_ids=text_places,
        img_ids=places,
        return_dict=False,
    )[0]
    velocity = pipeline._unpack_latents(predicted, height * 8, width * 8, vae_scale_factor=8)
    return torch.nn.functional.mse_loss(velocity.float(), (noise - clean).float())
