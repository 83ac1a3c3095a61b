"""What nuclio calls: once at its start, and for each frame."""

from ca_seg.annotation.nuclio import handler, init_context

__all__ = ["handler", "init_context"]
