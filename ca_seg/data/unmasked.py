"""Pictures without masks, to be labelled."""

from __future__ import annotations

import torch

from ca_seg.data.classes import IGNORE_INDEX
from ca_seg.data.collate import Sample
from ca_seg.data.dataset import SegmentationDataset


class Unmasked(SegmentationDataset):
    """Masks are void throughout, [H, W] of 255; `mask_path` names whatever the pairs have there."""

    def __getitem__(self, index: int) -> Sample:
        pair, image = self._pairs[index], self.read_picture(index)
        void = torch.full(image.shape[1:], IGNORE_INDEX, dtype=torch.int64)
        return Sample(image=image, mask=void, stem=pair.stem, path=str(pair.image))
