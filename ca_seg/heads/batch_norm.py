"""Batch norm over all processes, on any device (torch's own SyncBatchNorm computes on accelerators only)."""

from __future__ import annotations

import torch
from torch import distributed, nn


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that normalises by the statistics of the batches of all processes; alone it is BatchNorm2d itself.

    It is meant for inputs without a gradient, such as features of a frozen model: the statistics are then constants,
    and the affine part needs no further exchange.

    Raises:
        RuntimeError: in several processes, for an input with a gradient
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        alone = not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)
        if not self.training or alone:
            return super().forward(input)
        if input.requires_grad:
            raise RuntimeError("SyncedBatchNorm2d is for frozen features, and this input has a gradient")
        self._check_input_dim(input)
        with torch.no_grad():
            x = input.float()
            count = torch.full((1,), float(x.numel() // x.shape[1]), device=x.device)
            sums = torch.cat([count, x.sum(dim=(0, 2, 3)), x.square().sum(dim=(0, 2, 3))])
            distributed.all_reduce(sums)
            total = sums[0]
            mean, square = (sums[1:] / total).chunk(2)
            variance = (square - mean.square()).clamp_min(0)
            assert self.running_mean is not None
            assert self.running_var is not None
            momentum = self._momentum()
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * total / (total - 1).clamp_min(1), momentum)
        return nn.functional.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)

    def _momentum(self) -> float:
        """The weight of this batch in the running statistics."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
