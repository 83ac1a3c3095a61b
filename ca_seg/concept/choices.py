"""The named options of reading maps. They need no torch, so that cards and settings are checked quickly."""

from __future__ import annotations

SPACES = ("output", "cross-attention", "value")  # which vectors are multiplied: see `features.py`
NORMALISE = ("none", "token", "channel")  # how vectors are scaled before the product: see `features.py`
CONCEPT_ATTENTION = ("both", "cross", "self", "none")  # what a concept attends to: see `ask.py`
IMAGE_OUTPUT = ("stock", "concepts")  # the image's attention output: the model's own, or with concepts attended to
