"""A small random FLUX.1 of the exact classes, and a backbone around it, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from ca_seg import load_backbone
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.family import TextTokens
from ca_seg.backbones.flux import Flux

TEXT, POOLED = 24, 20


def small_flux(*, guidance: bool = False, seed: int = 0) -> FluxTransformer2DModel:
    """3 double and 2 single blocks with weights large enough that every path matters."""
    torch.manual_seed(seed)
    model = FluxTransformer2DModel(**{**Flux.small.config, "guidance_embeds": guidance})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


class RandomText:
    """Each phrase has fixed random tokens, drawn from its letters."""

    def tokens(self, phrase: str, width: int) -> torch.Tensor:
        seed = sum(ord(c) * 31**i for i, c in enumerate(phrase)) % 2**31
        return torch.randn(width, generator=torch.Generator().manual_seed(seed))

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        hidden = torch.stack([torch.stack([self.tokens(f"{p}{i}", TEXT) for i in range(3)]) for p in prompts])
        return TextTokens(hidden, torch.stack([self.tokens(p + "!", POOLED) for p in prompts]))

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        return TextTokens(torch.stack([self.tokens(p, TEXT) for p in phrases])[None], torch.zeros(1, POOLED))


def small_autoencoder() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.36,
        shift_factor=0.12,
    ).eval()


def small_backbone(name: str = "flux1-schnell", *, guidance: bool = False) -> Backbone:
    """The card of `name` around small random parts; 48 x 80 pictures give 3 x 5 tokens."""
    return load_backbone(
        name,
        transformer=small_flux(guidance=guidance),
        autoencoder=small_autoencoder(),
        text=RandomText(),
        resolution=48,
    )
