"""The chain: all stages, in the order in which they read each other. Dagster's assets, `replay` and
the service go through here.

    actor_photos -> photo_intake --+
    actor_spec --------------------+-> base_image -> face_validation -> training_variations
    base_model --------------------+        -> lora -> validated_avatar -> liveportrait_export

What photo_intake has found out (framed heads, the held-out ones, the person's identity limits) is
read by all that judge a likeness.
"""

from __future__ import annotations

from avatar_pipeline.pipeline.assets.base_image.run import STAGE as BASE_IMAGE
from avatar_pipeline.pipeline.assets.face_validation import STAGE as FACE_VALIDATION
from avatar_pipeline.pipeline.assets.liveportrait_export import STAGE as LIVEPORTRAIT_EXPORT
from avatar_pipeline.pipeline.assets.lora.run import STAGE as LORA
from avatar_pipeline.pipeline.assets.photo_intake.run import STAGE as PHOTO_INTAKE
from avatar_pipeline.pipeline.assets.training_variations.run import STAGE as TRAINING_VARIATIONS
from avatar_pipeline.pipeline.assets.validated_avatar import STAGE as VALIDATED_AVATAR
from avatar_pipeline.pipeline.stage import Stage

STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        PHOTO_INTAKE,
        BASE_IMAGE,
        FACE_VALIDATION,
        TRAINING_VARIATIONS,
        LORA,
        VALIDATED_AVATAR,
        LIVEPORTRAIT_EXPORT,
    )
}
