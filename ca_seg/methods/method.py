"""A method as users hold it: images and words in, class maps out.

images, classes ──► Method.predict ──► maps [B, K, h, w]
                        │
                    predictor          what evaluations use (ca_seg/predictors/predictor.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ca_seg.data.inputs import open_images
from ca_seg.errors import OutOfRange, UserError
from ca_seg.methods.card import MethodCard
from ca_seg.predictors.predictor import Predictor
from ca_seg.vocabulary import Vocabulary, Words, as_vocabulary


class WordPredictor(Predictor, Protocol):
    """A predictor that says which words it sees before it looks at an image."""

    def check_words(self, vocabulary: Vocabulary) -> None:
        """Raises UserError for words, or a number of classes, that it cannot give maps of."""
        ...


@dataclass(frozen=True)
class Method:
    """A method, ready to use.

    Args:
        card: what it is
        predictor: computes its maps, also in evaluations
    """

    card: MethodCard
    predictor: WordPredictor

    @property
    def name(self) -> str:
        return self.card.name

    def predict(self, images: Any, classes: Words, *, seed: int = 0, batch_size: int = 1) -> torch.Tensor:
        """Class maps of images.

        Args:
            images: paths, folders, PIL images, uint8 arrays [H, W, 3], float tensors [3, H, W] or [B, 3, H, W] in 0..1,
                or a list of these
            classes: words, {class: phrases}, or a Vocabulary, K classes
            seed: of the noise; the same for every image, so that its maps depend on nothing else
            batch_size: images that are processed at once, where their sizes are equal

        Returns:
            float32 [B, K, h, w] on the method's own grid, on the CPU.

        Raises:
            UserError: for images and words that cannot be used, and for images whose maps differ in size

        Example:
            >>> ca_seg.method("rollout", model=vit).predict("photo.jpg", ["cat"]).shape
        """
        if batch_size < 1:
            raise OutOfRange(f"batch_size is {batch_size}", allowed="1 or more")
        vocabulary = as_vocabulary(classes)
        self.predictor.check_words(vocabulary)
        pixels = [image.pixels for image in open_images(images)]
        maps = [self._maps(batch, vocabulary, seed) for batch in _batches(pixels, batch_size)]
        sizes = sorted({tuple(part.shape[-2:]) for part in maps})
        if len(sizes) > 1:
            what = f"the images give maps of different sizes, {' and '.join(f'{h} x {w}' for h, w in sizes)}"
            raise UserError(what, fix="give images of one size, or one image at a time")
        return torch.cat(maps)

    def _maps(self, images: torch.Tensor, vocabulary: Vocabulary, seed: int) -> torch.Tensor:
        return self.predictor.predict(images, [seed] * len(images)).maps(vocabulary).float().cpu()


def _batches(pixels: Sequence[torch.Tensor], size: int) -> Iterator[torch.Tensor]:
    """Images [B, 3, H, W] that follow each other and have one size, at most `size` of them."""
    batch: list[torch.Tensor] = []
    for image in pixels:
        if batch and (len(batch) == size or image.shape != batch[0].shape):
            yield torch.stack(batch)
            batch = []
        batch.append(image)
    yield torch.stack(batch)
