"""The asset photo_intake."""
