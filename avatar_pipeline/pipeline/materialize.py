"""One materialization in plain Python: check consent, load the inputs, take the device, call the
stage, describe what was made.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from avatar_pipeline.actors.consent.standing import require_scopes, watched
from avatar_pipeline.actors.manifest import Manifest, library_versions
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.digests import digest_files
from avatar_pipeline.core.errors import StoreError
from avatar_pipeline.core.renamed import PRESET_FIELDS, SETTINGS, with_former_names, without_added
from avatar_pipeline.core.seeds import draw_seed
from avatar_pipeline.diffusion.device import process_peak_mb
from avatar_pipeline.diffusion.preset_records import model_location, preset_values
from avatar_pipeline.faces.check import Verdict
from avatar_pipeline.faces.readiness import worst
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.registry import STAGES
from avatar_pipeline.pipeline.stage import Inputs, Stage, StageResult
from avatar_pipeline.pipeline.versions import input_versions, person_version, version_of


@dataclass(frozen=True)
class Product:
    """What a stage made, and its manifest, not yet stored (`store.publish(product.manifest,
    product.result.files)`).
    """

    manifest: Manifest
    result: StageResult

    @property
    def digest(self) -> str:
        """The digest that the store will give it."""
        return digest_files(self.result.files)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of its checks; "pass" when it has none."""
        return worst(self.result.checks) if self.result.checks else "pass"


@dataclass(frozen=True)
class MaterializeOptions:
    """How one materialization differs from the usual.

    seed: the root seed of a stage at the head of the chain, -1 to draw one; the others take it from
    their first upstream manifest. upstream: the versions to read, by asset; the current ones when
    None. run_id: for the manifest. resume: let a stage that was killed in the middle go on from
    there. waited: seconds already waited, by what for. recorded: the manifest that is made again:
    its seed and provenance count, whatever the manifests of its inputs say since. The same contents
    made again under another seed replace the manifest of their version.
    """

    seed: int = -1
    upstream: Mapping[str, Manifest] | None = None
    run_id: str = ""
    resume: bool = True
    waited: Mapping[str, float] | None = None
    recorded: Manifest | None = None


def materialize(
    store: ActorStore,
    stage: Stage,
    spec: ActorSpec,
    settings: BaseModel,
    context: RunContext,
    options: MaterializeOptions | None = None,
) -> Product:
    """Run one stage for one actor. Stores nothing.

    Raises any AvatarPipelineError: missing consent, also when it ends in the middle, missing
    inputs, and what the stage itself refuses.
    """
    options = options or MaterializeOptions()
    folder = store.actor_dir(spec.name)
    require_scopes(spec, folder, stage.scopes)
    manifests = (
        dict(options.upstream)
        if options.upstream is not None
        else {name: store.current(spec.name, name) for name in stage.upstream}
    )
    seed = options.seed
    if stage.upstream and options.recorded is None:
        seed = manifests[stage.upstream[0]].root_seed
    root_seed = draw_seed() if seed == -1 else seed
    provenance = _Provenance(store, manifests, options.recorded)
    photos = store.photos(spec.name) if stage.photos else []
    inputs = Inputs(
        spec=spec,
        photos=photos,
        upstream={name: store.read_all(manifests[name]) for name in stage.upstream},
        root_seed=root_seed,
        provenance=provenance,
        checkpoints=store.checkpoint(spec.name, stage.name) if options.resume else None,
        earlier=lambda name: _earlier(store, spec, stage, root_seed, name),
    )
    local = stage.model and not stage.elsewhere(spec, settings)
    versions = input_versions(stage, spec, settings, context, photos, manifests)
    preset = context.preset(spec)
    with _device(local, spec, context, f"{stage.name} of {spec.name}") as used:
        result = stage.run(
            inputs, settings, context.also_checking(watched(spec, folder, stage.scopes))
        )
    # it may have been revoked, or have expired, in the meantime
    require_scopes(spec, folder, stage.scopes)
    used.update(result.machine)
    used["waited_seconds"] = {**(options.waited or {}), **used.get("waited_seconds", {})}
    lora = _weights(spec, manifests)
    manifest = Manifest(
        actor=spec.name,
        asset=stage.name,
        code_version=stage.code_version,
        run_id=options.run_id,
        inputs=versions,
        root_seed=root_seed,
        seeds=result.seeds,
        settings=settings.model_dump(mode="json"),
        preset=preset.name,
        preset_values=preset_values(preset),
        model=model_location(preset) if local else "",
        lora_sha256=lora,
        libraries=library_versions(),
        metrics=result.metrics,
        person=person_version(spec),
        analyzer=context.models.analyzer_name,
        checks=[dataclasses.asdict(check) for check in result.checks],
        skipped=result.skipped,
        provenance=provenance.answered,
        **used,
    )
    return Product(manifest, result)


def _weights(spec: ActorSpec, manifests: Mapping[str, Manifest]) -> str | None:
    """Return the sha256 of the LoRA among the inputs; None without one, and where none was
    trained.
    """
    lora = manifests.get("lora")
    file = lora.files.get(f"{spec.name}.safetensors") if lora else None
    return file.sha256 if file else None


def recorded_seed(store: ActorStore, stage: Stage, spec: ActorSpec) -> int:
    """Return the root seed that actor.yaml says; where it says -1 and there are photographs, the
    one that the first version drew, so that a changed photograph draws no other. -1 to draw one.
    """
    if spec.seed != -1 or not spec.has_photographs:
        return spec.seed
    try:
        return store.current(spec.name, stage.name).root_seed
    except StoreError:
        return -1


def _earlier(
    store: ActorStore, spec: ActorSpec, stage: Stage, root_seed: int, name: str
) -> bytes | None:
    try:
        current = store.current(spec.name, stage.name)
        if current.root_seed != root_seed or name not in current.files:
            return None
        return store.read(current, name)
    except StoreError:  # never made, or damaged
        return None


class _Provenance:
    """What a stage may write into its files of where its inputs come from. answered: the answer,
    once a stage has asked; empty before.
    """

    def __init__(
        self, store: ActorStore, upstream: Mapping[str, Manifest], recorded: Manifest | None
    ) -> None:
        self.answered: dict[str, Any] = {}
        self._store, self._upstream, self._recorded = store, upstream, recorded

    def __call__(self) -> dict[str, Any]:
        recorded = self._recorded.provenance if self._recorded else {}
        self.answered = recorded or _provenance(self._store, self._upstream)
        return self.answered


def _provenance(store: ActorStore, upstream: Mapping[str, Manifest]) -> dict[str, Any]:
    """Every ancestor's digest, seed, settings and inputs. Nothing that differs between two equal
    runs: it becomes part of a file.
    """
    found: dict[str, Any] = {}
    queue = list(upstream.values())
    while queue:
        manifest = queue.pop()
        if manifest.asset in found:
            continue
        said = manifest.model_dump(
            mode="json",
            include={
                "digest",
                "code_version",
                "inputs",
                "root_seed",
                "settings",
                "preset",
                "preset_values",
                "model_id",
                "model_revision",
                "model_sha256",
            },
        )
        # the form in which the exported file has always said it: its digest must not change
        settings = without_added(said["settings"], manifest.asset)
        said["settings"] = with_former_names(settings, SETTINGS.get(manifest.asset, {}))
        said["preset_values"] = with_former_names(said["preset_values"], PRESET_FIELDS)
        found[manifest.asset] = said
        queue += [
            version_of(store, manifest.actor, name, digest)
            for name, digest in manifest.inputs.items()
            if name in STAGES
        ]
    return {name: found[name] for name in STAGES if name in found}


@contextmanager
def _device(
    model: bool, spec: ActorSpec, context: RunContext, work: str = ""
) -> Iterator[dict[str, Any]]:
    """Hold the device while a stage runs that uses the model; the yielded dict is filled with what
    the manifest says about it.
    """
    used: dict[str, Any] = {}
    if not model:
        start = time.perf_counter()
        yield used
        peak = process_peak_mb()
        used.update(device="cpu", seconds=time.perf_counter() - start, peak_memory_mb=peak)
        return
    session = context.session(spec)
    trainee = context.training_session(spec)
    with session.device_lock(work) as usage:
        held, trained = len(session.plan_history), len(trainee.plan_history)
        begun = session.plan.describe() if session.plan else ""
        yield used
    # of a base that was trained on beside what draws
    apart = [] if trainee.loaded is session.loaded else trainee.plan_history[trained:]
    used.update(
        device=session.device_name,
        seconds=usage.seconds,
        peak_memory_mb=usage.peak_memory_mb,
        waited_seconds={"device": usage.waited},
        device_since=usage.since,
        device_until=usage.until,
        model_id=session.preset.model_id,
        model_revision=session.preset.revision,
        model_sha256=session.model_sha256,
        # the plan in use at the start of the stage, and what was done in it
        memory_plans=([begun] if begun else [])
        + session.plan_history[held:]
        + [f"{trainee.preset.model_id}: {line}" for line in apart],
    )
