"""The pictures of a page: moderate JPEGs as data URIs, with what they show in words."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError
from avatar_pipeline.history.images import loaders, read_picture
from avatar_pipeline.imaging.images import encode_jpeg, resize_to_fit
from avatar_pipeline.report.facts import ActorFacts

SHEET, FACE = 1120, 640  # pixels, longer side
CAPTIONS = {
    "curves": "Loss, and identity distance to the held-out pictures, by step",
    "comparison": "The same seeds without and with the LoRA",
    "probes": "Probes: the same prompts and seeds at each evaluation",
    "training_set": "What the LoRA is trained on",
    "held_out_set": "Held out: never trained on, the avatar is measured against them",
}


@dataclass(frozen=True)
class Inline:
    """A picture for a page. uri: empty when it cannot be shown, and then `problem` says why. alt:
    what it shows, in words.
    """

    uri: str
    alt: str
    width: int = 0
    height: int = 0
    problem: str = ""


def inline(load: Callable[[], Image.Image], alt: str, longest: int, quality: int = 80) -> Inline:
    """Return the image as a JPEG, its longer side at most `longest` pixels."""
    try:
        image = resize_to_fit(load(), longest)
    except AvatarPipelineError as error:
        return Inline("", alt, problem=str(error))
    data = base64.b64encode(encode_jpeg(image, quality=quality)).decode("ascii")
    return Inline(f"data:image/jpeg;base64,{data}", alt, image.width, image.height)


def portrait(store: ActorStore, facts: ActorFacts, longest: int, alt: str) -> Inline:
    """Return the image that stands for an actor: that of the last asset in the chain that has
    one.
    """
    for asset, file in (
        ("liveportrait_export", "{}.jpg"),
        ("validated_avatar", "{}_avatar.png"),
        ("base_image", "{}_base.png"),
    ):
        for manifest in facts.made:
            name = file.format(facts.name)
            if manifest.asset == asset and name in manifest.files:
                return inline(partial(read_picture, store, manifest, name), alt, longest, 82)
    return Inline("", alt)


def sections(store: ActorStore, made: dict[str, Manifest]) -> dict[str, list[tuple[Inline, str]]]:
    """Return (image, caption) by section of the page."""

    def shown(
        asset: str, names: Sequence[str], caption: str = "", longest: int = SHEET
    ) -> list[tuple[Inline, str]]:
        found = loaders(store, made[asset]) if asset in made else {}
        captions = {name: caption or CAPTIONS[name] for name in names}
        return [
            (inline(found[name], captions[name], longest), captions[name])
            for name in names
            if name in found
        ]

    return {
        "lora": shown("lora", ("curves", "comparison", "probes")),
        "photo_intake": shown(
            "photo_intake", ("contact_sheet",), "Every photograph: used, held out or rejected"
        ),
        "training_variations": shown("training_variations", ("training_set", "held_out_set")),
        "validated_avatar": shown(
            "validated_avatar", ("comparison",), _choice(made.get("validated_avatar"))
        )
        + shown("validated_avatar", ("contact_sheet",), "All candidates, the best first"),
        "face": shown(
            "face_validation", ("annotated",), "Base image, with what was found in it", FACE
        )
        + shown("validated_avatar", ("avatar",), "The validated avatar", FACE)
        + shown("liveportrait_export", ("portrait",), "The portrait for LivePortrait", FACE),
    }


def _choice(avatar: Manifest | None) -> str:
    """Which of the two pictures of comparison.jpg was kept, and why, as the manifest says."""
    if avatar is None:
        return ""
    kept = {"lora": "the drawn picture", "photograph": "the photograph"}
    return (
        "comparison.jpg: the best picture drawn with the LoRA, and the best photograph, framed as "
        f"they would leave. Kept: {kept.get(str(avatar.metrics.get('source')), '')}, because "
        f"{avatar.metrics.get('reason')}."
    )
