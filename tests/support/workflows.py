"""ComfyUI workflows in API format, small and of real node classes: FLUX and SDXL, with what a test
changes.
"""

from __future__ import annotations

from typing import Any

Nodes = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node; a link is a list of another node's id and the number of its output."""
    return {"class_type": kind, "inputs": inputs}


def flux(changes: Nodes | None = None, **inputs: dict[str, Any]) -> Nodes:
    """FLUX.1-dev as the editor exports it: node 4 weights, 5 size, 6 text, 7 zeros, 8 guidance, 9
    sampler, 10 decode, 11 save. changes: nodes put in their place or added. inputs: changed inputs
    of node 6 as n6=..., and so on.
    """
    sampling = {"sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    links = {"positive": ["8", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    nodes = {
        "4": node("CheckpointLoaderSimple", ckpt_name="flux1-dev-fp8.safetensors"),
        "5": node("EmptySD3LatentImage", width=1024, height=1024, batch_size=1),
        "6": node("CLIPTextEncode", text="x", clip=["4", 1]),
        "7": node("ConditioningZeroOut", conditioning=["6", 0]),
        "8": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
        "9": node("KSampler", seed=0, steps=20, cfg=1.0, model=["4", 0], **sampling, **links),
        "10": node("VAEDecode", samples=["9", 0], vae=["4", 2]),
        "11": node("SaveImage", filename_prefix="f", images=["10", 0]),
    }
    return _changed(nodes, changes, inputs)


def sdxl(changes: Nodes | None = None, **inputs: dict[str, Any]) -> Nodes:
    """SDXL with its own encoders and an advanced sampler: 1 weights, 2 prompt, 3 negative, 4 size,
    5 sampler, 6 decode, 7 save.
    """
    sizes = {"width": 4096, "height": 4096, "target_width": 1024, "target_height": 1024}
    crop = {"crop_w": 0, "crop_h": 0}
    span = {"start_at_step": 0, "end_at_step": 20, "return_with_leftover_noise": "disable"}
    links = {"positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    sampling = {"add_noise": "enable", "sampler_name": "euler", "scheduler": "normal"}
    nodes = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": node("CLIPTextEncodeSDXL", text_g="x", text_l="y", clip=["1", 1], **sizes, **crop),
        "3": node("CLIPTextEncode", text="blurred", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=1024, height=1024, batch_size=4),
        "5": node(
            "KSamplerAdvanced",
            noise_seed=0,
            steps=20,
            cfg=7.5,
            model=["1", 0],
            **span,
            **sampling,
            **links,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", filename_prefix="sdxl/%date:yyyy%_me", images=["6", 0]),
    }
    return _changed(nodes, changes, inputs)


def _changed(nodes: Nodes, changes: Nodes | None, inputs: dict[str, dict[str, Any]]) -> Nodes:
    nodes |= changes or {}
    for name, changed in inputs.items():
        nodes[name[1:]]["inputs"] |= changed
    return nodes
