"""Images without masks, to be labelled."""

from __future__ import annotations

import torch

from ca_seg.data.collate import Sample
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.vocabulary import IGNORE_INDEX


class Unmasked(SegmentationDataset):
    """Masks are void throughout, [H, W] of 255; `mask_path` names whatever the pairs have there."""

    def __getitem__(self, index: int) -> Sample:
        pair, image = self._pairs[index], self.read_image(index)
        mask = self.mask(index, image.shape[1], image.shape[2])
        return Sample(image=image, mask=mask, image_id=pair.image_id, path=str(pair.image))

    def mask(self, index: int, height: int, width: int) -> torch.Tensor:
        return torch.full((height, width), IGNORE_INDEX, dtype=torch.int64)
