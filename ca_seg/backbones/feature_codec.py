"""The autoencoder of the `photo` backbones: features of a frozen image encoder as latents, and a decoder to pixels.

Diffusion in the feature space of a frozen encoder follows representation autoencoders (Zheng et al. 2025, "Diffusion
Transformers with Representation Autoencoders"). A small transformer then starts from features that know what things
are. The two feature maps of EfficientNet-Lite0 are put on one grid and each channel is scaled to unit variance:

    image [B, 3, H, W] ──► 112 channels at H/16  ┐
                      └──► 320 channels at H/32 ─┴─ resized to H/16 ──► [B, 432, H/16, W/16]

FLUX packs 2 x 2 latents into one token, so the features are spread over 2 x 2 latents of 108 channels. One token is
then one position of the grid, with its 432 channels.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle

from ca_seg.backbones.efficientnet_lite import CHANNELS, EfficientNetLite0
from ca_seg.backbones.pixel_codec import Decoded, Encoded, ExactLatents

FEATURES = sum(CHANNELS)
STRIDE = 16  # pixels per position of the feature grid


def on_one_grid(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Features [B, 112, h, w] and [B, 320, h/2, w/2] on the grid of the fine ones [B, 432, h, w]."""
    return torch.cat([fine, interpolate(coarse, fine.shape[-2:], mode="bilinear", align_corners=False)], dim=1)


class FeatureCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encoder features as latents, with the interface of diffusers' `AutoencoderKL`.

    As in `AutoencoderKL`, the length of `block_out_channels` gives the pixels per latent: 2 ** (len - 1) = 8.
    """

    mean: torch.Tensor  # [432], of each feature over the training pictures
    deviation: torch.Tensor  # [432]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = FEATURES // 4,
        block_out_channels: tuple[int, ...] = (108, 108, 108, 108),
        decoder_width: int = 192,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        self.decoder = nn.Sequential(
            nn.Conv2d(FEATURES, decoder_width, 1),
            nn.GELU(),
            nn.Conv2d(decoder_width, decoder_width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(decoder_width, decoder_width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(decoder_width, 3 * STRIDE**2, 1),
        )
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("deviation", torch.ones(FEATURES))

    def features(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features as the encoder gives them, at stride 16 and at stride 32, of images [B, 3, H, W] in -1..1.

        A CPU encodes one image after the other: the activations of more of them do not fit its cache.
        """
        pixels = (images * 127.5 + 0.5) / 128
        parts = pixels.split(1 if pixels.device.type == "cpu" else max(1, len(pixels)))
        maps = [self.encoder(part.contiguous(memory_format=torch.channels_last)) for part in parts]
        fine, coarse = (torch.cat(of_parts) for of_parts in zip(*maps, strict=True))
        return fine, coarse

    def normalised(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Both feature maps on the grid of the fine one [B, 432, h, w], each channel with about unit variance."""
        both = on_one_grid(fine, coarse)
        return (both - self.mean[:, None, None]) / self.deviation[:, None, None]

    def encode(self, images: torch.Tensor) -> Encoded:
        """[B, 3, H, W] in -1..1 to latents [B, 108, 2 * ceil(H/16), 2 * ceil(W/16)]."""
        return Encoded(ExactLatents(pixel_shuffle(self.normalised(*self.features(images)), 2).contiguous()))

    def decode(self, latents: torch.Tensor, return_dict: bool = True) -> Decoded | tuple[torch.Tensor]:
        """Latents to images [B, 3, H, W], about -1..1."""
        image = pixel_shuffle(self.decoder(pixel_unshuffle(latents, 2)), STRIDE)
        return Decoded(image) if return_dict else (image,)
