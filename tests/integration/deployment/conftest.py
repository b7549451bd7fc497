"""The S3 server, started once."""

from tests.support.deployment.s3 import bucket, s3, s3_folder

__all__ = ["bucket", "s3", "s3_folder"]
