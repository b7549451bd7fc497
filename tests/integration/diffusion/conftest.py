"""The tiny pipelines."""

from tests.support.tiny_fixtures import each_session, sd_session, tiny_folder, tiny_models

__all__ = ["each_session", "sd_session", "tiny_folder", "tiny_models"]
