"""What the manifest of an exported portrait says: the model and LoRA that drew the avatar, its
seed, and the pictures it comes from.
"""

from __future__ import annotations

from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.content_credentials.sign import Origin, includes_prompt
from avatar_pipeline.pipeline.avatar_source import source_type
from avatar_pipeline.pipeline.versions import version_of


def portrait_origin(store: ActorStore, export: Manifest) -> Origin:
    """export: of a version of liveportrait_export. Raises StoreError when a version that it was
    made from is not in the store.
    """
    name = export.actor
    avatar = version_of(store, name, "validated_avatar", export.inputs["validated_avatar"])
    variations = version_of(
        store, name, "training_variations", avatar.inputs["training_variations"]
    )
    base = version_of(store, name, "base_image", variations.inputs["base_image"])
    chosen = avatar.metrics.get("chosen")
    if avatar.metrics.get("source") == "photograph":
        invented = float(export.metrics.get("invented_border") or 0.0)
        return Origin(
            model="",
            model_sha256="",
            seed=None,
            ingredients={"photograph": base.files[f"{name}_base.png"].sha256},
            source=source_type("photograph", invented),
            edits=("c2pa.cropped", "c2pa.resized", *(("c2pa.edited",) if invented else ())),
        )
    return Origin(
        model=avatar.model_id,
        model_sha256=avatar.model_sha256,
        seed=avatar.seeds.get(str(chosen), avatar.root_seed),
        lora_sha256=avatar.lora_sha256,
        ingredients={
            "validated_avatar": avatar.files[f"{name}_avatar.png"].sha256,
            "base_image": base.files[f"{name}_base.png"].sha256,
        },
        source="trainedAlgorithmicMedia",
        prompt=str(avatar.metrics.get("prompt", "")) if includes_prompt() else None,
    )
