"""What a head is trained by: losses at the image's size, or cross entropy at the tokens.

image     logits brought to the image, [B, K, H, W], against the mask [B, H, W]: cross-entropy, dice, lovasz, focal
tokens    logits [B, K, h, w] against the share of each class in the token's pixels: cross-entropy alone. The same
          as at the image with logits brought there by nearest neighbour, and far quicker: K numbers for a token
          and not for each of its pixels

pixels  cat cat grass grass
        cat cat grass void      one token ──►  cat 4, grass 3; void counts for nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import IGNORE_INDEX

LOSSES = ("cross-entropy", "dice", "lovasz", "focal")
PLACES = ("image", "tokens")


class SegmentationLoss:
    """A weighted sum of losses. Raises UnknownName, OutOfRange for a weight, UserError for a loss not for tokens."""

    def __init__(self, weights: Mapping[str, float], at: str = "image") -> None:
        if at not in PLACES:
            raise UnknownName("place of the loss", at, PLACES)
        for name, weight in weights.items():
            if name not in LOSSES:
                raise UnknownName("loss", name, LOSSES)
            if not weight > 0:
                raise OutOfRange(f"the weight {weight} of the loss {name}", allowed="above 0")
        if not weights:
            raise UserError("no loss was named", allowed=", ".join(LOSSES))
        if at == "tokens" and set(weights) != {"cross-entropy"}:
            raise UserError("at the tokens there is cross-entropy alone", fix="take --model.loss_at image")
        self.at = at
        self.terms = {name: (weight, _of_smp(name)) for name, weight in weights.items()}

    def __call__(self, logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Logits [B, K, H, W] (or of tokens, [B, K, h, w]) and int64 mask [B, H, W], 255 ignored, to a number.

        `weight` float [B, H, W], 0 or more: how much each pixel counts, for cross-entropy only (UserError otherwise).
        The mask must have a pixel that counts.
        """
        if self.at == "tokens":
            return token_cross_entropy(logits, mask, weight)
        if weight is not None and set(self.terms) != {"cross-entropy"}:
            raise UserError("weights of pixels are for cross-entropy alone", fix="leave the other losses out")
        total = logits.new_zeros(())
        for name, (share, own) in self.terms.items():
            value = cross_entropy(logits, mask, weight) if name == "cross-entropy" else own(logits, mask)
            total = total + share * value
        return total


def cross_entropy(logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Mean over the pixels that count, each by its weight."""
    if weight is None:
        return functional.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX)
    each = functional.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    counts = weight * (mask != IGNORE_INDEX)
    return (each * counts).sum() / counts.sum()


def token_cross_entropy(logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Logits [B, K, h, w] against the classes of every token's pixels; the mean over the pixels that count."""
    counts = token_counts(mask, logits.shape[1], logits.shape[2], logits.shape[3], weight)
    return -(logits.float().log_softmax(dim=1) * counts).sum() / counts.sum()


def token_counts(
    mask: torch.Tensor, classes: int, height: int, width: int, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Pixels (or their weights) of each class in each token's cell: mask [B, H, W] to float32 [B, K, h, w].

    A pixel belongs to the cell that nearest-neighbour scaling gives it: row * h // H. Void counts nowhere.
    """
    batch, rows, columns = mask.shape
    across = torch.arange(rows, device=mask.device) * height // rows
    along = torch.arange(columns, device=mask.device) * width // columns
    image = torch.arange(batch, device=mask.device)[:, None, None]
    kind = mask.clamp(max=classes)  # void is a class of its own, and left out at the end
    place = ((image * (classes + 1) + kind) * height + across[:, None]) * width + along
    each = None if weight is None else weight.flatten().float()
    counts = torch.bincount(place.flatten(), weights=each, minlength=batch * (classes + 1) * height * width)
    return counts.float().view(batch, classes + 1, height, width)[:, :-1]


def _of_smp(name: str) -> Any:
    if name == "cross-entropy":
        return None
    with optional_imports(f"the loss {name!r}"):
        from segmentation_models_pytorch import losses  # only here: it takes seconds to import

    kind = {"dice": losses.DiceLoss, "lovasz": losses.LovaszLoss, "focal": losses.FocalLoss}[name]
    return kind("multiclass", ignore_index=IGNORE_INDEX)
