"""Would a stage make again what is there? Then a run that was asked to keeps the version, and works
for nobody.

actor.yaml is one input with one version, and every asset reads it: after a change of one asset's
settings, all seven are due. All the others come out as they are, a LoRA after minutes or hours.
Comparing first what they are made from takes seconds.

The verdicts of the checks come from the manifest, where they were recorded with the files: an error
stays an error, and stops what lies downstream as it did. They are not judged again: new rules are a
new code version, and so made again; the job `revalidate` judges what is stored.
"""

from __future__ import annotations

from pydantic import BaseModel

from avatar_pipeline.actors.consent.standing import require_scopes
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.diffusion.preset_records import model_location, preset_values
from avatar_pipeline.faces.check_records import from_record
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.materialize import Product
from avatar_pipeline.pipeline.stage import SPEC, Stage, StageResult
from avatar_pipeline.pipeline.versions import input_versions, person_version


def reuse_current(
    store: ActorStore,
    stage: Stage,
    spec: ActorSpec,
    settings: BaseModel,
    context: RunContext,
    *,
    seed: int,
) -> Product | None:
    """The current version as a product, its manifest naming the inputs as they are now; None when
    the stage must run.

    seed: as for `produce`; -1 lets the recorded one stand, as long as actor.yaml says about the
    person what it said. Says which in one line of the log. Raises ActorError when a real person's
    consent does not hold any more, and what the inputs raise.
    """
    require_scopes(spec, store.actor_dir(spec.name), stage.scopes)
    try:
        current = store.current(spec.name, stage.name)
        files = store.read_all(current)  # verified: an altered version is made again
    except StoreError:
        return None
    upstream = {name: store.current(spec.name, name) for name in stage.upstream}
    inputs = input_versions(
        stage, spec, settings, context, store.photos(spec.name) if stage.photos else [], upstream
    )
    if stage.upstream:
        seed = upstream[stage.upstream[0]].root_seed
    different = _differences(current, stage, spec, settings, context, inputs, seed)
    if different:
        context.log(f"made again, as {', '.join(different)} changed")
        return None
    context.log(f"unchanged, kept: version {current.digest[:12]}, made {current.created[:19]}Z")
    result = StageResult(
        files=files,
        metrics=current.metrics,
        checks=[from_record(check) for check in current.checks],
        skipped=current.skipped,
    )
    return Product(current.model_copy(update={"inputs": inputs}), result)


def _differences(
    current: Manifest,
    stage: Stage,
    spec: ActorSpec,
    settings: BaseModel,
    context: RunContext,
    inputs: dict[str, str],
    seed: int,
) -> list[str]:
    """What is not as it was when the version was made, in words."""
    preset = context.preset(spec)
    local = stage.model and not stage.elsewhere(spec, settings)
    read = {name: digest for name, digest in inputs.items() if name != SPEC}
    was_read = {name: digest for name, digest in current.inputs.items() if name != SPEC}
    same = {
        "the code": current.code_version == stage.code_version,
        "the settings": current.settings == settings.model_dump(mode="json"),
        "what actor.yaml says of the person": current.person == person_version(spec),
        "the seed": seed in (-1, current.root_seed),
        "the preset": (current.preset, current.preset_values)
        == (preset.name, preset_values(preset)),
        "the model": current.model == (model_location(preset) if local else ""),
        "the face analyzer": current.analyzer == context.models.analyzer_name,
        **{
            name: was_read.get(name) == read.get(name)
            for name in sorted(was_read.keys() | read.keys())
        },
    }
    return [name for name, holds in same.items() if not holds]
