"""What the libraries have to say that nobody needs to hear."""

from __future__ import annotations


def quiet_libraries() -> None:
    """Keep the libraries' warnings about what is meant to be so out of the log: no torchvision, an
    autoencoder of our own, a LoRA without a text encoder's part. Errors still come through as
    exceptions.
    """
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
