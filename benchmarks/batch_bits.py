"""Whether a picture has the same bits whatever is drawn beside it: the embedded model's U-Net.

    python -m benchmarks.batch_bits [--threads 2]

For each size in latents and each precision: in which numbers of rows (two a picture with guidance)
every row is, to the bit, as it is in two rows; and whether its place and its neighbours matter at
one number of rows. `diffusion/batches.py` draws together what this shows to be the same. Exit code
1 when the preset's own sizes are not.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext

import torch

from avatar_pipeline.diffusion.precision import autocast
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.session import open_session
from avatar_pipeline.diffusion.text_encoding import encode
from benchmarks._common import machine

ROWS = 16
COUNTS = (4, 6, 8, 10, 12, 14, 16)
SIDES = ((16, 16), (20, 20), (32, 16), (24, 24), (32, 24), (32, 28), (36, 36), (48, 40), (48, 48))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    session = open_session(get_preset("embedded"), "cpu")
    unet = session.pipeline.unet.eval()
    own = [(height // 16, width // 16) for width, height in session.preset.sizes.values()]
    words = encode(session, "headshot portrait of a person")["prompt_embeds"]
    random = torch.Generator().manual_seed(1)
    texts = words + 0.01 * torch.randn(ROWS, *words.shape[1:], generator=random)
    print(machine(), f"{torch.get_num_threads()} threads")
    print(
        "| latents | precision | as in two rows | place and neighbours matter |\n|---|---|---|---|"
    )
    faults = 0
    for side in dict.fromkeys([*own, *SIDES]):
        noise = torch.randn(ROWS, unet.config.in_channels, *side, generator=random)
        for precision in ("bfloat16", "float32"):
            if precision == "bfloat16" and not session.device.autocast:
                continue

            def rows(
                places: list[int], precision: str = precision, noise: torch.Tensor = noise
            ) -> torch.Tensor:
                lower = autocast(session) if precision == "bfloat16" else nullcontext()
                with torch.no_grad(), lower:
                    out = unet(noise[places], torch.tensor(500), texts[places], return_dict=False)
                return out[0].float()

            two = torch.cat([rows([place, place + 1]) for place in range(0, ROWS, 2)])
            same = [count for count in COUNTS if torch.equal(rows(list(range(count))), two[:count])]
            backwards = rows(list(range(7, -1, -1))).flip(0)
            moved = not torch.equal(backwards, rows(list(range(8))))
            print(f"| {side[1]}x{side[0]} | {precision} | {same} | {'yes' if moved else 'no'} |")
            needed = COUNTS if precision == "bfloat16" else (4,)
            faults += side in own and (moved or not set(needed) <= set(same))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
