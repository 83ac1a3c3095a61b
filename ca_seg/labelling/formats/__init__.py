"""Label files for other tools: one file per format, registered in `../registry.py`."""
