"""Class shares at single pixels of labelled pictures: all of them piece by piece, or a fair sample of a fixed size.

maps [1, K, h, w] ──► shares at n pixels [n, K], bilinear as in the decision; never K x H x W numbers at once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from ca_seg.data.collate import Batch
from ca_seg.errors import UserError
from ca_seg.tasks.zero_shot import Record, Refine, picture_seed
from ca_seg.vocabulary import Vocabulary

VOID = 255
AT_ONCE = 2**14  # pixels of a piece


@dataclass(frozen=True)
class LabelledMaps:
    """One picture's class maps and its truth."""

    stem: str
    path: str
    maps: torch.Tensor  # [1, K, h, w], 0 or more
    mask: torch.Tensor  # int64 [H, W], 255 is void


class SharesReader:
    """Pictures to class maps of one vocabulary, as labels are made; `skipped` lists those that could not be read."""

    def __init__(self, record: Record, vocabulary: Vocabulary, *, refine: Refine | None = None, seed: int = 0) -> None:
        self.record, self.vocabulary, self.refine, self.seed = record, vocabulary, refine, seed
        self.skipped: list[tuple[str, str]] = []

    @torch.no_grad()
    def read(self, batches: Iterable[Batch], device: str = "cpu") -> Iterator[LabelledMaps]:
        """Picture after picture. Raises UserError for maps below 0, which are no shares."""
        for batch in batches:
            self.skipped += [(item.path, item.reason) for item in batch["skipped"]]
            if not batch["stem"]:
                continue
            images = batch["image"].to(device)
            recorded = self.record(images, [picture_seed(self.seed, stem) for stem in batch["stem"]])
            every = recorded.maps(self.vocabulary)
            for place, (stem, path) in enumerate(zip(batch["stem"], batch["path"], strict=True)):
                maps, mask = every[place : place + 1], batch["mask"][place]
                if self.refine is not None:
                    maps = self.refine(maps, images[place : place + 1], recorded.select(place))
                if (mask == VOID).all():
                    self.skipped.append((path, "every pixel of its mask is void"))
                    continue
                if float(maps.min()) < 0:
                    raise UserError("these maps are no shares: some are below 0", fix="--model.softmax true")
                yield LabelledMaps(stem, path, maps.float().cpu(), mask)


def shares_at(maps: torch.Tensor, height: int, width: int, places: torch.Tensor) -> np.ndarray:
    """Shares of 1 at `places` (row * width + column, int64 [n]) of a height x width picture: float32 [n, K].

    The very values of a bilinear resize to the picture's size. A pixel where no class has anything has no share.
    """
    rows, columns = places // width, places % width
    grid = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)[None, None].to(maps.dtype)
    found = grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    scores = found[0, :, 0].T.contiguous().numpy()
    total = scores.sum(axis=1, keepdims=True)
    return scores / np.where(total > 0, total, 1)


def pixels_of(labelled: LabelledMaps) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pixels of a picture that are not void, piece by piece: shares float32 [n, K] and true classes int64 [n]."""
    truth = labelled.mask.flatten()
    for places in (truth != VOID).nonzero().squeeze(1).split(AT_ONCE):
        yield shares_at(labelled.maps, *labelled.mask.shape, places), truth[places].numpy()


class PixelSample:
    """The same number of pixels of every picture, drawn without void and by the seed; `most` in all.

    Memory is `most` * K numbers whatever the number of pictures. With more than `most` pictures the first ones count.
    """

    def __init__(self, classes: int, pictures: int, most: int, seed: int = 0) -> None:
        self.each = max(1, most // max(1, pictures))
        self._shares = np.empty((min(most, self.each * pictures), classes), np.float32)
        self._truth = np.empty(len(self._shares), np.int64)
        self._seed, self._filled, self.pictures = seed, 0, 0

    def add(self, labelled: LabelledMaps) -> None:
        truth = labelled.mask.flatten()
        counted = (truth != VOID).nonzero().squeeze(1)
        own = np.random.default_rng(picture_seed(self._seed, labelled.stem))
        count = min(self.each, len(counted), len(self._truth) - self._filled)
        places = counted[torch.from_numpy(np.sort(own.choice(len(counted), count, replace=False)))]
        end = self._filled + count
        self._shares[self._filled : end] = shares_at(labelled.maps, *labelled.mask.shape, places)
        self._truth[self._filled : end] = truth[places].numpy()
        self._filled, self.pictures = end, self.pictures + (count > 0)

    @property
    def shares(self) -> np.ndarray:
        """float32 [n, K]."""
        return self._shares[: self._filled]

    @property
    def truth(self) -> np.ndarray:
        """int64 [n]."""
        return self._truth[: self._filled]
