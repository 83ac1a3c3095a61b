"""Class shares at single pixels of labelled images: all of them piece by piece, or a fair sample of a fixed size.

maps [1, K, h, w] ──► shares at n pixels [n, K], bilinear as in the decision; never K x H x W numbers at once
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
from ca_seg.vocabulary import Vocabulary

VOID = 255
AT_ONCE = 2**14  # pixels of a piece


@dataclass(frozen=True)
class LabelledMaps:
    """One image's class maps and its ground truth."""

    image_id: str
    path: str
    maps: torch.Tensor  # [1, K, h, w], 0 or more
    mask: torch.Tensor  # int64 [H, W], 255 is void


class SharesReader:
    """Images to class maps of one vocabulary, as labels are made; `skipped` lists those that could not be read."""

    def __init__(
        self, predictor: Predictor, vocabulary: Vocabulary, *, refine: Refine | None = None, seed: int = 0
    ) -> None:
        self.predictor, self.vocabulary, self.refine, self.seed = predictor, vocabulary, refine, seed
        self.skipped: list[tuple[str, str]] = []

    @torch.no_grad()
    def read(self, batches: Iterable[Batch], device: str = "cpu") -> Iterator[LabelledMaps]:
        """Image after image. Raises UserError for maps below 0, which are no shares."""
        for batch in batches:
            self.skipped += [(item.path, item.reason) for item in batch["skipped"]]
            if not batch["image_id"]:
                continue
            images = batch["image"].to(device)
            prediction = self.predictor.predict(
                images, [image_seed(self.seed, image_id) for image_id in batch["image_id"]]
            )
            every = prediction.maps(self.vocabulary)
            for place, (image_id, path) in enumerate(zip(batch["image_id"], batch["path"], strict=True)):
                maps, mask = every[place : place + 1], batch["mask"][place]
                if self.refine is not None:
                    maps = self.refine(maps, images[place : place + 1], prediction.select(place))
                if (mask == VOID).all():
                    self.skipped.append((path, "every pixel of its mask is void"))
                    continue
                if float(maps.min()) < 0:
                    raise UserError("these maps are no shares: some are below 0", fix="--model.softmax true")
                yield LabelledMaps(image_id, path, maps.float().cpu(), mask)


def shares_at(maps: torch.Tensor, height: int, width: int, places: torch.Tensor) -> np.ndarray:
    """Shares of 1 at `places` (row * width + column, int64 [n]) of a height x width image: float32 [n, K].

    The very values of a bilinear resize to the image's size. A pixel where no class has anything has no share.
    """
    rows, columns = places // width, places % width
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)[None, None].to(maps.dtype)
    found = grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    scores = found[0, :, 0].T.contiguous().numpy()
    total = scores.sum(axis=1, keepdims=True)
    return scores / np.where(total > 0, total, 1)


def pixels_of(labelled: LabelledMaps) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pixels of an image that are not void, piece by piece: shares float32 [n, K] and true classes int64 [n]."""
    ground_truth = labelled.mask.flatten()
    for places in (ground_truth != VOID).nonzero().squeeze(1).split(AT_ONCE):
        yield shares_at(labelled.maps, *labelled.mask.shape, places), ground_truth[places].numpy()


class PixelSample:
    """The same number of pixels of every image, drawn without void and by the seed; `most` in all.

    Memory is `most` * K numbers whatever the number of images. With more than `most` images the first ones count.
    """

    def __init__(self, classes: int, images: int, most: int, seed: int = 0) -> None:
        self.each = max(1, most // max(1, images))
        self._shares = np.empty((min(most, self.each * images), classes), np.float32)
        self._ground_truth = np.empty(len(self._shares), np.int64)
        self._seed, self._filled, self.images = seed, 0, 0

    def add(self, labelled: LabelledMaps) -> None:
        ground_truth = labelled.mask.flatten()
        counted = (ground_truth != VOID).nonzero().squeeze(1)
        own = np.random.default_rng(image_seed(self._seed, labelled.image_id))
        count = min(self.each, len(counted), len(self._ground_truth) - self._filled)
        places = counted[torch.from_numpy(np.sort(own.choice(len(counted), count, replace=False)))]
        end = self._filled + count
        self._shares[self._filled : end] = shares_at(labelled.maps, *labelled.mask.shape, places)
        self._ground_truth[self._filled : end] = ground_truth[places].numpy()
        self._filled, self.images = end, self.images + (count > 0)

    @property
    def shares(self) -> np.ndarray:
        """float32 [n, K]."""
        return self._shares[: self._filled]

    @property
    def ground_truth(self) -> np.ndarray:
        """int64 [n]."""
        return self._ground_truth[: self._filled]
