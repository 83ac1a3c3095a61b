"""The named options of reading maps. They need no torch, so that cards and settings are checked quickly."""

from __future__ import annotations

SPACES = ("output", "cross-attention", "value")  # which vectors are multiplied: see `features.py`
NORMALISE = ("none", "token", "channel", "concepts", "discard")  # how vectors are scaled first: see `normalise.py`
IMAGE_PART = {"output": "output", "cross-attention": "key", "value": "value"}  # what maps of a space read of the image
CONCEPT_PART = {"output": "output", "cross-attention": "query", "value": "value"}  # and of the concepts
CONCEPT_ATTENTION = ("both", "cross", "self", "none")  # what a concept attends to: see `ask.py`
MEAN, HIGH_FREQUENCY = "mean", "high-frequency"
TIMESTEP_CHOICE = (MEAN, HIGH_FREQUENCY)  # of several timesteps: all, or one for each image (see `frequency.py`)
IMAGE_OUTPUT = ("stock", "concepts")  # the image's attention output: the model's own, or with concepts attended to
READERS = ("concepts", "seg4diff", "goca", "tokenrank", "gramcol", "anchordiff")  # see `readers/`
PROMPT_READERS = ("seg4diff", "goca")  # they read the words of the prompt, not concepts
QUERY_READERS = ("goca", "tokenrank", "gramcol", "anchordiff")  # they need the image's queries
# see `backbones/prompt.py`; anything else is the prompt's text
NO_PROMPT, PRESENT, ALL, CAPTIONER = "none", "present", "all", "captioner"
ORACLE = ", oracle prompt"  # behind the name of a method whose prompt has the words of the ground truth
