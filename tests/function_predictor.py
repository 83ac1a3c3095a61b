"""A predictor from a plain function, for tests that need no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FunctionPredictor:
    """`predict(images, seeds)` calls `function(images, seeds)`."""

    needs_ground_truth = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def settings(self) -> dict[str, Any]:
        return {}

    def predict(self, images: Any, seeds: Any, ground_truth: Any = None) -> Any:
        return self.function(images, seeds)
