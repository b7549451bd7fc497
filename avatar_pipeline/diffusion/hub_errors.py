"""What the hub's client raises, as one error that says what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from avatar_pipeline.core.errors import ModelError
from avatar_pipeline.diffusion.preset_types import Preset
from avatar_pipeline.diffusion.presets import is_pinned
from avatar_pipeline.diffusion.revisions import recorded_revision


@contextmanager
def explained(preset: Preset) -> Iterator[None]:
    """Raise what the hub's client raises in the block as one ModelError that says what to do."""
    from httpx2 import HTTPError
    from huggingface_hub import errors

    again = f"avatar-pipeline fetch {preset.name}"
    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise ModelError(
            f"the hub is switched off by HF_HUB_OFFLINE. Unset it, and then: {again}"
        ) from None
    except errors.GatedRepoError:
        raise ModelError(
            f"the hub gives {preset.model} only to accounts that have accepted its terms. Accept "
            "them on the model's page, put a read "
            f"token in HF_TOKEN (or run hf auth login), and then: {again}"
        ) from None
    except errors.RevisionNotFoundError:
        remedy = "Give a commit that exists, or leave `revision` out."
        if is_pinned(preset) or preset.revision == recorded_revision(preset.model):
            # neither is a commit that the user gave
            remedy = f"Take the present one: {again} --update-revision"
        raise ModelError(f"{preset.model} has no revision {preset.revision}. {remedy}") from None
    except errors.RepositoryNotFoundError:
        raise ModelError(
            f"the hub has no model {preset.model}, or it is private. Correct the id, or put a "
            "token that may read it in HF_TOKEN."
        ) from None
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{preset.model} could not be fetched: {_first_line(error)}. What came is kept; go on "
            f"with: {again}"
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        remedy = (
            "Put a valid token in HF_TOKEN"
            if status in (401, 403)
            else "Wait some minutes"
            if status in (429, 500, 502, 503)
            else "Look"
        )
        raise ModelError(
            f"the hub answered {status} for {preset.model}: {_first_line(error)}. {remedy}, and "
            f"then: {again}"
        ) from None
    except HTTPError as error:
        raise ModelError(
            f"the connection to the hub failed: {_first_line(error) or type(error).__name__}. "
            f"What came is kept; go on with: {again}"
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelError(
                f"the disk is full. What came is kept: free some space, and then: {again}"
            ) from None
        raise ModelError(
            f"{preset.model} could not be fetched: {_first_line(error)}. What came is kept; go on "
            f"with: {again}"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
