"""Frozen backbones as parts of other libraries."""
