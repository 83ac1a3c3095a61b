"""Methods that read a vision transformer of timm: its attention, and the relevance of its classes."""
