"""Losses of a head: at the size of the image, or cross-entropy at the tokens.

image     logits [B, K, H, W] at the size of the image against the mask [B, H, W]: cross-entropy, dice, lovasz, focal
tokens    logits [B, K, h, w] against the pixel counts of each class in each token: cross-entropy only. The result is
          that of logits enlarged to the image by nearest neighbour, but far faster: K numbers per token, not per pixel

pixels  cat cat grass grass
        cat cat grass void      one token ──►  cat 4, grass 3; void is not counted
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
LOSS_AT = ("image", "tokens")


class SegmentationLoss:
    """A weighted sum of losses.

    Args:
        weights: by name, each above 0: cross-entropy, dice, lovasz, focal
        at: image or tokens

    Raises:
        UnknownName: for a loss or size that there is not
        OutOfRange: for a weight that is not positive
        UserError: for no loss, and for a loss other than cross-entropy at the tokens
    """

    def __init__(self, weights: Mapping[str, float], at: str = "image") -> None:
        if at not in LOSS_AT:
            raise UnknownName("size for the loss", at, LOSS_AT)
        for name, weight in weights.items():
            if name not in LOSSES:
                raise UnknownName("loss", name, LOSSES)
            if not weight > 0:
                raise OutOfRange(f"the weight {weight} of the loss {name}", allowed="above 0")
        if not weights:
            raise UserError("no loss was named", allowed=", ".join(LOSSES))
        if at == "tokens" and set(weights) != {"cross-entropy"}:
            raise UserError("only cross-entropy can be computed at the tokens", fix="give model.loss_at=image")
        self.at = at
        self.terms = {name: (weight, _of_smp(name)) for name, weight in weights.items()}

    def __call__(self, logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar.

        Args:
            logits: [B, K, H, W] at the size of the image, or [B, K, h, w] at the tokens
            mask: int64 [B, H, W]; it must have a pixel that is not void
            weight: [B, H, W], 0 or more: how much each pixel counts; None: all alike

        Raises:
            UserError: for weights of pixels with a loss other than cross-entropy
        """
        if self.at == "tokens":
            return token_cross_entropy(logits, mask, weight)
        if weight is not None and set(self.terms) != {"cross-entropy"}:
            raise UserError("only cross-entropy takes weights of pixels", fix="leave the other losses out")
        total = logits.new_zeros(())
        for name, (factor, loss) in self.terms.items():
            value = cross_entropy(logits, mask, weight) if name == "cross-entropy" else loss(logits, mask)
            total = total + factor * value
        return total


def cross_entropy(logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """The mean over the pixels that are not void, weighted by `weight`."""
    if weight is None:
        return functional.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX)
    losses = functional.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    counts = weight * (mask != IGNORE_INDEX)
    return (losses * counts).sum() / counts.sum()


def token_cross_entropy(logits: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Logits [B, K, h, w] against the classes of each token's pixels: the mean over the pixels that are not void."""
    counts = token_counts(mask, logits.shape[1], logits.shape[2], logits.shape[3], weight)
    return -(logits.float().log_softmax(dim=1) * counts).sum() / counts.sum()


def token_counts(
    mask: torch.Tensor, classes: int, height: int, width: int, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Pixels (or their weights) of each class in each token: mask [B, H, W] to float32 [B, K, h, w].

    A pixel in row y belongs to the token in row y * h // H, as in scaling by nearest neighbour. Void is not counted.
    """
    batch, rows, columns = mask.shape
    token_rows = torch.arange(rows, device=mask.device) * height // rows
    token_columns = torch.arange(columns, device=mask.device) * width // columns
    image = torch.arange(batch, device=mask.device)[:, None, None]
    index = mask.clamp(max=classes)  # void is class K, which is cut off at the end
    bins = ((image * (classes + 1) + index) * height + token_rows[:, None]) * width + token_columns
    weights = None if weight is None else weight.flatten().float()
    counts = torch.bincount(bins.flatten(), weights=weights, minlength=batch * (classes + 1) * height * width)
    return counts.float().view(batch, classes + 1, height, width)[:, :-1]


def _of_smp(name: str) -> Any:
    if name == "cross-entropy":
        return None
    with optional_imports(f"the loss {name!r}"):
        from segmentation_models_pytorch import losses  # only here: it takes seconds to import

    kind = {"dice": losses.DiceLoss, "lovasz": losses.LovaszLoss, "focal": losses.FocalLoss}[name]
    return kind("multiclass", ignore_index=IGNORE_INDEX)
