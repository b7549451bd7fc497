"""The job queue, its worker, and what happens to jobs."""
