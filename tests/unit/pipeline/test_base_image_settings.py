"""Settings of base_image that came later change nothing for those who do not use them."""

from __future__ import annotations

from avatar_pipeline.diffusion.presets import PRESETS
from avatar_pipeline.diffusion.sizes import check_size, drawable_size
from avatar_pipeline.pipeline.assets.base_image.run import Settings


def test_unused_settings_are_not_said() -> None:
    before = {"width", "height", "steps", "guidance_scale", "backend", "candidates", "face_detail"}
    assert set(Settings().model_dump(mode="json")) == before
    used = Settings(framing="full_body", any_size=True).model_dump(mode="json")
    assert set(used) == before | {"framing", "any_size"}
    assert Settings.model_validate(used) == Settings(framing="full_body", any_size=True)


def test_every_size_has_one_that_each_preset_can_draw() -> None:
    for preset in PRESETS.values():
        native = preset.sizes["full_body"]
        assert drawable_size(preset, *native, native[0] * native[1]) == native
        for size in ((256, 256), (2048, 2048), (256, 2048), (2048, 256), (1360, 768), (1024, 1536)):
            check_size(preset, *drawable_size(preset, *size), preset.steps)
