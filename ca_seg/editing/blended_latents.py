"""Blended latent diffusion (Avrahami, Fried and Lischinski 2023, arXiv:2206.02779, algorithm 1) on a stock pipeline.

After every step of the pipeline's loop, all that is outside the mask is exchanged for the photograph, with the noise of
that step. The model paints the inside, and always sees the photograph around it.

    step          0        1        2              last
    inside        model    model    model   ...    model
    outside       photograph + noise, less and less
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.images import Images, as_tensor, working_size
from ca_seg.editing.region import any_inside
from ca_seg.errors import BadMask, UserError
from ca_seg.seed_range import check_seed

Mask = np.ndarray | torch.Tensor


class BlendedLatents:
    """A `callback_on_step_end` of the stock pipeline of a backbone: only a masked part of a photograph changes.

    Args:
        backbone: it shares its transformer and autoencoder with the pipeline
        photograph: one image, see `images.as_tensor`
        mask: bool [H, W] of any size, True where the model paints (a latent is painted where any of its pixels is
            True); or a function that gives the mask after each step, such as `lambda: masks.mask("cat")` of a
            `MaskCallback`
        first_step: the steps before it run without a mask
        from_photograph: so many steps are exchanged whole, the inside too: the model then starts from the noised
            photograph and not from noise alone
        seed: of the noise; the pipeline's noise for the same seed

    Raises:
        UserError: for a backbone of videos, and for anything but one photograph; in the loop, for latents of another
            size and for a scheduler without noise levels
        BadMask: for a mask that is not [H, W]

    Example:
        >>> blend = BlendedLatents(backbone, photograph, mask)
        >>> pipe("a dog", height=blend.height, width=blend.width, callback_on_step_end=blend)
    """

    def __init__(
        self,
        backbone: Backbone,
        photograph: Images,
        mask: Mask | Callable[[], Mask],
        *,
        first_step: int = 0,
        from_photograph: int = 0,
        seed: int = 0,
    ) -> None:
        if backbone.family.video:
            raise UserError(f"{backbone.card.name} makes videos", allowed="a backbone of images")
        check_seed(seed)
        batch = as_tensor(photograph)
        if len(batch) != 1:
            raise UserError(f"{len(batch)} photographs", allowed="one")
        self.backbone, self.first_step, self.from_photograph = backbone, first_step, from_photograph
        self.mask: Callable[[], Mask] = mask if callable(mask) else lambda: mask
        if not callable(mask):
            _check(mask)
        card = backbone.card
        self.height, self.width = working_size(batch.shape[-2], batch.shape[-1], card.resolution, card.multiple)
        self.latents = backbone.encode(batch)
        noise = torch.randn(self.latents.shape, generator=torch.Generator().manual_seed(seed))
        self.noise = noise.to(self.latents)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """The latents of a step with the photograph outside the mask; what a pipeline hands to its callback."""
        if step < self.first_step:
            return tensors
        level = _level(pipeline.scheduler)
        photograph = self._in_loop((1 - level) * self.latents + level * self.noise)
        latents = tensors["latents"]
        if latents.shape[1:] != photograph.shape[1:]:
            raise UserError(
                f"latents of shape {tuple(latents.shape[1:])} for a photograph of {tuple(photograph.shape[1:])}",
                fix=f"give the pipeline height={self.height}, width={self.width}",
            )
        if step < self.from_photograph:
            blended = photograph.to(latents).expand_as(latents)
        else:
            blended = torch.where(self._painted(), latents, photograph.to(latents))
        return tensors | {"latents": blended}

    def _painted(self) -> torch.Tensor:
        """The mask on the latents, in the form of the loop."""
        mask = torch.as_tensor(_check(self.mask()), device=self.latents.device)
        cells = any_inside(mask.bool(), *self.latents.shape[-2:])
        return self._in_loop(cells.to(self.latents).expand_as(self.latents)) > 0.5

    def _in_loop(self, latents: torch.Tensor) -> torch.Tensor:
        return self.backbone.family.loop_latents(self.backbone.transformer, latents)


def _check(mask: Mask) -> Mask:
    if mask.ndim != 2:
        raise BadMask(f"a mask of shape {tuple(mask.shape)}", allowed="[H, W]")
    return mask


def _level(scheduler: Any) -> torch.Tensor:
    """The noise level that the latents have after the step, 0..1."""
    if getattr(scheduler, "sigmas", None) is None or scheduler.step_index is None:
        raise UserError(f"{type(scheduler).__name__} has no noise levels", allowed="a scheduler of flow matching")
    level: torch.Tensor = scheduler.sigmas[scheduler.step_index]
    return level
