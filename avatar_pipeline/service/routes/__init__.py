"""The service's own routes: jobs, finished images, the page. Dialects bring theirs along."""
