"""The clients that the contracts print, as they stand there."""
