"""Methods on U-Net diffusion models: attribution maps of their cross-attention."""
