"""Cartoon avatars: a data set drawn by DiceBear, and a DCGAN that learned from it to draw them out
of a latent vector.
"""
