"""Base images drawn by FLUX.1-dev at RunPod, by the Base Image Generation API's settings. Nothing
of a local model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.prompts import base_prompt
from avatar_pipeline.runpod.endpoint import Endpoint, Timeouts, endpoint_from_environment
from avatar_pipeline.runpod.workflow import ImageRequest, load_workflow

# The Base Image Generation API's defaults. It draws full bodies only; a head shot fills a square of
# FLUX's native megapixel.
SIZES = {"full_body": (1024, 1536), "half_body": (1024, 1536), "headshot": (1024, 1024)}
STEPS = 25
GUIDANCE = 3.5
MULTIPLE = 16  # pixels: 8 a latent, 2 latents a token
# FLUX.1-dev draws 0.1 to 2 megapixels well; the longest side of such a strip
SMALLEST, LARGEST = 256, 2048


@dataclass(frozen=True)
class RemoteImages:
    """images: RGB, by the names of their seeds; seeds: of these. facts: for the manifest's metrics.
    machine: for its device and model.
    warnings: a size that was rounded, how a workflow of one's own was filled, which failed and why,
    what may have been billed twice and what a worker reported.
    """

    images: dict[str, Image.Image]
    seeds: dict[str, int]
    prompt: str
    facts: dict[str, float | int | str | bool | None]
    machine: dict[str, str]
    warnings: list[str]


@dataclass(frozen=True)
class RemoteOptions:
    """What FLUX draws by; None takes the Base Image Generation API's value. width, height: pixels.
    guidance: FLUX's guidance scale.
    """

    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance: float | None = None


def remote_base_images(
    description: str,
    framing: str,
    seeds: Mapping[str, int],
    options: RemoteOptions | None = None,
    *,
    log: Callable[[str], None] = print,
    endpoint: Endpoint | None = None,
    patience: Timeouts | None = None,
) -> RemoteImages:
    """One base image of `description` for each seed (0 to 2**64 - 1), by name. None takes the
    Base Image Generation API's value.

    endpoint: that of the environment variables when None. patience: for tests. Raises
    GenerationError for a size that FLUX cannot draw and RemoteError when the endpoint or the
    workflow is not set up, both before anything is sent; RemoteError when no picture came back.
    """
    options = options or RemoteOptions()
    native_width, native_height = SIZES[framing]
    size = {"width": options.width or native_width, "height": options.height or native_height}
    for field, value in size.items():
        if not SMALLEST <= value <= LARGEST:
            raise GenerationError(
                f"{field}: {value} is not a size that FLUX can draw. Give a multiple of "
                f"{MULTIPLE} from {SMALLEST} to {LARGEST} pixels."
            )
    endpoint, workflow = endpoint or endpoint_from_environment(), load_workflow()
    size, rounded = _rounded(size, workflow.block)
    notes = [*workflow.notes, *rounded]
    for said in notes:
        log(said)
    prompt, steps = base_prompt(description, framing), options.steps or STEPS
    guidance = options.guidance or GUIDANCE
    if workflow.guided_by == "cfg":
        # the document's value is FLUX's own guidance, and no cfg
        guidance = options.guidance or float(workflow.saved("guidance"))
    orders = [
        ImageRequest(name, prompt, size["width"], size["height"], steps, guidance, seed)
        for name, seed in seeds.items()
    ]
    # requests: a tenth of the time that the definitions take to load
    from avatar_pipeline.runpod.jobs import generate

    drawn = generate(endpoint, workflow, orders, log, patience)
    failed = [f"{name} did not come back: {error}" for name, error in drawn.failures.items()]
    return RemoteImages(
        images={name: drawn.pictures[name] for name in seeds if name in drawn.pictures},
        seeds={name: seed for name, seed in seeds.items() if name in drawn.pictures},
        prompt=prompt,
        facts={
            "source": "generated",
            "backend": "runpod",
            "prompt": prompt,
            "steps": steps,
            "guidance_scale": guidance if workflow.guided_by else None,
            **({"rounded": "; ".join(rounded)} if rounded else {}),
            "workflow_sha256": workflow.sha256,
            "job_ids": ", ".join(f"{name} {job_id}" for name, job_id in drawn.job_ids.items()),
            "candidates_failed": len(drawn.failures),
            "execution_seconds": round(drawn.execution_seconds, 3),
            "delay_seconds": round(drawn.delay_seconds, 3),
        },
        machine={
            "device": f"runpod: {endpoint.id}",
            "model_id": workflow.model,
            "model_revision": f"workflow {workflow.sha256[:12]}",
        },
        warnings=[*notes, *failed, *drawn.warnings],
    )


def _rounded(size: dict[str, int], block: int) -> tuple[dict[str, int], list[str]]:
    """Return the size that ComfyUI can draw, rounded down as its latents would be, and what to say
    of it.
    """
    rounded = {field: value // block * block for field, value in size.items()}
    notes = [
        f"{field}: {value} is drawn as {rounded[field]}, the next smaller multiple of {block} "
        "pixels that the model can draw"
        for field, value in size.items()
        if rounded[field] != value
    ]
    return rounded, notes
