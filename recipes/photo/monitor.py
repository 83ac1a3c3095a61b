"""How good the maps are on pictures of the same sources that were held back, with the segmenters' masks as the truth.

This is the part on which choices are made: best checkpoint, side, timestep. MSRC and COCO are only reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.feature_codec import on_one_grid
from ca_seg.metrics.confusion import ConfusionMatrix, miou
from ca_seg.refine.balance import balanced
from recipes.mini.monitor import averaged
from recipes.photo.cache import SCALE
from recipes.photo.data import FeatureCache
from recipes.photo.labels import TEACHER_WORDS, UNKNOWN
from recipes.photo.losses import layer_scores
from recipes.photo.model import READ_LAYERS

BATCH = 8
SMALLEST = 0.02  # the share of a picture at which a class counts as present


class HeldBackScores:
    """Confusion of maps with the segmenters' masks, among the classes present and among all of their words.

    `power`: of the refinement step balance, where the classes present are given.
    """

    def __init__(self, power: float = 0.0) -> None:
        self.power = power
        self.oracle, self.full = ConfusionMatrix(len(TEACHER_WORDS)), ConfusionMatrix(len(TEACHER_WORDS))

    def add(self, scores: Sequence[torch.Tensor], mask: torch.Tensor) -> None:
        """One picture.

        Args:
            scores: of each layer that is read [K, h, w], before the softmax
            mask: index in TEACHER_WORDS, or UNKNOWN [H, W]
        """
        counts = torch.bincount(mask.flatten(), minlength=UNKNOWN + 1)[: len(TEACHER_WORDS)]
        present = (counts > SMALLEST * mask.numel()).nonzero()[:, 0]
        truth = torch.where(torch.isin(mask, present), mask, torch.full_like(mask, UNKNOWN))
        every = torch.arange(len(TEACHER_WORDS))
        for matrix, classes, power in ((self.oracle, present, self.power), (self.full, every, 0.0)):
            if len(classes):
                maps = torch.stack([layer[classes].softmax(dim=0) for layer in scores]).mean(dim=0)[None]
                large = interpolate(balanced(maps, power=power), mask.shape, mode="bilinear", align_corners=False)[0]
                matrix.update(classes[large.argmax(dim=0)], truth)

    def miou(self) -> tuple[float, float]:
        """Among the classes present, and among all; of this process (`compute` would wait for the others)."""
        oracle, full = (float(miou(m.matrix, over="ground_truth")) for m in (self.oracle, self.full))
        return oracle, full


@torch.no_grad()
def monitor(
    transformer: torch.nn.Module,
    average: Mapping[str, torch.Tensor],
    cache: FeatureCache,
    vectors: Mapping[str, torch.Tensor],
    *,
    pictures: int = 256,
    timestep: float = 0.05,
) -> tuple[float, float]:
    """mIoU of the averaged weights among the classes present, and among all words of the segmenters."""
    device = next(transformer.parameters()).device
    examples = [e for e in cache.examples if e.held_back and e.tagged][:pictures]
    table = torch.stack([vectors[word] for word in TEACHER_WORDS]).to(device)
    held_back = HeldBackScores()
    with averaged(transformer, average, seed=1):
        for start in range(0, len(examples), BATCH):
            part = examples[start : start + BATCH]
            latents = on_one_grid(*(x.to(device).float() / SCALE for x in cache.features(part)))
            scores = layer_scores(transformer, latents, table, torch.full((len(part),), timestep, device=device))
            maps = [scores[layer].unflatten(2, tuple(latents.shape[-2:])).cpu() for layer in READ_LAYERS]
            for row, mask in enumerate(cache.teacher_masks(part)):
                held_back.add([layer[row] for layer in maps], mask)
    oracle, full = held_back.miou()
    return round(oracle, 4), round(full, 4)
