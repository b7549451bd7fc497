"""LoRA training: one loop for all model families, on latents and text embeddings computed once.

types: a job, its steps and its result. dataset: pictures and captions as tensors, in buckets of one
size. noising: noise, targets, weights of the loss. optimizer: optimizers, learning rate, averaged
weights. denoiser: the model made trainable. state: everything that changes, one step. checkpoint:
the same as a file, to go on from after a kill. loop: the steps, from first to last. distributed:
several processes; worker: the others' side. files: the LoRA in diffusers' format; kohya: under
names that others read; notes: the metadata that they show.

Only types and checkpoint can be imported without torch.
"""
