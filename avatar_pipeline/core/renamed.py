"""Settings under their former names: read wherever they may still be written, with one warning for
each that gives the present name.

Files are not rewritten. A manifest, an actor.yaml or a run's configuration with former names means
the same as one with the present ones. What is hashed, or is part of a file with a digest, says the
former names for good (`with_former_names`): a rename makes nothing stale and changes no byte.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

# former name -> present name: the settings of the stage `lora`
LORA_SETTINGS = {
    "steps": "max_train_steps",
    "accumulation": "gradient_accumulation_steps",
    "min_snr": "snr_gamma",
    "rslora": "use_rslora",
    "dora": "use_dora",
    "prior_weight": "prior_loss_weight",
    "prior_pictures": "num_class_images",
    "quantise": "quantization",
    "probes": "validation_images",
}
# by asset; the others have no renamed settings
SETTINGS: Mapping[str, Mapping[str, str]] = {"lora": LORA_SETTINGS}
# by asset, settings that came later, with the value that means what was there before them
ADDED: Mapping[str, Mapping[str, Any]] = {
    "lora": {"training_adapter": ""},
    "training_variations": {"few_photographs": "auto"},
}
# what may be overridden in a preset
PRESET_FIELDS: Mapping[str, str] = {
    "lora_steps": "lora_max_train_steps",
    "lora_min_snr": "lora_snr_gamma",
}

logger = logging.getLogger(__name__)
_warned: set[tuple[str, str]] = set()


def with_present_names(
    values: Mapping[str, Any], renamed: Mapping[str, str], source: str, where: str = ""
) -> dict[str, Any]:
    """Return `values` with the names of today, in the same order.

    Each former name is warned of once for each `source` (such as "actor.yaml") in a process, in one
    line for all that are met together; `where` says which one it was. A former name beside its
    present one is left as it is: what reads the values refuses it as unknown.
    """
    found = {old: new for old, new in renamed.items() if old in values and new not in values}
    if not found:
        return dict(values)
    unsaid = {old: new for old, new in found.items() if (source, old) not in _warned}
    if unsaid:
        _warned.update((source, old) for old in unsaid)
        names = ", ".join(f"{old!r} is now {new!r}" for old, new in unsaid.items())
        logger.warning(
            "%s: settings were renamed and are read as before: %s", where or source, names
        )
    return {found.get(name, name): value for name, value in values.items()}


def with_former_names(values: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Return `values` with the names that were used first, in the same order: the form that is
    hashed and exported.
    """
    former = {new: old for old, new in renamed.items()}
    return {former.get(name, name): value for name, value in values.items()}


def forget_warnings() -> None:
    """Let every former name be warned of again: for tests, which share a process."""
    _warned.clear()


def without_added(values: Mapping[str, Any], asset: str) -> dict[str, Any]:
    """Return an asset's settings without those that came later and change nothing."""
    added = ADDED.get(asset, {})
    return {
        name: value for name, value in values.items() if name not in added or value != added[name]
    }
