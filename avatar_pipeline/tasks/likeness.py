"""Who a request draws: an actor by its LoRA, an actor by its description, or nobody in
particular.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from avatar_pipeline.actors.aliases import replace_aliases
from avatar_pipeline.actors.consent.record import Scope
from avatar_pipeline.actors.consent.revoked import may_be_revoked
from avatar_pipeline.actors.consent.standing import CHECK_INTERVAL_S, require_scopes
from avatar_pipeline.actors.manifest import Manifest
from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.actors.store import ActorStore
from avatar_pipeline.core.errors import AvatarPipelineError, ConsentRequired
from avatar_pipeline.diffusion.lora import applied
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.prompts import TRIGGER, portrait_prompt
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.faces.identity import Thresholds
from avatar_pipeline.pipeline.context import RunContext
from avatar_pipeline.pipeline.identity_score import embeddings
from avatar_pipeline.pipeline.intake_files import read_thresholds
from avatar_pipeline.pipeline.replay import recorded_preset
from avatar_pipeline.pipeline.training_set import read_training_set
from avatar_pipeline.pipeline.versions import trained_lora, version_of

# A likeness that is drawn for somebody outside is generated, compared with the held-out
# photographs, and leaves the house.
SCOPES: tuple[Scope, ...] = ("embed", "generate", "publish")

# Nobody in particular: the specification for requests that mean no actor.
NOBODY = ActorSpec.model_validate(
    {"name": "nobody", "description": "30 year old person with brown hair", "likeness": "synthetic"}
)


@dataclass(frozen=True)
class Person:
    """The held-out pictures of an actor, as embeddings, and which distances to them count as this
    person.
    """

    references: Sequence[np.ndarray]
    thresholds: Thresholds


@dataclass(frozen=True)
class Likeness:
    """How somebody is drawn. prompt: with the actor's name replaced. preset: that the LoRA was
    trained on; None: the service's.

    lora: the manifest of the actor's current LoRA. person: to measure pictures against; None where
    there are no photographs.
    """

    kind: Literal["lora", "description", "none"]
    prompt: str
    spec: ActorSpec = NOBODY
    preset: Preset | None = None
    lora: Manifest | None = None
    person: Person | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def learned(self) -> str:
        """The description that the LoRA was trained with, empty without one."""
        return self.spec.description if self.lora else ""

    @property
    def made_from(self) -> dict[str, str]:
        """The sha256 of the LoRA's file."""
        return (
            {"lora": self.lora.files[f"{self.spec.name}.safetensors"].sha256} if self.lora else {}
        )

    @property
    def people(self) -> list[str]:
        """Whose pictures went into what is drawn: the actor's, whose LoRA it is."""
        return [self.spec.name] if self.lora else []

    def session(self, context: RunContext, preset: str, store: ActorStore) -> PipelineSession:
        """Return the session to draw with; at every step it asks for the consent of whom it draws.

        preset: the service's own, for what has no LoRA.
        """
        if self.lora is not None:
            context = context.also_checking(
                _now_and_then(lambda: require_publishable(self.spec, store, evidence=False))
            )
        if self.preset is None:
            return context.session(NOBODY.model_copy(update={"preset": preset}))
        return replace(context, pinned_preset=self.preset).session(self.spec)

    @contextmanager
    def drawing(self, session: PipelineSession, store: ActorStore) -> Iterator[None]:
        """Have the session draw this person while the block runs. Raises ActorError or
        ConsentRequired once consent does not hold any more.
        """
        if self.lora is None:
            yield
            return
        with applied(session, store.read(self.lora, f"{self.spec.name}.safetensors")):
            yield
            self.require(store)

    def require(self, store: ActorStore) -> None:
        """Raise ConsentRequired once pictures of this person may not leave the house any more:
        consent may have been revoked, or have expired, while they were drawn.
        """
        if self.lora is not None:
            require_publishable(self.spec, store)


@dataclass(frozen=True)
class People:
    """The real people whom a job shows: those of the pictures that came with it, or an actor who is
    drawn.
    """

    store: ActorStore
    names: Sequence[str]

    def require(self, *, evidence: bool = True) -> None:
        """Raise ConsentRequired unless pictures of each of them may leave the house today.
        evidence: compare that with its sha256, too.
        """
        for name in self.names:
            require_person(name, self.store, evidence=evidence)

    def watched(self) -> Callable[[], None]:
        """A function to be called at every step of the work: `require`, at most every EVERY
        seconds; the evidence is left to `require`.
        """
        return _now_and_then(lambda: self.require(evidence=False))


def _now_and_then(check: Callable[[], None]) -> Callable[[], None]:
    last = time.monotonic()

    def checked() -> None:
        nonlocal last
        if time.monotonic() - last >= CHECK_INTERVAL_S:
            check()
            last = time.monotonic()

    return checked


def real_people(store: ActorStore, names: Iterable[str | None]) -> list[str]:
    """Those of the actors that are real people, each once; also those who may be, as actor.yaml or
    consent.yaml cannot be read.
    """
    found = []
    for name in dict.fromkeys(name for name in names if name):
        try:
            if store.spec(name).likeness == "synthetic" and not may_be_revoked(
                store.actor_dir(name)
            ):
                continue
        except (AvatarPipelineError, OSError):
            pass
        found.append(name)
    return found


def require_person(name: str, store: ActorStore, *, evidence: bool = True) -> None:
    """Raise ConsentRequired, without the name, unless pictures of a real person may leave the house
    today.

    name: an actor who is known as a real person by a picture. An actor.yaml that is missing,
    damaged, or says synthetic by now is no
    consent: somebody else may have taken the name.
    """
    try:
        spec = store.spec(name)
        if spec.likeness == "real":
            require_publishable(spec, store, evidence=evidence)
            return
    except (AvatarPipelineError, OSError):
        pass
    raise ConsentRequired(
        "It shows a real person whose consent to this use does not hold today. The operator of "
        "this service can see why (avatar-pipeline "
        f"consent show) and renew it, with scope {', '.join(SCOPES)}.",
        code="no_consent",
    )


def require_actor(name: str, store: ActorStore) -> None:
    """`require_publishable` for an actor whom a request names; an actor.yaml that is missing or
    damaged counts as a refusal.
    """
    try:
        spec = store.spec(name)
    except (AvatarPipelineError, OSError):
        raise ConsentRequired(
            f"Whether {name} is a real person who consents cannot be known, as its actor.yaml is "
            "missing or damaged. The operator of "
            "this service must put it right.",
            field="actor",
            code="no_consent",
        ) from None
    require_publishable(spec, store)


def require_publishable(spec: ActorSpec, store: ActorStore, *, evidence: bool = True) -> None:
    """Raise ConsentRequired, without paths and names of people, unless pictures of this actor may
    be drawn and leave the house today.

    evidence: compare the consent's evidence with its sha256, too.
    """
    for scope in SCOPES:
        try:
            require_scopes(spec, store.actor_dir(spec.name), [scope], evidence=evidence)
        except (AvatarPipelineError, OSError):
            raise ConsentRequired(
                f"{spec.name} is a real person, and there is no consent to {scope!r} that holds "
                "today. Whoever runs this service must "
                f"record it (consent.yaml: scope {', '.join(SCOPES)}) before pictures of "
                f"{spec.name} are drawn here.",
                field="actor",
                code="no_consent",
            ) from None


def may_be_described(name: str, store: ActorStore) -> bool:
    """Whether an actor without a LoRA may be drawn from its description, which is nobody's
    likeness: not once consent was taken back.
    """
    return not may_be_revoked(store.actor_dir(name))


def likeness_of(actor: str | None, prompt: str, store: ActorStore, context: RunContext) -> Likeness:
    """How the actor, or nobody, is drawn for a prompt. Raises ActorError for an unknown actor,
    ConsentRequired without consent.
    """
    if actor is None:
        return Likeness("none", prompt)
    spec = store.spec(actor)
    if not may_be_described(spec.name, store):
        require_publishable(spec, store)
    lora = trained_lora(store, spec.name)
    if lora is None:
        described = replace_aliases(prompt, spec, f"a {spec.description}") or portrait_prompt(
            spec.description, prompt
        )
        warning = (
            f"{spec.name} has no LoRA: the picture is drawn from the description, and is "
            "nobody's likeness."
        )
        return Likeness("description", described, spec, warnings=[warning])
    require_publishable(spec, store)
    words = replace_aliases(prompt, spec, f"a {TRIGGER} {spec.description}")
    return Likeness(
        "lora",
        words or portrait_prompt(spec.description, prompt, trigger=True),
        spec,
        recorded_preset(lora, context.models),
        lora,
        _person(store, spec.name, lora.inputs["training_variations"], context.analyzer),
    )


def _person(store: ActorStore, name: str, digest: str, analyzer: FaceAnalyzer) -> Person:
    """What validated_avatar measures against. digest: of the training_variations that the LoRA was
    trained on.
    """
    variations = version_of(store, name, "training_variations", digest)
    intake = version_of(store, name, "photo_intake", variations.inputs["photo_intake"])
    held_out = read_training_set(store.read_all(variations)).held_out
    return Person(embeddings(held_out, analyzer), read_thresholds(store.read_all(intake), analyzer))
