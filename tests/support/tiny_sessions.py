"""Sessions of tiny pipelines, and of the embedded model, for tests that run over all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import PipelineSession, open_session
from tests.support import tiny_models

# Which tiny pipeline stands for which preset.
TINY = {
    "sd15": "sd",
    "sdxl": "sdxl",
    "flux-dev": "flux",
    "flux-schnell": "flux",
    "flux2-klein": "flux2",
    "z-image": "z_image",
    "qwen-image": "qwen_image",
}
SIZE = (256, 256)


def tiny_session(preset: str, folder: Path) -> PipelineSession:
    """A session of the preset whose model is a tiny pipeline, built in `folder`."""
    changes = {"guidance": False} if preset == "flux-schnell" else {}
    tiny_models.build(TINY[preset], folder, **changes)
    sizes = {"headshot": SIZE, "half_body": SIZE, "full_body": SIZE}
    small = replace(get_preset(preset), sizes=sizes, size_multiple=16)
    return open_session(small, "cpu", str(folder))
