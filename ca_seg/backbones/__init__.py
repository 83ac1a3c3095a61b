"""Frozen diffusion transformers that record images and answer words."""
