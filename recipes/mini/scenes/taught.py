"""The words that the shipped backbones are taught: all that training scenes can show. They ship as taught.txt."""

from __future__ import annotations

from pathlib import Path

import yaml

from recipes.mini.scenes.stuff import KINDS


def taught_words() -> tuple[str, ...]:
    """The words of a `SceneComposer` of the training emoji, in its order: 150 objects, then 16 kinds of stuff."""
    objects = yaml.safe_load((Path(__file__).parent / "objects.yaml").read_text(encoding="utf-8"))["train"]
    return (*objects, *KINDS)
