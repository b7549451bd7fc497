"""The sizes that a preset can draw."""

from __future__ import annotations

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.preset_types import Preset

SMALLEST = 256  # pixels a side; below it a face is smaller than the checks need


def check_size(preset: Preset, width: int, height: int, steps: int) -> None:
    """Raise GenerationError when the preset cannot draw `width` x `height` pixels, or `steps` is
    out of range.
    """
    for field, value in (("width", width), ("height", height)):
        if not SMALLEST <= value <= preset.largest or value % preset.size_multiple:
            raise GenerationError(
                f"{field}: {value} is not a size that preset {preset.name} can draw. Give a "
                f"multiple of {preset.size_multiple} "
                f"from {SMALLEST} to {preset.largest} pixels, such as "
                f"{preset.width if field == 'width' else preset.height}."
            )
    if not 1 <= steps <= 150:
        raise GenerationError(
            f"steps: {steps} is out of range. Give 1 to 150 denoising steps; preset {preset.name} "
            f"uses {preset.steps}."
        )


def drawable_size(
    preset: Preset, width: int, height: int, area: int | None = None
) -> tuple[int, int]:
    """The size to draw at for a picture of `width` x `height`: of about that shape, and of the area
    that the preset draws best.

    area: in pixels; None: that of the preset's head shots.
    """
    scale = ((area or preset.width * preset.height) / (width * height)) ** 0.5
    multiple = preset.size_multiple

    def side(pixels: float) -> int:
        return int(
            min(
                max(round(pixels * scale / multiple) * multiple, SMALLEST),
                preset.largest // multiple * multiple,
            )
        )

    return side(width), side(height)
