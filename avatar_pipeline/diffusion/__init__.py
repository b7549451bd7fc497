"""Making: presets, devices, loading, prompts, sampling, LoRA training."""
