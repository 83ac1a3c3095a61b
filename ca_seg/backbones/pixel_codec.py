"""The linear autoencoder of the backbones that ship: 4 x 4 pixels to 16 channels and back.

It has the interface of diffusers' `AutoencoderKL`, so these backbones run the same code as FLUX.1. The 48 values of a
patch are projected on their 16 largest principal components, each scaled to unit variance:

    image [B, 3, H, W] in -1..1     --encode-->   latents [B, 16, H/4, W/4]   --decode-->   image
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch.nn.functional import conv2d, conv_transpose2d


@dataclass(frozen=True)
class ExactLatents:
    """A latent distribution without variance: sample and mode are the same."""

    mean: torch.Tensor

    def sample(self, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.mean

    def mode(self) -> torch.Tensor:
        return self.mean


@dataclass(frozen=True)
class Encoded:
    """The result of `encode`, as diffusers returns it."""

    latent_dist: ExactLatents


@dataclass(frozen=True)
class Decoded:
    """The result of `decode`, as diffusers returns it."""

    sample: torch.Tensor


class PixelCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Principal components of 4 x 4 pixel patches.

    As in `AutoencoderKL`, the length of `block_out_channels` gives the pixels per latent: 2 ** (len - 1) = 4.
    """

    mean: torch.Tensor  # [48]
    analysis: torch.Tensor  # [16, 48]
    synthesis: torch.Tensor  # [16, 48]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        block_out_channels: tuple[int, ...] = (16, 16, 16),
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        self.side = 2 ** (len(block_out_channels) - 1)
        values = 3 * self.side**2
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("analysis", torch.eye(latent_channels, values))
        self.register_buffer("synthesis", torch.eye(latent_channels, values))

    def fit(self, images: torch.Tensor) -> None:
        """Compute the components from images [B, 3, H, W] in -1..1 (H and W multiples of 4)."""
        patches = torch.nn.functional.unfold(images.double(), self.side, stride=self.side)
        patches = patches.transpose(1, 2).flatten(0, 1)
        mean = patches.mean(dim=0)
        variance, axes = torch.linalg.eigh(torch.cov((patches - mean).T))
        channels = len(self.analysis)
        axes, deviation = axes[:, -channels:].flip(1).T, variance[-channels:].flip(0).clamp_min(1e-12).sqrt()
        self.mean.copy_(mean)
        self.analysis.copy_(axes / deviation[:, None])
        self.synthesis.copy_(axes * deviation[:, None])

    def _kernel(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(1, (3, self.side, self.side))

    def encode(self, images: torch.Tensor) -> Encoded:
        """[B, 3, H, W] in -1..1 to latents [B, latent_channels, H/4, W/4] of about unit variance."""
        bias = -(self.analysis @ self.mean)
        return Encoded(ExactLatents(conv2d(images, self._kernel(self.analysis), bias, stride=self.side)))

    def decode(self, latents: torch.Tensor, return_dict: bool = True) -> Decoded | tuple[torch.Tensor]:
        """Latents to images [B, 3, H, W], about -1..1."""
        flat = conv_transpose2d(latents, self._kernel(self.synthesis), stride=self.side)
        mean = self._kernel(self.mean[None])[0].repeat(1, latents.shape[-2], latents.shape[-1])
        image = flat + mean
        return Decoded(image) if return_dict else (image,)
