"""From attention to one map per phrase: the maps of all layers are resized to one grid and averaged over heads.

layer 0   [B, 20 heads, t, 16, 16] ─┐ resize
layer 1   [B, 10 heads, t, 32, 32] ─┼──► mean over all heads [B, t, 32, 32] ──► mean over the tokens of each phrase
layer 2   [B, 20 heads, t, 8, 8]   ─┘
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from ca_seg.cross_attention.words import PromptTokens
from ca_seg.errors import UnknownName

RESIZING = ("bicubic", "bilinear")


@dataclass(frozen=True)
class PhraseTokens:
    """The tokens of C phrases among those of a text.

    Attributes:
        tokens: all that are read, each once
        phrases: for each phrase, the positions of its tokens in `tokens`
        among: the tokens of the softmax; None: all, padding included
    """

    tokens: tuple[int, ...]
    phrases: tuple[tuple[int, ...], ...]
    among: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls, prompt: PromptTokens, phrases: Sequence[str], *, padding: bool = True, in_order: bool = False
    ) -> PhraseTokens:
        """Where the phrases are in a prompt.

        Args:
            prompt: its tokens
            phrases: whole words of it
            padding: the softmax is over padding too
            in_order: the prompt is a list of the phrases; otherwise every place of a phrase counts

        Raises:
            UserError: for a phrase that is not in the prompt
        """
        places = prompt.in_order(phrases) if in_order else [prompt.of_phrase(phrase) for phrase in phrases]
        tokens = tuple(dict.fromkeys(token for place in places for token in place))
        positions = tuple(tuple(tokens.index(token) for token in place) for place in places)
        return cls(tokens, positions, None if padding else prompt.unpadded)

    def pooled(self, token_maps: torch.Tensor) -> torch.Tensor:
        """Maps of tokens [B, t, ...] to maps of phrases [B, C, ...]: the mean over a phrase's tokens."""
        return torch.stack([token_maps[:, list(positions)].mean(dim=1) for positions in self.phrases], dim=1)


def merged(layers: Iterable[torch.Tensor], *, resizing: str = "bicubic") -> torch.Tensor:
    """The mean over the heads of all layers, on the largest of their grids. A layer counts as often as it has heads.

    Args:
        layers: [B, heads, t, h, w] each (frames before h for a video), with grids of any size
        resizing: "bicubic" with negative values set to 0 (Tang et al. 2023, section 3.1, and their code), or
            "bilinear" (the code of Marcos-Manchon et al. 2024)

    Returns:
        [B, t, h, w], with frames before h for a video

    Raises:
        UnknownName: for another resizing
    """
    if resizing not in RESIZING:
        raise UnknownName("resizing", resizing, RESIZING)
    maps = list(layers)
    size = max((m.shape[-2:] for m in maps), key=lambda shape: shape[0] * shape[1])
    total = torch.stack([_resized(m, size, resizing).sum(dim=1) for m in maps]).sum(dim=0)
    return total / sum(m.shape[1] for m in maps)


def _resized(maps: torch.Tensor, size: torch.Size, resizing: str) -> torch.Tensor:
    if maps.shape[-2:] == size:
        return maps
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    larger = interpolate(flat, size, mode=resizing, align_corners=False)
    return larger.clamp_min(0).reshape(*maps.shape[:-2], *size)
