"""The interface of every method that predicts class maps: images and a vocabulary in, one map per class out.

    images [B, 3, H, W] ──predict──► Prediction ──maps(vocabulary)──► [B, K, h, w]
                                        └── select(i): one image of the batch

The work has two steps because an evaluation asks several vocabularies of the same images (all classes, and the classes
in each image). A method that needs the vocabulary only in its last step, as concept attention does, computes most in
`predict`; any other method may store the images and compute in `maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from ca_seg.vocabulary import Vocabulary


class Prediction(Protocol):
    """What a method computed for a batch of images."""

    def select(self, image: int) -> Prediction:
        """The prediction of one image of the batch."""
        ...

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w], on any grid and device."""
        ...


@runtime_checkable
class BatchedPrediction(Prediction, Protocol):
    """A prediction that can ask several images together, each for its own words."""

    def maps_of_images(self, vocabularies: Mapping[int, Vocabulary]) -> dict[int, torch.Tensor]:
        """Image of the batch -> its class maps [1, K, h, w]: those of `select(image).maps(vocabulary)`."""
        ...


def maps_of_images(prediction: Prediction, vocabularies: Mapping[int, Vocabulary]) -> dict[int, torch.Tensor]:
    """Class maps [1, K, h, w] of images of a batch, each for its own words; together where the method can do that."""
    if isinstance(prediction, BatchedPrediction):
        return prediction.maps_of_images(vocabularies)
    return {image: prediction.select(image).maps(words) for image, words in vocabularies.items()}


class Predictor(Protocol):
    """A method. A new one is one file that implements this, and one line in `registry.py`."""

    needs_ground_truth: bool  # True for an upper bound that uses the masks: they are then passed to `predict`

    def settings(self) -> dict[str, Any]:
        """The settings that its maps depend on, for results.json; empty where there are none."""
        ...

    def predict(
        self,
        images: torch.Tensor,
        seeds: Sequence[int],
        ground_truth: Callable[[int], torch.Tensor] | None = None,
    ) -> Prediction:
        """Process a batch of images.

        An image's maps must depend neither on the other images of its batch nor on earlier calls.

        Args:
            images: float32 [B, 3, H, W] in 0..1
            seeds: one per image, for methods that need random numbers
            ground_truth: returns the mask int64 [H, W] of image i; only for methods that need it
        """
        ...


class Refine(Protocol):
    """Changes the maps [1, K, h, w] of an image [1, 3, H, W] before the decision.

    `known`: the words are known to be in the image, as in a dataset's list of the classes that it shows.
    """

    def __call__(
        self, maps: torch.Tensor, image: torch.Tensor, prediction: Prediction, *, known: bool = False
    ) -> torch.Tensor: ...
