"""Parts of device_check.sh: SDXL and FLUX.1-dev on one card, by our code and by diffusers' own."""
