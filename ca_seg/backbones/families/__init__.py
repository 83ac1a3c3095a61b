"""The families of diffusion transformers: one file each, registered in `registry.py`."""
