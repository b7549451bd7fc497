"""The identity input of models that read reference photographs: the person's pictures stand in the
denoiser's sequence beside the picture that is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from avatar_pipeline.core.errors import GenerationError
from avatar_pipeline.diffusion.identity import Identity

TAKEN = 4  # photographs at most: each costs as many tokens as a picture of its size


class ReferenceIdentity:
    """What `IdentityAdapter` is to models with an adapter: nothing is loaded, and nothing of the
    denoiser is replaced. The scale is on or off: a photograph that stands there is read.

    denoiser: the pipeline's part that reads the photographs.
    """

    takes_several = False  # a batch shares its references

    def __init__(self, denoiser: str) -> None:
        self.denoiser = denoiser
        self._on = False

    def arguments(self, identities: Sequence[Identity], guided: bool) -> dict[str, Any]:
        """Return the pipeline's argument: the photographs of the batch's identity. Raises
        GenerationError when it has none.
        """
        first = identities[0]
        photographs = first.references or ((first.face,) if first.face is not None else ())
        if not photographs:
            raise GenerationError(
                "identity: this model reads photographs of the face, and there is none. Give one "
                "(Identity.face), or several (Identity.references)."
            )
        return {"image": [picture.convert("RGB") for picture in photographs[:TAKEN]]}

    @contextmanager
    def installed(
        self, pipeline: Any, scale: float, identities: Sequence[Identity]
    ) -> Iterator[None]:
        """The denoiser reads the references, from the moment when the scale is above 0, while the
        block runs.
        """
        self._on = scale > 0
        hook = getattr(pipeline, self.denoiser).register_forward_pre_hook(
            self._leave_out, with_kwargs=True
        )
        try:
            yield
        finally:
            hook.remove()

    def set_scale(self, pipeline: Any, scale: float) -> None:
        """Have the references read from the next step on, or not."""
        self._on = scale > 0

    def _leave_out(
        self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Cut the references' tokens off, which come last: their first coordinate is not 0, as it
        is for the picture that is drawn.
        """
        if self._on:
            return arguments, named
        own = int((named["img_ids"][0, :, 0] == 0).sum())
        cut = {name: named[name][:, :own] for name in ("hidden_states", "img_ids")}
        return arguments, {**named, **cut}
