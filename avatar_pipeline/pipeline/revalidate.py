"""Judge what is stored by the rules of today: the exported portrait and the base image, from their
bytes, without making anything.
"""

from __future__ import annotations

import numpy as np

from avatar_pipeline.actors.consent.standing import require_consent
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.check import Check
from avatar_pipeline.imaging.images import open_image
from avatar_pipeline.pipeline.assets import face_validation
from avatar_pipeline.pipeline.identity_score import assess_person, other_pictures, references
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.versions import version_of


def revalidate(store: ActorStore, actor: str, analyzer: FaceAnalyzer) -> dict[str, list[Check]]:
    """The checks of the current face_validation and liveportrait_export of an actor, by asset, each
    against the inputs it was made from.

    What compares the portrait with what it was made of (`reload`, portrait/beside_photograph.py) is
    not judged again. Raises
    ActorError when a real person's consent does not hold any more, and StoreError for what is
    missing or altered.
    """
    spec = store.spec(actor)
    require_consent(spec, store.actor_dir(actor), "embed")
    validation = store.current(actor, "face_validation")
    base = version_of(store, actor, "base_image", validation.inputs["base_image"])
    png = store.read(base, f"{actor}_base.png")
    image = open_image(png, name=f"{actor}_base.png")
    judged = face_validation.judge(spec, image, analyzer.analyze(np.asarray(image)), png)

    export = store.current(actor, "liveportrait_export")
    jpg = store.read(export, f"{actor}.jpg")
    training = version_of(store, actor, "training_variations", export.inputs["training_variations"])
    intake = version_of(store, actor, "photo_intake", export.inputs["photo_intake"])
    avatar = version_of(store, actor, "validated_avatar", export.inputs["validated_avatar"])
    intake_files = store.read_all(intake)
    thresholds = read_thresholds(intake_files, analyzer)
    pixels = np.asarray(open_image(jpg, name=f"{actor}.jpg"))
    faces = analyzer.analyze(pixels)
    photographed = avatar.metrics.get("source") == "photograph" and faces
    known = other_pictures(
        references(intake_files, store.read_all(training), analyzer),
        faces[0] if photographed else None,
        analyzer,
    )
    checks = assess_person(pixels, faces, known, thresholds, analyzer, jpg)
    return {"face_validation": judged, "liveportrait_export": checks}


def worse(before: list[dict[str, object]], now: list[Check]) -> list[str]:
    """What got worse since the manifest's `checks` were recorded, in words."""
    order = ("pass", "not_assessed", "warn", "error")
    was = {str(check["name"]): str(check["verdict"]) for check in before}
    return [
        f"{check.name} was {was[check.name]} and is {check.verdict}: {check.hint}"
        for check in now
        if check.name in was and order.index(check.verdict) > order.index(was[check.name])
    ]
