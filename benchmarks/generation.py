"""What drawing through the pipeline costs over a bare diffusers call, and how often ten actors load
the model.

`python benchmarks/generation.py [overhead] [actors]`, both by default. `overhead`: the same
pipeline, prompt, seed, size and steps, called as diffusers' documentation says and through
text_to_image, by turns; the median of the pairs' differences. The pictures must be the same bit for
bit. The embedded model counts; tiny random SDXL and FLUX pipelines show the worst case: there is
least to draw. `actors`: the stages photo_intake and base_image for each of ten described actors
with one set of tools, as one run of Dagster keeps it; pipelines loaded are counted in diffusers.
Fails beyond MOST, when pictures differ, or with more than one load.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from avatar_pipeline.diffusion.sampling import Sampling
from avatar_pipeline.diffusion.session import open_session

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tests/support/tiny_models.py

from _common import head, machine

from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.diffusion.presets import get_preset
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.diffusion.sampling import text_to_image
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import MaterializeOptions, materialize
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.progress import Preview, Progress
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.settings import resolve_settings
from tests.support import tiny_models

MOST = 0.03
PAIRS = 24
ACTORS = 10
PEOPLE = (
    "european 25 year old male with short brown hair",
    "black 35 year old female with curly black hair",
)


def bare(
    session: PipelineSession, prompt: str, seed: int, size: tuple[int, int], steps: int
) -> Image.Image:
    """A picture as diffusers' documentation draws it, in the precision of the session's device."""
    device, pipeline = session.device, session.pipeline
    random = torch.Generator("cpu").manual_seed(seed)
    with torch.autocast(device.kind, device.autocast, enabled=device.autocast is not None):
        latents = pipeline(
            prompt,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=session.preset.guidance_scale,
            generator=random,
            output_type="latent",
        ).images
    with torch.no_grad():  # the decoder outside autocast: in bfloat16 flat walls show steps
        cells = session.family.unpack(pipeline, latents, size[1], size[0])
        pixels = session.family.decode_latents(pipeline, cells)
    image: Image.Image = pipeline.image_processor.postprocess(pixels, output_type="pil")[0]
    return image


def overhead(
    session: PipelineSession, prompt: str, size: tuple[int, int], steps: int, pairs: int
) -> tuple[float, float, bool]:
    """Median seconds of a bare call, median of ours minus it, and whether all pictures are the
    same.
    """
    scale = session.preset.guidance_scale
    # as in a run of Dagster
    watched = replace(
        session, on_step=Progress(lambda line: None, [Preview(lambda image, text: None)])
    )
    calls: tuple[Callable[[int], Image.Image], ...] = (
        # a new prompt each time: ours keeps embeddings
        lambda seed: bare(session, f"{prompt} {seed}", seed, size, steps),
        lambda seed: text_to_image(watched, f"{prompt} {seed}", seed, size, Sampling(steps, scale)),
    )
    taken: tuple[list[float], list[float]] = ([], [])
    same = True
    for pair in range(pairs + 2):
        images: list[Any] = [None, None]
        for which in (0, 1) if pair % 2 else (1, 0):
            began = time.perf_counter()
            images[which] = np.asarray(calls[which](pair))
            if pair >= 2:  # the first ones warm up
                taken[which].append(time.perf_counter() - began)
        same &= np.array_equal(*images)
    difference = statistics.median(ours - theirs for theirs, ours in zip(*taken, strict=True))
    return statistics.median(taken[0]), difference, same


def measure_overhead() -> bool:
    """Print the table; whether the embedded model stays below MOST and all pictures are the
    same.
    """
    passed = True
    print(head("pipeline | bare diffusers call, s | ours, difference in ms | share | same picture"))
    with tempfile.TemporaryDirectory() as folder:
        preset = get_preset("embedded")
        cases: list[tuple[str, PipelineSession, tuple[int, int], int]] = [
            ("embedded, 512x512, 12 steps", open_session(preset), (512, 512), 12)
        ]
        for name, family in (("sdxl", "sdxl"), ("flux-dev", "flux")):
            tiny_models.build(family, Path(folder) / name)
            model = str(Path(folder) / name)
            cases.append(
                (
                    f"tiny {name}, 256x256, 12 steps",
                    open_session(replace(get_preset(name), accept=""), "cpu", model),
                    (256, 256),
                    12,
                )
            )
        for label, session, size, steps in cases:
            # The tiny tokenizers know single letters: what they read in one window is short.
            prompt = (
                base_prompt(PEOPLE[0], "headshot")
                if session.preset.name == "embedded"
                else "a man, grey hair"
            )
            seconds, difference, same = overhead(session, prompt, size, steps, PAIRS)
            same_text = "yes" if same else "NO"
            print(
                f"| {label} | {seconds:.3f} | {1000 * difference:+.1f} | "
                f"{difference / seconds:+.1%} | {same_text} |",
                flush=True,
            )
            passed &= same and (session.preset.name != "embedded" or difference / seconds <= MOST)
            session.close()
    return passed


def count_loads() -> bool:
    """Ten actors, one after the other: print how often diffusers loaded a pipeline, and whether
    that was once.
    """
    from diffusers import DiffusionPipeline

    loads: list[str] = []
    load = DiffusionPipeline.from_pretrained.__func__

    def counted(cls: type, folder: Any, *arguments: Any, **options: Any) -> Any:
        loads.append(str(folder))
        return load(cls, folder, *arguments, **options)

    DiffusionPipeline.from_pretrained = classmethod(counted)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        for index in range(ACTORS):
            folder = Path(root) / f"actor_{index}"
            folder.mkdir()
            (folder / "actor.yaml").write_text(
                f"description: {PEOPLE[index % 2]}\nlikeness: synthetic\nframing: headshot\nseed: "
                f"{index}\n"
                "settings:\n  base_image: {candidates: 1, steps: 4}\n"
            )
        store, tools = ActorStore(root), RunContext(models=Models(), log=lambda line: None)
        for name in store.names():
            spec = store.spec(name)
            for asset in ("photo_intake", "base_image"):
                product = materialize(
                    store,
                    STAGES[asset],
                    spec,
                    resolve_settings(STAGES[asset], spec, {}),
                    tools,
                    MaterializeOptions(seed=spec.seed),
                )
                store.publish(product.manifest, product.result.files)
        tools.models.close()
    print(
        f"\n{ACTORS} actors, base images: {len(loads)} pipeline loaded, "
        f"{time.monotonic() - began:.0f} s"
    )
    return len(loads) == 1


def main() -> None:
    """Command line."""
    wanted = sys.argv[1:] or ["overhead", "actors"]
    session = open_session(get_preset("embedded"))
    print(f"{machine(session.device_name)}\n")
    passed = [{"overhead": measure_overhead, "actors": count_loads}[name]() for name in wanted]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
