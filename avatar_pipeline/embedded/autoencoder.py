"""The class that model_index.json names by this address, which stays: that file's bytes are part
of every asset's base_model digest. diffusers looks for ModelMixin, too, among this module's names.
"""

from diffusers.models.modeling_utils import ModelMixin as ModelMixin

from avatar_pipeline.diffusion.patch_autoencoder import PatchAutoencoder as PatchAutoencoder
