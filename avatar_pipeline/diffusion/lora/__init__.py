"""LoRA files: what kind they are and for which model, and put into a pipeline, whole or not at all.

`applied` is the way in. A file is read by its header (header, bases), its tensors are put together
to layers whatever program named them (keys, layers), each layer finds its module (modules), and
PEFT's layers compute it there (insert).
"""

from avatar_pipeline.diffusion.lora.applied import applied, check_lora
from avatar_pipeline.diffusion.lora.header import ADAPTER

__all__ = ["ADAPTER", "applied", "check_lora"]
