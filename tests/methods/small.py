"""What the contract needs of each method: a small random model under its name.

A test module `tests/methods/test_*.py` names its methods in a dict `SMALL`. The contract finds it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Small:
    """One method on a small random model.

    Args:
        inputs: the arguments of `ca_seg.method` beside the name; called whenever it is opened, and always gives
            the same weights
        words: two or more that the method sees; a class-agnostic method is asked the first only
    """

    inputs: Callable[[], dict[str, Any]]
    words: tuple[str, ...] = ("cat", "grass", "sky")


def small_methods() -> dict[str, Small]:
    """By name, from all test modules of this folder that have a dict `SMALL`."""
    models: dict[str, Small] = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        if "\nSMALL = {" in file.read_text(encoding="utf-8"):
            models |= import_module(f"tests.methods.{file.stem}").SMALL
    return models
