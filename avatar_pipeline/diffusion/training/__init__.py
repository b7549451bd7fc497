"""LoRA training: one loop for all model families, on latents and text embeddings computed once.

settings   what is asked for                    dataset      pictures and captions as tensors, in
buckets of one size objective  noise, targets, weights of the loss  optimizer    optimizers,
learning rate, averaged weights denoiser   the model made trainable             fp8          its
weights in eight bits state      everything that changes, one step    checkpoint   the same as a
file, to go on from after a kill loop       the steps, from first to last        distributed
several processes; worker: the others' side files      the LoRA in diffusers' format        kohya
the LoRA under kohya's names record     what training tells                  optional     packages
that only some settings need

Only settings, record and checkpoint can be imported without torch.
"""
