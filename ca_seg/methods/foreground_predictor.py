"""A class-agnostic method as a predictor: one map of what stands out, whatever the word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ca_seg.methods.foreground import check_one_class, min_max, with_background
from ca_seg.vocabulary import Vocabulary


class ForegroundPredictor:
    """The map of `foreground`, min-max scaled, as the map of the one class that is asked.

    Args:
        method: its name, for errors
        foreground: images [B, 3, H, W] in 0..1 to maps [B, h, w]
        options: the settings that the maps depend on, for results.json
    """

    needs_ground_truth = False

    def __init__(
        self, method: str, foreground: Callable[[torch.Tensor], torch.Tensor], options: dict[str, Any]
    ) -> None:
        self.method, self.foreground, self.options = method, foreground, options

    def settings(self) -> dict[str, Any]:
        """For results.json."""
        return self.options

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for several classes beside the background."""
        check_one_class(vocabulary, self.method)

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> ForegroundPrediction:
        return ForegroundPrediction(self.method, min_max(self.foreground(images).detach())[:, None])


@dataclass(frozen=True)
class ForegroundPrediction:
    """The maps [B, 1, h, w] in 0..1."""

    method: str
    foreground: torch.Tensor

    def select(self, image: int) -> ForegroundPrediction:
        return ForegroundPrediction(self.method, self.foreground[image : image + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """[B, 1 or 2, h, w]. Raises UserError for several classes beside the background."""
        check_one_class(vocabulary, self.method)
        return with_background(self.foreground, vocabulary)
