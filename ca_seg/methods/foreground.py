"""Class-agnostic methods: one map of what stands out, as the map of one class and of a background.

classes              maps
cat                  the foreground, min-max scaled to 0..1
cat, background      the foreground, and its mean everywhere: argmax is then the papers' threshold, "above the mean"
cat, dog             refused: the method cannot tell them apart
"""

from __future__ import annotations

import torch

from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary

BACKGROUND = "background"


def background_index(vocabulary: Vocabulary) -> int | None:
    """The vocabulary's background, or else its class named "background"; None where there is none."""
    if vocabulary.background is not None:
        return vocabulary.background
    names = [name.strip().casefold() for name in vocabulary.classes]
    return names.index(BACKGROUND) if BACKGROUND in names else None


def check_one_class(vocabulary: Vocabulary, method: str) -> None:
    """Raises UserError for several classes beside the background."""
    background = background_index(vocabulary)
    objects = [name for index, name in enumerate(vocabulary.classes) if index != background]
    if len(objects) > 1:
        named = ", ".join(map(repr, objects[:3])) + (" ..." if len(objects) > 3 else "")
        raise UserError(
            f"{method} is class-agnostic and cannot tell {len(objects)} classes apart ({named})",
            allowed="one class, and at most 'background' beside it",
            fix="ask one class at a time, or take a method that sees words (`ca-seg methods` lists all)",
        )


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Each map [..., h, w] scaled to 0..1; a constant map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)


def with_background(maps: torch.Tensor, vocabulary: Vocabulary) -> torch.Tensor:
    """The maps of all classes, from those of all but the background.

    The background's map is constant: the mean over the image of the largest map. With one class, argmax then decides as
    the papers do, which call foreground what is above the mean of the map.

    Args:
        maps: [B, K or K - 1, h, w], the classes in order without the background; for a vocabulary of nothing but a
            background, one map of any foreground
        vocabulary: K classes

    Returns:
        [B, K, h, w]
    """
    background = background_index(vocabulary)
    if background is None:
        return maps
    level = maps.amax(dim=1, keepdim=True).mean(dim=(-2, -1), keepdim=True)
    level = level.nextafter(torch.full_like(level, torch.inf)).expand(-1, 1, *maps.shape[-2:])  # equal is not above
    if len(vocabulary.classes) == 1:
        return level.contiguous()
    return torch.cat([maps[:, :background], level, maps[:, background:]], dim=1)
