"""Class probabilities at single pixels of labelled images: all of them in chunks, or a fair sample of a fixed size.

maps [1, K, h, w] ──► probabilities at n pixels [n, K], bilinear as in the mask; never K x H x W numbers at once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from ca_seg.data.collate import Batch
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UserError
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary

CHUNK_PIXELS = 2**14


@dataclass(frozen=True)
class LabelledMaps:
    """The class maps of one image and its ground truth."""

    image_id: str
    path: str
    maps: torch.Tensor  # float32 [1, K, h, w], 0 or more
    mask: torch.Tensor  # int64 [H, W], class indices or IGNORE_INDEX


class LabelledMapsReader:
    """Images to class maps of one vocabulary, computed as in labelling.

    `skipped` lists (path, reason) of images that could not be read.

    Args:
        predictor: the method
        vocabulary: the classes
        refine: refinement of the maps
        seed: of the noise
    """

    def __init__(
        self, predictor: Predictor, vocabulary: Vocabulary, *, refine: Refine | None = None, seed: int = 0
    ) -> None:
        self.predictor, self.vocabulary, self.refine, self.seed = predictor, vocabulary, refine, seed
        self.skipped: list[tuple[str, str]] = []

    @torch.no_grad()
    def read(self, batches: Iterable[Batch], device: str = "cpu") -> Iterator[LabelledMaps]:
        """Yield image after image.

        Args:
            batches: of images with masks
            device: of the predictor

        Raises:
            UserError: for maps below 0, which are not probabilities
        """
        for batch in batches:
            self.skipped += [(item.path, item.reason) for item in batch["skipped"]]
            if not batch["image_id"]:
                continue
            images = batch["image"].to(device)
            seeds = [image_seed(self.seed, image_id) for image_id in batch["image_id"]]
            prediction = self.predictor.predict(images, seeds)
            batch_maps = prediction.maps(self.vocabulary)
            for index, (image_id, path) in enumerate(zip(batch["image_id"], batch["path"], strict=True)):
                maps, mask = batch_maps[index : index + 1], batch["mask"][index]
                if float(maps.min()) < 0:
                    raise UserError(
                        "these maps are not probabilities: some values are below 0", fix="set model.softmax to true"
                    )
                if self.refine is not None:  # a guided filter overshoots at edges; `label` sets this to 0 too
                    maps = self.refine(maps, images[index : index + 1], prediction.select(index)).clamp_min(0)
                if (mask == IGNORE_INDEX).all():
                    self.skipped.append((path, "every pixel of its mask is void"))
                    continue
                yield LabelledMaps(image_id, path, maps.float().cpu(), mask)


def probabilities_at(maps: torch.Tensor, height: int, width: int, pixels: torch.Tensor) -> np.ndarray:
    """Class probabilities at some pixels of an image: the values of a bilinear resize to the image's size.

    Args:
        maps: float [1, K, h, w], 0 or more
        height: of the image, in pixels
        width: of the image, in pixels
        pixels: int64 [n], row * width + column

    Returns:
        float32 [n, K]; 0 at a pixel where all classes have 0.
    """
    rows, columns = pixels // width, pixels % width
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)[None, None].to(maps.dtype)
    sampled = grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    scores = sampled[0, :, 0].T.contiguous().numpy()
    total = scores.sum(axis=1, keepdims=True)
    return scores / np.where(total > 0, total, 1)


def labelled_pixels(labelled: LabelledMaps) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pixels of an image that are not void, in chunks: probabilities float32 [n, K], true classes int64 [n]."""
    ground_truth = labelled.mask.flatten()
    height, width = labelled.mask.shape
    for pixels in (ground_truth != IGNORE_INDEX).nonzero().squeeze(1).split(CHUNK_PIXELS):
        yield probabilities_at(labelled.maps, height, width, pixels), ground_truth[pixels].numpy()


class PixelSample:
    """The same number of random pixels of every image, without void.

    Memory is `max_pixels` * K numbers, whatever the number of images. With more images than `max_pixels`, the first
    images are used.

    Args:
        class_count: K
        image_count: images that will be added
        max_pixels: pixels in all
        seed: of the choice of pixels
    """

    def __init__(self, class_count: int, image_count: int, max_pixels: int, seed: int = 0) -> None:
        self.per_image = max(1, max_pixels // max(1, image_count))
        self._probabilities = np.empty((min(max_pixels, self.per_image * image_count), class_count), np.float32)
        self._ground_truth = np.empty(len(self._probabilities), np.int64)
        self._seed, self._filled, self.images = seed, 0, 0

    def add(self, labelled: LabelledMaps) -> None:
        """Draw the pixels of one image; the same ones in every run."""
        ground_truth = labelled.mask.flatten()
        counted = (ground_truth != IGNORE_INDEX).nonzero().squeeze(1)
        rng = np.random.default_rng(image_seed(self._seed, labelled.image_id))
        count = min(self.per_image, len(counted), len(self._ground_truth) - self._filled)
        pixels = counted[torch.from_numpy(np.sort(rng.choice(len(counted), count, replace=False)))]
        end = self._filled + count
        height, width = labelled.mask.shape
        self._probabilities[self._filled : end] = probabilities_at(labelled.maps, height, width, pixels)
        self._ground_truth[self._filled : end] = ground_truth[pixels].numpy()
        self._filled, self.images = end, self.images + (count > 0)

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [n, K]."""
        return self._probabilities[: self._filled]

    @property
    def ground_truth(self) -> np.ndarray:
        """int64 [n], true classes."""
        return self._ground_truth[: self._filled]
