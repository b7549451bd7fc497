"""The middleware: what stands around the routes, and what it answers before they are reached."""
