"""The asset lora."""
