"""Noised copies of latents: each image at each timestep with each noise sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ca_seg.backbones.families.base import Family
from ca_seg.backbones.loading.card import Card, check_timestep
from ca_seg.concept.choices import MEAN, TIMESTEP_CHOICE
from ca_seg.errors import OutOfRange, UnknownName, UserError


def noise_levels(card: Card, timesteps: float | Sequence[float] | None, samples: int | None) -> tuple[list[float], int]:
    """The timesteps, and the noise samples of each; None is the card's value. Raises OutOfRange."""
    timesteps = card.timestep if timesteps is None else timesteps
    times = [timesteps] if isinstance(timesteps, float | int) else list(timesteps)
    for time in times:
        check_timestep(time)
    samples = card.noise_samples if samples is None else samples
    if samples < 1 or not times:
        raise OutOfRange(f"{samples} noise samples at {len(times)} timesteps", allowed="1 or more of each")
    return times, samples


def check_timestep_choice(choice: str, timesteps: Sequence[float] | None) -> None:
    """Raises UnknownName for an unknown choice, UserError for one among fewer than two timesteps."""
    if choice not in TIMESTEP_CHOICE:
        raise UnknownName("timestep choice", choice, TIMESTEP_CHOICE)
    if choice != MEAN and len(set(timesteps or ())) < 2:
        raise UserError(
            f"the timestep choice {choice!r} chooses among several timesteps, and the timesteps are {timesteps}",
            fix="give several, such as timesteps [0.1, 0.3, 0.5, 0.7]",
        )


def noised_latents(
    family: Family,
    scheduler: Any,
    latents: torch.Tensor,
    levels: torch.Tensor,
    samples: int,
    seeds: Sequence[int],
) -> torch.Tensor:
    """[levels * samples * B, ...], copy by copy.

    Args:
        family: says how noise is added
        scheduler: of the pipeline, for families that use its noise table
        latents: [B, ...], clean
        levels: timesteps, 0 (clean) to 1 (noise)
        samples: noise samples per timestep
        seeds: one per image, so that an image's noise does not depend on its batch
    """
    noise = torch.cat([_noise(latents.shape[1:], seed, samples) for seed in seeds], dim=1).to(latents)
    return torch.cat([_noised(family, scheduler, latents, sample, level) for level in levels for sample in noise])


def _noised(
    family: Family, scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Latents [B, ...] at timestep t with one noise [B, ...] (see `Family.noise_at`)."""
    if family.noise_at == "flow":
        return (1 - t) * latents + t * noise
    steps = (t * scheduler.config.num_train_timesteps).long().clamp(max=len(scheduler.alphas_cumprod) - 1)
    noised: torch.Tensor = scheduler.add_noise(latents, noise, steps.expand(len(latents)))
    return noised


def _noise(shape: torch.Size, seed: int, samples: int) -> torch.Tensor:
    """[samples, 1, *shape] standard normal noise, the same on every device."""
    return torch.randn(samples, 1, *shape, generator=torch.Generator().manual_seed(seed))
