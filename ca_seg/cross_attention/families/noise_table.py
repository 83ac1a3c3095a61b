"""Families that are trained with a table of noise levels (Ho et al. 2020), and not with rectified flow."""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.cross_attention.families.base import CrossFamily
from ca_seg.errors import UserError


class NoiseTableFamily(CrossFamily):
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, with a_t from the pipeline's scheduler."""

    def noised(self, pipeline: Any, latents: torch.Tensor, noise: torch.Tensor, timestep: float) -> torch.Tensor:
        """Ho et al. 2020, equation 4. Every scheduler scales its inputs to it."""
        kept = _table(pipeline)[int(self.timestep_input(pipeline, timestep))].to(latents)
        return kept.sqrt() * latents + (1 - kept).sqrt() * noise

    def timestep_input(self, pipeline: Any, timestep: float) -> float:
        steps = len(_table(pipeline))
        return min(int(timestep * steps), steps - 1)


def _table(pipeline: Any) -> torch.Tensor:
    table = getattr(pipeline.scheduler, "alphas_cumprod", None)
    if not isinstance(table, torch.Tensor):
        raise UserError(
            f"{type(pipeline.scheduler).__name__} has no table of noise levels (alphas_cumprod)",
            fix="set the scheduler to DDIMScheduler.from_config(pipeline.scheduler.config)",
        )
    return table
