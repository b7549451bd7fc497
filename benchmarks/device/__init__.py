"""Parts of device_check.sh: four models on one card, by our code and by diffusers' own."""
