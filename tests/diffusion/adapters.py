"""Identity adapters of random weights, for any U-Net: they steer a picture, if not to a person."""

from pathlib import Path

EMBEDDING = 128  # numbers that dlib gives
TOKENS = 4


def write_adapter(file: Path, unet_folder: Path, seed: int = 0) -> None:
    """An IP-Adapter in FaceID form for the U-Net whose config.json lies in `unet_folder`."""
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(seed)
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(unet_folder))
    words = unet.config.cross_attention_dim
    shapes = {
        "image_proj.proj.0.weight": (2 * EMBEDDING, EMBEDDING),
        "image_proj.proj.0.bias": (2 * EMBEDDING,),
        "image_proj.proj.2.weight": (TOKENS * words, 2 * EMBEDDING),
        "image_proj.proj.2.bias": (TOKENS * words,),
        "image_proj.norm.weight": (words,),
        "image_proj.norm.bias": (words,),
    }
    # Keys count the attention layers in the U-Net's order; the odd ones are those that attend to words.
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            width = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            shapes |= {f"ip_adapter.{number}.{part}.weight": (width, words) for part in ("to_k_ip", "to_v_ip")}
    file.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: torch.randn(shape, generator=random) / shape[-1] ** 0.5 for key, shape in shapes.items()}
    save_file({key: value.half() for key, value in weights.items()}, file)
