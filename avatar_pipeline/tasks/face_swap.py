"""face_swap: one person's face in another picture, an actor's avatar, a template, or every frame of
a video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avatar_pipeline.core.digests import sha256_bytes
from avatar_pipeline.core.errors import InvalidInput
from avatar_pipeline.core.scratch import scratch_folder
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.tasks.draw_finish import encode
from avatar_pipeline.tasks.likeness import NOBODY, require_publishable
from avatar_pipeline.tasks.task import TaskRequest, TaskResult
from avatar_pipeline.tasks.template import placeholder


class Params(BaseModel):
    """Files: `source_face`, and `target` or `target_video` or neither."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: str | None = Field(None, description="whose portrait is the target when none is given")
    format: Literal["jpg", "png", "mp4"] = "jpg"


def run(request: TaskRequest) -> TaskResult:
    """Swap. Raises PhotoError with code and field for pictures that cannot be swapped."""
    source = np.asarray(open_image(request.files["source_face"], name="source_face"))
    made_from = {"source_face": request.sha256["source_face"]}
    swap = _video if "target_video" in request.files else _picture
    return swap(request, source, made_from)


def _picture(request: TaskRequest, source: np.ndarray, made_from: dict[str, str]) -> TaskResult:
    from avatar_pipeline.face_swap import get_swapper, swap_face

    params: Params = request.params
    analyzer = request.context.analyzer
    request.progress(0.1, "choosing the target", None)
    target, which, digest = _target(request)
    request.progress(0.3, "swapping the face", None)
    swapped = swap_face(source, np.asarray(target), analyzer, get_swapper(analyzer))
    if swapped.to_source is None:
        raise InvalidInput(
            "No face is found in the result. Give a target that looks into the camera.",
            code="generation_failed",
        )
    # again: it may have been revoked, or have expired, in the meantime
    if params.actor is not None:
        require_publishable(request.store.spec(params.actor), request.store)
    picture = Image.fromarray(swapped.image)
    name = f"0.{params.format}"
    return TaskResult(
        files={name: encode(picture, params.format)},
        facts={
            "images": [
                {"file": name, "width": picture.width, "height": picture.height, "seed": None}
            ],
            "video": None,
            "width": picture.width,
            "height": picture.height,
            "format": params.format,
            "faces": swapped.faces,
            "target": which,
            "method": swapped.method,
            "identity": _identity(swapped.to_source, swapped.to_target),
        },
        previews={"image_0": picture},
        made_from={**made_from, "target": digest},
        actor=params.actor,
        likenesses=[params.actor]
        if params.actor is not None and which not in ("target", "template")
        else [],
        warnings=swapped.warnings,
    )


def _target(request: TaskRequest) -> tuple[Image.Image, str, str]:
    """The picture to swap into, what it is, and its sha256: the one that was given, the actor's, or
    the template.
    """
    if "target" in request.files:
        return (
            open_image(request.files["target"], name="target"),
            "target",
            request.sha256["target"],
        )
    actor, store = request.params.actor, request.store
    if actor is not None:
        require_publishable(store.spec(actor), store)
        for asset, file in (
            ("liveportrait_export", f"{actor}.jpg"),
            ("validated_avatar", f"{actor}_avatar.png"),
        ):
            if store.has(actor, asset):
                manifest = store.current(actor, asset)
                return (
                    open_image(store.read(manifest, file), name=file),
                    asset,
                    manifest.files[file].sha256,
                )
    session = request.context.session(NOBODY)
    with session.device_lock("a template for a face swap"):
        drawn = placeholder(session)
    return drawn, "template", sha256_bytes(encode(drawn, "png"))


def _video(request: TaskRequest, source: np.ndarray, made_from: dict[str, str]) -> TaskResult:
    from avatar_pipeline.face_swap import get_swapper
    from avatar_pipeline.face_swap.video import VideoHooks, swap_video

    params: Params = request.params
    data, analyzer = request.files["target_video"], request.context.analyzer

    def progress(done: int, total: int | None) -> None:
        request.progress(
            done / total if total else 0.0,
            f"frame {done}" + (f" of {total}" if total else ""),
            None,
        )

    with scratch_folder() as folder:
        output = Path(folder) / "0.mp4"
        made = swap_video(
            source,
            data,
            analyzer,
            get_swapper(analyzer),
            output,
            VideoHooks(progress, request.context.should_cancel),
        )
        files = {"0.mp4": output.read_bytes()}
        still = _first_frame(output)
    images: list[dict[str, Any]] = []
    # the API's own example asks for a video and a jpg at once: a still beside the video
    if params.format != "mp4":
        name = f"0.{params.format}"
        files[name] = encode(still, params.format)
        images = [{"file": name, "width": still.width, "height": still.height, "seed": None}]
    return TaskResult(
        files=files,
        facts={
            "images": images,
            "video": "0.mp4",
            "width": made.width,
            "height": made.height,
            "format": "mp4",
            "frames": {
                "written": made.frames,
                "swapped": made.swapped,
                "without_face": made.without_face,
                "left": made.left,
                "seconds": made.seconds,
                "sound": made.sound,
            },
            "target": "target_video",
            "method": made.method,
            "identity": _identity(made.to_source, made.to_target),
        },
        previews={"still": still},
        made_from={**made_from, "target_video": request.sha256["target_video"]},
        warnings=made.warnings,
    )


def _first_frame(video: Path) -> Image.Image:
    import av

    with av.open(str(video)) as container:
        return next(container.decode(video=0)).to_image()


def _identity(to_source: float | None, to_target: float | None) -> dict[str, float | bool | None]:
    """Distances of the result's face to the two faces that went in."""
    both = to_source is not None and to_target is not None
    return {
        "to_source": None if to_source is None else round(to_source, 4),
        "to_target": None if to_target is None else round(to_target, 4),
        "closer_to_source": bool(both and to_source < to_target),  # type: ignore[operator]
    }
