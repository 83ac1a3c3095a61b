"""A noisy image of two regions, with scores that are coarse and often wrong: every refinement should improve them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ca_seg.metrics.confusion import ConfusionMatrix, miou

SIDE = 48


@dataclass(frozen=True)
class TwoRegions:
    image: torch.Tensor  # [1, 3, 48, 48] in 0..1
    ground_truth: torch.Tensor  # int64 [1, 48, 48]: a disk of class 1 on class 0; class 2 is nowhere

    def noisy_scores(self, cell: int, *, noise: float = 1.0, seed: int = 1) -> torch.Tensor:
        """Probabilities of 3 classes [1, 3, 48 / cell, 48 / cell]: the coarse ground truth with noise, softmaxed."""
        one_hot = torch.nn.functional.one_hot(self.ground_truth, 3).movedim(-1, 1).float()
        coarse = torch.nn.functional.avg_pool2d(one_hot, cell)
        generator = torch.Generator().manual_seed(seed)
        return (2 * coarse + noise * torch.randn(coarse.shape, generator=generator)).softmax(dim=1)

    def miou(self, scores: torch.Tensor) -> float:
        """mIoU of the best class at each pixel, after bilinear upsampling to the image's size."""
        size = tuple(self.ground_truth.shape[-2:])
        full = torch.nn.functional.interpolate(scores, size, mode="bilinear", align_corners=False)
        matrix = ConfusionMatrix(3)
        matrix.update(full.argmax(1), self.ground_truth)
        return float(miou(matrix.compute(), over="ground_truth"))


def two_regions() -> TwoRegions:
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    disk = ((y - 22) ** 2 + (x - 26) ** 2 < 15**2).long()
    colours = torch.tensor([[0.2, 0.6, 0.3], [0.8, 0.3, 0.4]])
    generator = torch.Generator().manual_seed(0)
    noise = 0.04 * torch.randn(3, SIDE, SIDE, generator=generator)
    return TwoRegions((colours[disk].movedim(-1, 0) + noise).clamp(0, 1)[None], disk[None])


def random_case(
    seed: int, *, grid: tuple[int, int] = (5, 7), size: tuple[int, int] = (5, 7), classes: int = 4, batch: int = 2
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities [B, K, *grid] and images [B, 3, *size], float64 to be compared to many digits."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, classes, *grid, generator=generator, dtype=torch.float64).softmax(1)
    return scores, torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64)
