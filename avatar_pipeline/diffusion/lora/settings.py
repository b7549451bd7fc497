"""Alpha and rank that PEFT and diffusers write apart from the tensors: in the file's metadata, or
in a file beside it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from avatar_pipeline.diffusion.lora.keys import DENOISER

ADAPTER_METADATA = "lora_adapter_metadata"  # diffusers.loaders.lora_base.LORA_ADAPTER_METADATA_KEY


class LayerFault(ValueError):
    """What is wrong with a layer or with what is said of it, in words."""


class Strength(NamedTuple):
    """Of one layer. by_root: divided by the root of the rank (rsLoRA) and not by the rank."""

    alpha: float
    rank: int
    by_root: bool


class Settings:
    """PEFT's settings of one part of the pipeline."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._alpha = float(config.get("lora_alpha", config.get("alpha", 0.0)))
        self._rank = int(config.get("r", 0))
        self._by_root = bool(config.get("use_rslora"))
        self._alphas = _patterns(config.get("alpha_pattern"))
        self._ranks = _patterns(config.get("rank_pattern"))

    def of(self, layer: str) -> Strength:
        """Those of a layer, by its name with dots."""
        names = (layer, layer.removeprefix("text_model."))
        alpha, rank = _first(self._alphas, names), _first(self._ranks, names)
        return Strength(
            self._alpha if alpha is None else float(alpha),
            self._rank if rank is None else int(rank),
            self._by_root,
        )


def read_settings(metadata: Mapping[str, str]) -> dict[str, Settings]:
    """The settings of each part that a file's metadata has some of. Raises LayerFault when they
    cannot be read.
    """
    packed = metadata.get(ADAPTER_METADATA)
    try:
        every: dict[str, Any] = json.loads(packed) if packed else {}
        parts: dict[str, dict[str, Any]] = defaultdict(dict)
        for key, value in every.items():
            part, _, setting = key.partition(".")
            parts[part if part.startswith("text_encoder") else DENOISER][setting] = value
        return {
            part: Settings(config)
            for part, config in parts.items()
            if config.keys() & {"lora_alpha", "alpha"}
        }
    except (ValueError, AttributeError, TypeError, re.error) as error:
        raise LayerFault(f"its {ADAPTER_METADATA} cannot be read: {error}") from None


def _patterns(found: Mapping[str, Any] | None) -> list[tuple[re.Pattern[str], Any]]:
    """As PEFT reads them (peft.utils.other.get_pattern_key): the end of a module's name, as a
    regular expression.
    """
    return [(re.compile(rf"(.*\.)?({key})$"), value) for key, value in (found or {}).items()]


def _first(patterns: list[tuple[re.Pattern[str], Any]], names: tuple[str, ...]) -> Any:
    return next(
        (value for key, value in patterns for name in names if key.match(name)),
        None,
    )
