"""The asset base_image."""
