"""The asset training_variations."""
