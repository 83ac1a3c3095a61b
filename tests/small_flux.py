"""A small random FLUX.1 of the exact classes, and a backbone around it, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel

from ca_seg import load_backbone
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.base import TextTokens
from tests.backbones.small_configs import SMALL
from tests.tiny_parts import tiny_autoencoder

TEXT, POOLED = 24, 20


def small_flux(*, guidance: bool = False, seed: int = 0) -> FluxTransformer2DModel:
    """3 double and 2 single blocks with weights large enough that every path matters."""
    torch.manual_seed(seed)
    model = FluxTransformer2DModel(**{**SMALL["flux"].config, "guidance_embeds": guidance})
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


class RandomText:
    """Each phrase has fixed random tokens, seeded by its letters."""

    def tokens(self, phrase: str, width: int) -> torch.Tensor:
        seed = sum(ord(c) * 31**i for i, c in enumerate(phrase)) % 2**31
        return torch.randn(width, generator=torch.Generator().manual_seed(seed))

    def prompt(self, prompts: Sequence[str]) -> TextTokens:
        hidden = torch.stack([torch.stack([self.tokens(f"{p}{i}", TEXT) for i in range(3)]) for p in prompts])
        return TextTokens(hidden, torch.stack([self.tokens(p + "!", POOLED) for p in prompts]))

    def phrase_tokens(self, prompt: str, phrases: Sequence[str]) -> dict[str, tuple[int, ...]]:
        return {phrase: (index,) for index, phrase in enumerate(phrases)}

    def concepts(self, phrases: Sequence[str], pooling: str) -> TextTokens:
        return TextTokens(torch.stack([self.tokens(p, TEXT) for p in phrases])[None], torch.zeros(1, POOLED))


def small_autoencoder() -> AutoencoderKL:
    """FLUX.1's kind, without the convolutions around the latents."""
    return tiny_autoencoder(quant_conv=False)


def small_backbone(name: str = "flux1-schnell", *, guidance: bool = False) -> Backbone:
    """The card of `name` around small random parts; 48 x 80 images give 3 x 5 tokens."""
    return load_backbone(
        name,
        transformer=small_flux(guidance=guidance),
        autoencoder=small_autoencoder(),
        text=RandomText(),
        resolution=48,
    )
