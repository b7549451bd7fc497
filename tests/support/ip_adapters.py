"""Identity adapters of random weights, for any denoiser: they steer a picture, if not to a
person.
"""

from pathlib import Path
from typing import Any

EMBEDDING = 128  # numbers that dlib gives
INSIGHTFACE = 512
TOKENS = 4
RANK = 4  # of the LoRA that published FaceID files bring along


def write_adapter(
    file: Path, unet_folder: Path, seed: int = 0, embedding: int = EMBEDDING, lora: bool = False
) -> None:
    """An IP-Adapter in FaceID form for the U-Net whose config.json lies in `unet_folder`; with
    `lora`, as the published ones are.
    """
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(faceid_weights(unet_folder, seed, embedding, lora), file)


def faceid_weights(unet_folder: Path, seed: int, embedding: int, lora: bool) -> dict[str, Any]:
    """Its weights by the names they have in safetensors files."""
    import torch
    from diffusers import UNet2DConditionModel

    random = torch.Generator().manual_seed(seed)
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(unet_folder))
    words = unet.config.cross_attention_dim
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.proj.0.weight": (2 * embedding, embedding),
        "image_proj.proj.0.bias": (2 * embedding,),
        "image_proj.proj.2.weight": (TOKENS * words, 2 * embedding),
        "image_proj.proj.2.bias": (TOKENS * words,),
        "image_proj.norm.weight": (words,),
        "image_proj.norm.bias": (words,),
    }
    # Keys count the attention layers in the U-Net's order; the odd ones are those that attend to
    # words.
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        if name.endswith("attn2.processor"):
            width = attention.to_k.out_features
            shapes |= {
                f"ip_adapter.{number}.{part}.weight": (width, words)
                for part in ("to_k_ip", "to_v_ip")
            }
        if lora:
            for part, layer in (
                ("q", attention.to_q),
                ("k", attention.to_k),
                ("v", attention.to_v),
                ("out", attention.to_out[0]),
            ):
                shapes[f"ip_adapter.{number}.to_{part}_lora.down.weight"] = (
                    RANK,
                    layer.in_features,
                )
                shapes[f"ip_adapter.{number}.to_{part}_lora.up.weight"] = (layer.out_features, RANK)
    weights = {
        key: torch.randn(shape, generator=random) / shape[-1] ** 0.5
        for key, shape in shapes.items()
    }
    return {key: value.half() for key, value in weights.items()}


def write_flux_adapter(file: Path, transformer_folder: Path, seed: int = 0) -> None:
    """An IP-Adapter in XLabs' form for the transformer whose config.json lies in
    `transformer_folder`, its CLIP beside it.
    """
    import torch
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    random = torch.Generator().manual_seed(seed)
    config = FluxTransformer2DModel.load_config(transformer_folder)
    words, width = (
        config["joint_attention_dim"],
        config["attention_head_dim"] * config["num_attention_heads"],
    )
    projected = 24
    shapes: dict[str, tuple[int, ...]] = {
        "ip_adapter_proj_model.proj.weight": (TOKENS * words, projected),
        "ip_adapter_proj_model.proj.bias": (TOKENS * words,),
        "ip_adapter_proj_model.norm.weight": (words,),
        "ip_adapter_proj_model.norm.bias": (words,),
    }
    for number in range(config["num_layers"]):
        for part in ("k", "v"):
            name = f"double_blocks.{number}.processor.ip_adapter_double_stream_{part}_proj"
            shapes |= {f"{name}.weight": (width, words), f"{name}.bias": (width,)}
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            key: torch.randn(shape, generator=random) / shape[-1] ** 0.5
            for key, shape in shapes.items()
        },
        file,
    )
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
        projection_dim=projected,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(file.parent / "image_encoder")
