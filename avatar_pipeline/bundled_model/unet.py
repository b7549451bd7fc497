"""The embedded model's U-Net, and its face-identity input in the form of an IP-Adapter."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import (
    IPAdapterFaceIDImageProjection,
    MultiIPAdapterImageProjection,
)

from avatar_pipeline.bundled_model.text_encoder import HIDDEN

LATENT_CHANNELS = 80
EMBEDDING = 128  # numbers in dlib's face embedding
# What diffusers' IP-Adapter loader expects of an adapter of the FaceID kind.
IDENTITY_TOKENS = 4
PROJECTION_WIDTH = 2  # of the hidden layer, in EMBEDDINGs


def make_unet() -> UNet2DConditionModel:
    """Return the untrained U-Net: 11 million parameters. Attention starts at 16x16: at 32x32 it
    would take half of the time.
    """
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(128, 160, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=HIDDEN,
        attention_head_dim=8,
        norm_num_groups=16,
        # The pooled prompt also steers every layer, through the timestep embedding. Cross-attention
        # alone had learned nothing of the prompt after 1000 steps.
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def add_identity(unet: UNet2DConditionModel) -> None:
    """Give `unet` an untrained identity input in place: a projection of (N, 1, 128) embeddings,
    read by every cross-attention.

    It is trained on standardised embeddings: dlib's share most of their length, and what tells
    people apart is 0.04 a number.
    """
    projection = IPAdapterFaceIDImageProjection(
        EMBEDDING, HIDDEN, PROJECTION_WIDTH, IDENTITY_TOKENS
    )
    processors: dict[str, Any] = {}
    for name in unet.attn_processors:
        if name.endswith("attn1.processor"):
            processors[name] = AttnProcessor2_0()
        else:
            attention = unet.get_submodule(name.removesuffix(".processor"))
            processors[name] = IPAdapterAttnProcessor2_0(
                attention.to_k.out_features, HIDDEN, num_tokens=(IDENTITY_TOKENS,), scale=1.0
            )
    unet.set_attn_processor(processors)
    unet.encoder_hid_proj = MultiIPAdapterImageProjection([projection])
    unet.register_to_config(encoder_hid_dim_type="ip_image_proj")


def fold_standardisation(unet: UNet2DConditionModel, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Let an identity input that was trained on (embedding - mean) / std, both (128,), take the
    embedding itself, in place.
    """
    projection: Any = unet.encoder_hid_proj
    first = projection.image_projection_layers[0].ff.net[0].proj
    with torch.no_grad():
        first.weight /= std.to(first.weight)
        first.bias -= first.weight @ mean.to(first.weight)


def identity_scale(unet: UNet2DConditionModel, scale: float) -> None:
    """Set how strongly the identity acts; 0 switches it off entirely."""
    for processor in unet.attn_processors.values():
        if isinstance(processor, IPAdapterAttnProcessor2_0):
            processor.scale = [scale]


def split(
    state: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the weights of the plain U-Net, and those of the identity input under the names of
    IP-Adapter FaceID's own files.

    The U-Net loads the latter through diffusers' `load_ip_adapter`: attention layers are numbered
    1, 3, 5, ... in the U-Net's order.
    """
    names = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2", "norm": "norm"}
    plain, adapter, layers = {}, {}, []
    for key, value in state.items():
        if key.startswith("encoder_hid_proj."):
            part = key.removeprefix("encoder_hid_proj.image_projection_layers.0.")
            layer, _, kind = part.rpartition(".")
            adapter[f"image_proj.{names[layer]}.{kind}"] = value
        elif ".processor." in key:
            layer, _, rest = key.partition(".processor.")
            if layer not in layers:
                layers.append(layer)
            adapter[f"ip_adapter.{2 * layers.index(layer) + 1}.{rest.replace('.0.', '.')}"] = value
        else:
            plain[key] = value
    return plain, adapter
