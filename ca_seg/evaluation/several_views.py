"""A backbone that looks at a picture in windows or at several scales, and says the mean.

windows    each window is a picture of its own, brought to the backbone's resolution
scales     the picture at 0.5, 1, 2 times the backbone's resolution
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.pictures import working_size
from ca_seg.backbones.reading import Reading
from ca_seg.evaluation.ablation import at_side
from ca_seg.refine.views import Views, predict_views
from ca_seg.tasks.zero_shot import Record
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class SeveralViews:
    """Pictures [B, 3, H, W] that are recorded anew for every vocabulary: windows and scales are not kept."""

    backbone: Backbone
    reading: Reading
    views: Views
    pictures: torch.Tensor
    seeds: tuple[int, ...]

    def select(self, picture: int) -> SeveralViews:
        chosen = slice(picture, picture + 1)
        return replace(self, pictures=self.pictures[chosen], seeds=self.seeds[chosen])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Class maps [B, K, h, w]; of windows at the pictures' own size, of scales at the working size."""
        card = self.backbone.card

        def predict(view: torch.Tensor) -> torch.Tensor:
            own = self.backbone
            if self.views.window is None:  # the view has the size that it is to be seen at
                own = at_side(self.backbone, min(view.shape[-2:]))
            return self.reading.record(own, view, self.seeds).maps(vocabulary).cpu()

        pictures = self.pictures
        if self.views.window is None:
            size = working_size(*pictures.shape[-2:], card.resolution, card.multiple)
            pictures = interpolate(pictures, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return predict_views(predict, pictures, replace(self.views, multiple=card.multiple))


def record_views(backbone: Backbone, reading: Reading, views: Views) -> Record:
    """Record with a backbone that looks several times."""

    def record(images: torch.Tensor, seeds: Sequence[int]) -> SeveralViews:
        return SeveralViews(backbone, reading, views, images, tuple(seeds))

    return record
