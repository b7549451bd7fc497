"""draw: pictures from words, with an actor's LoRA when one is meant, and with a given face.

Pictures of one request are drawn one after the other, each from its own seed, so that asking for
one of them alone gives the same pixels. A request's only picture may be drawn in one batch with
those of other requests (draw_together), and has the same pixels there.
"""

from __future__ import annotations

import re
import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from avatar_pipeline.core.errors import GenerationError, InvalidInput
from avatar_pipeline.core.seeds import derive_seed
from avatar_pipeline.diffusion.identity import Identity
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.sampling import Sampling, text_to_image
from avatar_pipeline.diffusion.session import PipelineSession, identity_fault
from avatar_pipeline.diffusion.sizes import drawable_size
from avatar_pipeline.faces.framing import Framing, frame_head
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.tasks.bundled_model_vocabulary import known, read
from avatar_pipeline.tasks.draw_finish import Drawn, encode, finish
from avatar_pipeline.tasks.draw_params import Params, Wish, wishes_of
from avatar_pipeline.tasks.draw_prompts import EMBEDDED, cannot
from avatar_pipeline.tasks.draw_together import PictureOrder
from avatar_pipeline.tasks.likeness import Likeness, likeness_of
from avatar_pipeline.tasks.task import TaskRequest, TaskResult

# the Image / Avatar Agent API's own words
NO_FACE = "Face detection failed — image does not contain a detectable face."
# One request at a time uses the face analyzer, and loads models: several are at work while their
# pictures are drawn together.
_MODELS = threading.Lock()


def run(request: TaskRequest) -> TaskResult:
    """Draw. Raises GenerationError for what the preset cannot draw and, when one is required, for a
    picture without a face.
    """
    params: Params = request.params
    with _MODELS:
        analyzer = request.context.analyzer
        likeness = likeness_of(params.actor, params.prompt, request.store, request.context)
    result = TaskResult(files={}, likenesses=likeness.people, warnings=list(likeness.warnings))
    result.actor = likeness.spec.name if params.actor else None
    images: list[dict[str, Any]] = []
    index = 0

    def on_step(number: int, total: int) -> None:
        request.progress((index + number / total) / len(wishes), _doing(index, len(wishes)), None)

    context = replace(request.context, on_step=on_step)
    with _MODELS:
        session = likeness.session(context, params.preset, request.store)
        identity = _identity(request, session, result)
        result.made_from |= {"base_model": session.model_sha256, **likeness.made_from}
    preset = session.preset
    wishes = wishes_of(params, likeness, preset)
    result.warnings += [*cannot(preset.name, params.style), *_unread(likeness, preset)]
    with ExitStack() as held:
        if request.draw is None:
            held.enter_context(session.device_lock("a request to the service"))
            held.enter_context(likeness.drawing(session, request.store))
        for index, wish in enumerate(wishes):
            drawn = _draw(request, likeness, wish, session, identity)
            result.drawn_together = drawn.together
            with _MODELS:
                picture, about = finish(params, drawn, likeness, wish, preset, analyzer, identity)
            name = f"{index}.{params.format}"
            result.files[name] = encode(picture, params.format)
            result.seeds[name] = drawn.seed
            result.previews[f"image_{index}"] = picture.convert("RGB")
            result.warnings += [
                note for note in about["warnings"] if not _said(note, result.warnings)
            ]
            images.append({"file": name, "seed": drawn.seed, **about})
            request.progress(
                (index + 1) / len(wishes), _doing(index, len(wishes)), picture.convert("RGB")
            )
    result.facts = {
        "images": images,
        "prompt": params.prompt,
        "likeness": likeness.kind,
        "preset": preset.name,
        "model": preset.model_id,
        "steps": params.steps or preset.steps,
        "guidance_scale": params.guidance_scale or preset.guidance_scale,
        "seed": params.seed,
    }
    return result


def _doing(index: int, count: int) -> str:
    return f"drawing picture {index + 1} of {count}"


def _said(note: str, notes: list[str]) -> bool:
    """Whether a note was made before, of another picture: with other figures perhaps."""
    return re.sub(r"[0-9.]+", "", note) in {re.sub(r"[0-9.]+", "", other) for other in notes}


def _unread(likeness: Likeness, preset: Preset) -> list[str]:
    """Which words the model does not know, in words."""
    words = known(likeness.prompt, likeness.learned)[1] if preset.name == EMBEDDED else []
    return (
        [
            "prompt: the embedded model does not know these words, and they were left out: "
            f"{', '.join(words)}."
        ]
        if words
        else []
    )


def _draw(
    request: TaskRequest,
    likeness: Likeness,
    wish: Wish,
    session: PipelineSession,
    identity: Identity | None,
) -> Drawn:
    """The first of `attempts` pictures with a face."""
    params: Params = request.params
    preset = session.preset
    size = drawable_size(preset, params.width, params.height)
    prompt, negative = wish.prompt, params.negative_prompt
    if preset.name == EMBEDDED:
        prompt, negative = read(prompt, likeness.learned)[0], ", ".join(known(negative)[0])
    steps, guidance = params.steps or preset.steps, params.guidance_scale or preset.guidance_scale
    sampling = Sampling(steps, guidance, negative_prompt=negative, identity=identity)
    together = 1
    for attempt in range(params.attempts):
        seed = derive_seed(wish.seed, "draw_again", attempt) if attempt else wish.seed
        if request.draw is None:
            drawn = text_to_image(session, prompt, seed, size, sampling)
        else:
            order = PictureOrder(likeness, session, request.store, prompt, seed, size, sampling)
            drawn, together = request.draw(order), order.together
        with _MODELS:
            faces = request.context.analyzer.analyze(np.asarray(drawn))
        # In a true profile no detector of 68 landmarks finds a face.
        if faces or wish.view == "profile":
            return Drawn(drawn, faces, seed, together)
    if params.face_required:
        tried = (
            f" {params.attempts} pictures were drawn; ask with another seed, or a plainer prompt."
            if params.attempts > 1
            else ""
        )
        raise GenerationError(NO_FACE + tried)
    return Drawn(drawn, faces, seed, together)


def _identity(
    request: TaskRequest, session: PipelineSession, result: TaskResult
) -> Identity | None:
    """The face that came along, as the preset's adapter takes it."""
    data = request.files.get("face")
    if data is None:
        return None
    analyzer, preset = request.context.analyzer, session.preset
    face = open_image(data, name="image")
    found = analyzer.analyze(np.asarray(face))
    if not found:
        raise InvalidInput(
            "image: no face was found in it. Give a picture that shows one face from the front, "
            "sharp and well lit.",
            field="image",
            code="face_not_found",
        )
    if len(found) > 1:
        result.warnings.append(f"image: {len(found)} faces were found, and the largest was taken.")
    if fault := identity_fault(session, request.context.models.analyzer_name):
        raise GenerationError(f"image: a face cannot be given to this service's model: {fault}.")
    result.made_from["face"] = request.sha256["face"]
    framing = Framing(
        preset.width,
        preset.height,
        preset.head_inter_eye,
        preset.head_eye_y * preset.height / preset.width,
    )
    framed, _ = frame_head(np.asarray(face), found[0].landmarks68, framing)
    params: Params = request.params
    return Identity(
        found[0].embedding, params.id_weight, params.id_timestep_start, face=Image.fromarray(framed)
    )
