"""The one interface of every method that gives class maps: images and a vocabulary in, one map per class out.

    images [B, 3, H, W] ──predict──► Prediction ──maps(vocabulary)──► [B, K, h, w]
                                        └── select(i): one image of the batch

The work is split in two because an evaluation asks several vocabularies of the same images (all classes, and the classes
that each image shows). A method that does not depend on the vocabulary before its last step, as concept attention does
not, computes once in `predict`; any other method may keep the images and compute in `maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from ca_seg.vocabulary import Vocabulary


class Prediction(Protocol):
    """What a method says about a batch of images."""

    def select(self, image: int) -> Prediction:
        """The prediction of one image of the batch."""
        ...

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w], on any grid and device."""
        ...


class Predictor(Protocol):
    """A method. A new one is one file that implements this, and one line in `registry.py`."""

    needs_ground_truth: bool  # True for an upper bound that looks at the masks: `predict` is then given them

    def settings(self) -> dict[str, Any]:
        """The settings that its maps depend on, for results.json; empty where there are none."""
        ...

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Prediction:
        """Look at a batch.

        Args:
            images: float32 [B, 3, H, W] in 0..1
            seeds: one per image, for methods that draw random numbers
            ground_truth: gives the mask int64 [H, W] of image i; only for methods that need it
        """
        ...


# class maps [1, K, h, w], their image [1, 3, H, W] and its prediction, to better class maps
Refine = Callable[[torch.Tensor, torch.Tensor, Prediction], torch.Tensor]
