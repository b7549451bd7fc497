"""The bytes of a LoRA file depend on the LoRA alone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load, save

from avatar_pipeline.diffusion.training.files import sorted_header


def test_the_same_lora_has_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3, dtype=torch.float16)}
    metadata = {name: name * 3 for name in "abcdefgh"}
    written = [save(tensors, metadata) for _ in range(20)]
    assert len(set(written)) > 1, "the library has become deterministic: sorted_header can go"
    (canonical,) = {sorted_header(data) for data in written}
    loaded = load(canonical)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())
    (tmp_path / "x.safetensors").write_bytes(canonical)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == metadata
