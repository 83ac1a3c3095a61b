"""A trained head in the place of the zero-shot maps: scored by the same code, under the same protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.zero_shot import Record
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class HeadRecording:
    """Logits [B, K, H, W] of a head's K classes, at the pictures' size."""

    head: TrainedHead
    logits: torch.Tensor

    def select(self, picture: int) -> HeadRecording:
        return HeadRecording(self.head, self.logits[picture : picture + 1])

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor:
        """Shares [B, len(classes), H, W] among the classes offered; other classes of the head are as if unknown."""
        return self.logits[:, self.head.places_of(vocabulary.classes)].softmax(dim=1)


def of_head(head: TrainedHead, backbone: Backbone) -> Record:
    """Record with a head. Raises CorruptWeights for a backbone that it was not trained on."""
    source = head.features_of(backbone)
    head = head.to(backbone.device).eval()

    @torch.no_grad()
    def record(images: torch.Tensor, seeds: Sequence[int]) -> HeadRecording:
        return HeadRecording(head, head(source(images, seeds), (images.shape[-2], images.shape[-1])))

    return record
