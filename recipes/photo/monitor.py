"""How good the maps are on pictures of the same sources that were held back, with the segmenters' masks as the truth.

This is the part on which choices are made: best checkpoint, side, timestep. MSRC and COCO are only reported.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.feature_codec import on_one_grid
from ca_seg.metrics.confusion import ConfusionMatrix, miou
from recipes.photo.batches import SCALE
from recipes.photo.data import TEACHER_WORDS, UNKNOWN, FeatureCache
from recipes.photo.losses import layer_scores
from recipes.photo.model import READ_LAYERS

BATCH = 8
SMALLEST = 0.02  # the share of a picture at which a class counts as present


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
    """mIoU of the averaged weights among the classes present, and among all 47 words of the segmenters."""
    training = {name: p.detach().clone() for name, p in transformer.named_parameters()}
    _assign(transformer, average)
    device = next(transformer.parameters()).device
    examples = [e for e in cache.examples if e.held_back][:pictures]
    oracle, full = ConfusionMatrix(len(TEACHER_WORDS)), ConfusionMatrix(len(TEACHER_WORDS))
    table = torch.stack([vectors[word] for word in TEACHER_WORDS]).to(device)
    state = torch.get_rng_state()
    torch.manual_seed(1)
    for start in range(0, len(examples), BATCH):
        part = examples[start : start + BATCH]
        latents = on_one_grid(*(x.to(device).float() / SCALE for x in cache.features(part)))
        scores = layer_scores(transformer, latents, table, torch.full((len(part),), timestep, device=device))
        masks = cache.teacher_masks(part)
        for row, mask in enumerate(masks):
            counts = torch.bincount(mask.flatten(), minlength=UNKNOWN + 1)[: len(TEACHER_WORDS)]
            present = (counts > SMALLEST * mask.numel()).nonzero()[:, 0]
            truth = torch.where(torch.isin(mask, present), mask, torch.full_like(mask, 255))
            for matrix, classes in ((oracle, present), (full, torch.arange(len(TEACHER_WORDS)))):
                if len(classes) == 0:
                    continue
                maps = sum(scores[i][row, classes.to(device)].softmax(dim=0) for i in READ_LAYERS)
                maps = interpolate(maps.unflatten(1, (16, 16))[None], mask.shape, mode="bilinear", align_corners=False)[
                    0
                ]
                matrix.update(classes[maps.argmax(dim=0).cpu()], truth)
    torch.set_rng_state(state)
    _assign(transformer, training)
    # `compute` would wait for the other processes, which are not here.
    return tuple(round(float(miou(m.matrix, over="ground_truth")), 4) for m in (oracle, full))  # type: ignore[return-value]


def _assign(transformer: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in transformer.named_parameters():
        parameter.data.copy_(weights[name])
