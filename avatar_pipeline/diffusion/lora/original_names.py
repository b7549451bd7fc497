"""The original U-Net's names of layers, which SDXL's LoRAs of kohya's sd-scripts, ComfyUI and most
others carry, for diffusers' names.

Stability's U-Net numbers its blocks through, with one more a level for the change of size.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Inside a ResNet block of the U-Net, by diffusers' names.
RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def sgm_name(name: str, layers_per_block: int, modules: Collection[str] = ()) -> str:
    """The original U-Net's name of a module that diffusers calls `name`; the same name where there
    is no other.

    modules: the names of all, which place the layers that enlarge: behind attention or not.
    """
    if name in OUTSIDE:
        return OUTSIDE[name]
    size = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv", name)
    if size:
        number = (int(size[2]) + 1) * (layers_per_block + 1)
        if size[1] == "down":
            return f"input_blocks.{number}.0.op"
        attention = any(one.startswith(f"up_blocks.{size[2]}.attentions.") for one in modules)
        return f"output_blocks.{number - 1}.{1 + attention}.conv"
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)", name)
    if found:
        way, block, kind, layer, inner = found.groups()
        number = int(block) * (layers_per_block + 1) + int(layer) + (way == "down")
        start = (
            f"{'input' if way == 'down' else 'output'}_blocks.{number}.{int(kind == 'attentions')}"
        )
    else:
        found = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", name)
        if not found:
            return name
        kind, layer, inner = found.groups()
        start = f"middle_block.{1 if kind == 'attentions' else 2 * int(layer)}"
    return f"{start}.{RESNET.get(inner, inner) if kind == 'resnets' else inner}"
