"""Images without masks, to be labelled."""

from __future__ import annotations

import torch

from ca_seg.data.collate import Sample
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.vocabulary import IGNORE_INDEX


class ImagesWithoutMasks(SegmentationDataset):
    """A dataset whose masks are void throughout, [H, W] of 255. The `mask_path` of its pairs is not read."""

    def __getitem__(self, index: int) -> Sample:
        pair, image = self._pairs[index], self.read_image(index)
        mask = self.mask(index, image.shape[1], image.shape[2])
        return Sample(image=image, mask=mask, image_id=pair.image_id, path=str(pair.image_path))

    def mask(self, index: int, height: int, width: int) -> torch.Tensor:
        return torch.full((height, width), IGNORE_INDEX, dtype=torch.int64)
