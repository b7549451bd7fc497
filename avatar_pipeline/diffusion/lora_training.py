"""Teach a session's U-Net one person: LoRA by rectified flow on cached latents and text embeddings."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from avatar_pipeline.diffusion.presets import Preset
from avatar_pipeline.diffusion.session import ADAPTER, GpuSession
from avatar_pipeline.errors import GenerationError, ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Hyperparameters:
    """How a LoRA is trained.

    steps: optimizer steps. evaluate_every: steps between evaluations, the last step being one too. face_weight: how many times as
    much the loss counts in the face as around it.
    """

    rank: int
    alpha: int
    learning_rate: float
    steps: int
    batch_size: int
    targets: tuple[str, ...]
    evaluate_every: int
    caption_dropout: float
    face_weight: float


@dataclass(frozen=True)
class LoraDataset:
    """latents: (N, C, h, w) float32. captions: (N, T, D) float32 text embeddings. empty: (1, T, D), of the empty caption."""

    latents: torch.Tensor
    captions: torch.Tensor
    empty: torch.Tensor


def encode_dataset(session: GpuSession, images: Sequence[Image.Image], captions: Sequence[str]) -> LoraDataset:
    """Latents and text embeddings of a training set, computed once: training needs neither autoencoder nor text encoder."""
    import torch

    pipeline: Any = session.pipeline
    vae = pipeline.vae
    latents = []
    with torch.no_grad():
        for image in images:
            pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
            encoded = vae.encode(pixels.to(vae.device, vae.dtype))
            code = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
            latents.append(code.float() * vae.config.scaling_factor)
        words = [pipeline.encode_prompt(text, vae.device, 1, False)[0].float() for text in (*captions, "")]
    return LoraDataset(torch.cat(latents), torch.cat(words[:-1]), words[-1])


def face_weights(preset: Preset, height: int, width: int, weight: float) -> torch.Tensor:
    """(height, width) weights of a framed head's latent cells in the loss, 1 on average: those of the face have `weight` times the others'.

    The face is where the preset frames heads: an ellipse from the hairline to the chin, in inter-eye distances 1.15 to each side, and 1.15
    above to 2.25 below the eyes.
    """
    import torch

    between = preset.head_inter_eye * width
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    down = (y - preset.head_eye_y * height) / between - 0.55
    face = ((x - width / 2) / between / 1.15) ** 2 + (down / 1.7) ** 2 < 1
    weights = torch.where(face, weight, 1.0)
    return weights / weights.mean()


def train_lora(
    session: GpuSession,
    dataset: LoraDataset,
    settings: Hyperparameters,
    seed: int,
    on_step: Callable[[int, float], None],
    evaluate: Callable[[int], float],
) -> bytes:
    """Train a LoRA and return the safetensors file of its best evaluation.

    on_step is told (step, loss) after each step. evaluate draws with the LoRA as it is and returns its score, lower is better; it is
    called every `evaluate_every` steps. The same arguments give the same bytes on the same device.
    Raises ModelError for a base model that was not trained by rectified flow, and GenerationError when training diverges.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    pipeline: Any = session.pipeline
    if pipeline.scheduler.config.prediction_type != "flow_prediction":
        raise ModelError(
            f"the model in {session.model} predicts {pipeline.scheduler.config.prediction_type!r}; LoRA training knows 'flow_prediction' "
            "so far. Use the preset embedded."
        )
    unet = pipeline.unet
    parameters = _add_adapter(unet, settings, seed)
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4)
    random = torch.Generator("cpu").manual_seed(seed)
    device = session.device
    height, width = dataset.latents.shape[2:]
    weight = face_weights(session.preset, height, width, settings.face_weight).to(dataset.latents.device)
    order = _epochs(len(dataset.latents), settings.batch_size * settings.steps, random)
    best_score, best = float("inf"), b""
    try:
        for step in range(1, settings.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * _rate(step, settings.steps)
            picks = order[(step - 1) * settings.batch_size : step * settings.batch_size]
            clean, words = dataset.latents[picks], dataset.captions[picks].clone()
            words[torch.rand(len(picks), generator=random) < settings.caption_dropout] = dataset.empty[0]
            noise = torch.randn(clean.shape, generator=random).to(clean.device)
            logits = torch.randn(len(picks), generator=random) * session.preset.timestep_spread + session.preset.timestep_mean
            evenly = torch.rand(len(picks), generator=random) < session.preset.timestep_uniform
            t = torch.where(evenly, torch.rand(len(picks), generator=random), torch.sigmoid(logits)).to(clean.device)
            mixed = torch.lerp(clean, noise, t[:, None, None, None]).contiguous(memory_format=torch.channels_last)
            # On a CPU the fused attention's gradient works through many tiny products: the plain one is a third faster, in training only.
            attention = sdpa_kernel(SDPBackend.MATH) if device.kind == "cpu" else nullcontext()
            with attention, torch.autocast(device.kind, device.autocast) if device.autocast else nullcontext():
                prediction = unet(mixed.to(unet.dtype), t * 1000, words.to(unet.dtype)).sample
            loss = ((prediction.float() - (noise - clean)).pow(2) * weight).mean()
            if not torch.isfinite(loss):
                raise GenerationError(f"LoRA training diverged at step {step}: the loss is not a number. Lower learning_rate.")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            on_step(step, loss.item())
            if step % settings.evaluate_every == 0 or step == settings.steps:
                score = evaluate(step)
                if score < best_score or not best:
                    best_score, best = score, save_adapter(pipeline)
    finally:
        unet.delete_adapters(ADAPTER)
    return best


def save_adapter(pipeline: Any) -> bytes:
    """The active LoRA as a safetensors file in diffusers' format.

    Its metadata holds rank and alpha: without them a LoRA whose alpha differs from its rank is loaded too strong or too weak.
    """
    from peft.utils import get_peft_model_state_dict

    weights = {
        name: value.detach().to("cpu").contiguous()
        for name, value in get_peft_model_state_dict(pipeline.unet, adapter_name=ADAPTER).items()
    }
    metadata = pipeline.unet.peft_config[ADAPTER].to_dict()
    # Sets have another order in each process; a file's bytes must not depend on it.
    metadata = {key: sorted(value) if isinstance(value, set) else value for key, value in metadata.items()}
    with tempfile.TemporaryDirectory() as folder:
        pipeline.save_lora_weights(
            folder, unet_lora_layers=weights, weight_name="lora.safetensors", unet_lora_adapter_metadata=metadata
        )
        return _sorted_header((Path(folder) / "lora.safetensors").read_bytes())


def _sorted_header(data: bytes) -> bytes:
    """The same safetensors file with its header's keys in alphabetical order.

    The library keeps metadata in a hash map and writes them in another order each time: the same LoRA would have two digests.
    A file is the header's length (8 bytes, little endian), the header (JSON, padded with spaces to a multiple of 8), the tensors;
    offsets count from the end of the header, so that it may change its length.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _add_adapter(unet: Any, settings: Hyperparameters, seed: int) -> list[Any]:
    """Add a fresh LoRA to the U-Net and return its weights, in float32."""
    import torch
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    unet.requires_grad_(False)
    torch.manual_seed(seed)  # PEFT draws the initial weights from the global generator
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, init_lora_weights="gaussian", target_modules=list(settings.targets)
    )
    unet.add_adapter(config, adapter_name=ADAPTER)
    cast_training_params(unet, dtype=torch.float32)
    unet.to(memory_format=torch.channels_last)  # the fresh weights too: a tenth of the time on a CPU
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def _epochs(count: int, wanted: int, random: torch.Generator) -> torch.Tensor:
    """`wanted` indices below `count`: each picture once before any comes again."""
    import torch

    return torch.cat([torch.randperm(count, generator=random) for _ in range(-(-wanted // count))])[:wanted]


def _rate(step: int, steps: int) -> float:
    """Learning rate factor: ten steps of warm-up, then a cosine to a tenth."""
    return min(1.0, step / 10) * (0.55 + 0.45 * float(np.cos(np.pi * step / steps)))
