"""What one run hands to the code that works for it: models, log, previews, and whom to ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from avatar_pipeline.actors.spec import ActorSpec
from avatar_pipeline.diffusion.model_choice import training_preset
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.session import PipelineSession
from avatar_pipeline.diffusion.weights_digest import weights_version
from avatar_pipeline.faces.analyzers.types import FaceAnalyzer
from avatar_pipeline.pipeline.models import Models
from avatar_pipeline.pipeline.progress import Preview, Progress


def _not_cancelled() -> bool:
    return False


def _always_allowed() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """It is passed, and never changed: `dataclasses.replace` makes a child's.

    models: the loaded models. log: takes one line of progress. previews: take small images of what
    is being drawn. on_step: is given the number of each denoising step, and of how many.
    should_cancel: asked after every step; the work then ends with Cancelled. check_consent: called
    at every step; raises once consent does not hold any more. pinned_preset: the preset of every
    actor, as a replay wants it; None: the actor's own.
    """

    models: Models
    log: Callable[[str], None] = print
    previews: tuple[Preview, ...] = ()
    on_step: Callable[[int, int], None] | None = None
    should_cancel: Callable[[], bool] = _not_cancelled
    check_consent: Callable[[], None] = _always_allowed
    pinned_preset: Preset | None = None

    @property
    def analyzer(self) -> FaceAnalyzer:
        """The face analyzer. Raises ModelError when its models are missing."""
        return self.models.analyzer

    def preset(self, spec: ActorSpec) -> Preset:
        """Return the preset for an actor. Raises ModelError for what is not usable."""
        return self.pinned_preset or self.models.preset(spec)

    def session(self, spec: ActorSpec) -> PipelineSession:
        """Return a session of an actor's preset, which reports to this run. Loads nothing."""
        return self._session(self.preset(spec))

    def training_session(self, spec: ActorSpec) -> PipelineSession:
        """Return a session of what the actor's LoRA is trained on: the base of a distilled model,
        else the model itself, with the same loaded pipeline as `session`.
        """
        return self._session(training_preset(self.preset(spec)))

    def _session(self, preset: Preset) -> PipelineSession:
        return PipelineSession(
            preset,
            self.models.pipeline(preset),
            log=self.log,
            on_step=Progress(
                self.log,
                self.previews,
                should_cancel=self.should_cancel,
                check_consent=self.check_consent,
                on_step=self.on_step,
            ),
            check_consent=self.check_consent,
        )

    def model_sha256(self, spec: ActorSpec) -> str:
        """Return the hash of the weights that draw the actor, and of those that its LoRA is trained
        on where they are others. Raises ModelError when the first are missing.
        """
        return weights_version(self.preset(spec))

    def also_checking(self, check: Callable[[], None]) -> RunContext:
        """Return a context that calls `check`, too, at every step
        (actors.consent.standing.watched).
        """
        before = self.check_consent

        def both() -> None:
            before()
            check()

        return replace(self, check_consent=both)

    def showing(
        self, show: Callable[[Image.Image, str], None], every: float, *, logs: bool = False
    ) -> RunContext:
        """Return a context with one more place that previews go to, at most every `every` seconds.

        logs: whether `show` logs the text, too.
        """
        return replace(self, previews=(*self.previews, Preview(show, every, logs)))
