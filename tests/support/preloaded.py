"""What the programs of support/warm.py find imported already."""

from __future__ import annotations

from avatar_pipeline.core.importing import importing

with importing():
    import dagster  # noqa: F401
    import peft  # noqa: F401
    from diffusers import StableDiffusionPipeline  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import avatar_pipeline.definitions
    import avatar_pipeline.diffusion.session
    import avatar_pipeline.diffusion.training.loop  # noqa: F401
