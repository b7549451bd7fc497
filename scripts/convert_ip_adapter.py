"""Turn a published IP-Adapter, a PyTorch pickle (.bin), into safetensors: `python
scripts/convert_ip_adapter.py IN.bin OUT.safetensors`.

The pickle is read by torch's restricted unpickler, which knows tensors and containers and runs no
code. The FaceID adapters for SD 1.5 and SDXL (h94/IP-Adapter-FaceID) come so; what lies in the
folder of a model is read from safetensors only.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save_file

GROUPS = ("image_proj", "ip_adapter")


def convert(source: Path, target: Path) -> int:
    """Write `target`, whole or not at all; returns how many tensors. Raises ValueError when
    `source` is no IP-Adapter.
    """
    try:
        weights = torch.load(source, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{source} is no PyTorch file of plain tensors: {str(error).splitlines()[0]}"
        ) from None
    if not isinstance(weights, dict) or set(weights) != set(GROUPS):
        raise ValueError(
            f"{source} is no IP-Adapter: it must hold {' and '.join(GROUPS)}, and nothing else."
        )
    flat = {
        f"{group}.{name}": tensor.contiguous()
        for group in GROUPS
        for name, tensor in weights[group].items()
    }
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    save_file(flat, beside)
    beside.replace(target)
    return len(flat)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", type=Path, help="the .bin file")
    parser.add_argument("target", type=Path, help="the .safetensors file to write")
    options = parser.parse_args()
    try:
        print(f"{options.target}: {convert(options.source, options.target)} tensors")
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
