"""The frozen side of an encoder: images to token maps, without a gradient and without a place in the checkpoint.

    encoder (nn.Module, learns, saved) ──► FrozenTokens (no module) ──► Backbone (nn.Module, frozen, not saved)

What is no module is in no `parameters()`, `state_dict()` or `train()`. What it must still do, it does by hand: follow
its encoder to a device (`Following`), and stay one model when the encoder is deep-copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.errors import OutOfRange
from ca_seg.vocabulary import Vocabulary

SEED = 0  # every image gets the same noise: the same image has the same features, in any batch and epoch
OVERSHOOT = 0.1  # beyond 0..1: what bicubic resizing and strong colour changes leave, and no more


class FrozenTokens:
    """Images [B, 3, H, W] in 0..1 to one map [B, width, h, w] for each layer.

    Without a vocabulary: the image's attention outputs, all channels. With one: their products with each phrase's
    vector (concept-projected features). Either way no channel can drown the others: a few channels of a diffusion
    transformer are far larger than the rest (massive activations), so each is divided by its root mean square over the
    image's tokens, before any product.
    """

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary | None = None) -> None:
        self.backbone, self.vocabulary = backbone, vocabulary
        if vocabulary is not None:  # a word that the backbone does not know is told now, not in the first batch
            backbone.text.concepts(vocabulary.concepts, backbone.card.phrase_pooling)
        self.width = self._width() if vocabulary is None else len(vocabulary.concepts)

    @torch.compiler.disable  # recording listens inside the attentions, which a compiled model would pass by
    def __call__(self, images: torch.Tensor, layers: Sequence[int] | None = None) -> list[torch.Tensor]:
        """float32 maps of `layers` (default: those of the card), on the images' device.

        Noise samples are averaged. Raises OutOfRange for images that are not in 0..1.
        """
        seen = _checked(images)
        with torch.no_grad(), torch.autocast(self.backbone.device.type, enabled=False):
            recording = self.backbone.record(seen, layers=layers, seed=SEED)
            if self.vocabulary is not None:
                features = recording.ask(self.vocabulary)
                maps = [features.projected(layers=[layer], normalise="channel") for layer in recording.layers]
            else:
                outputs = [recording.streams[layer].output.float() for layer in recording.layers]
                each = [recording.grid.unflatten(out.transpose(2, 3).flatten(1, 2)) for out in outputs]
                maps = [_balanced(own.unflatten(0, (recording.noised_copies, -1)).mean(dim=0)) for own in each]
        return [own.to(images.device) for own in maps]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTokens:
        """Itself: copies of an encoder (an average of weights, a best model so far) share what never changes."""
        return self

    def follow(self, device: torch.device) -> None:
        """Move the backbone; not to `meta`, where its weights would be lost for all who share it."""
        if device.type != "meta" and device != self.backbone.device:
            self.backbone.to(device)

    def _width(self) -> int:
        """Channels of one attention output, by looking at one: families keep that number in different places."""
        side = self.backbone.card.multiple
        gray = torch.full((1, 3, side, side), 0.5)
        output = self.backbone.record(gray, layers=[0], noise_samples=1).streams[0].output
        return output.shape[1] * output.shape[3]


class FollowsDevice(nn.Module):
    """A module whose frozen side goes with it to another device, by `.to`, `.cuda`, `.cpu` of any module around it."""

    def __init__(self, frozen: FrozenTokens) -> None:
        super().__init__()
        self.frozen = frozen

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> FollowsDevice:
        super()._apply(fn, recurse)
        self.frozen.follow(fn(torch.empty(0, device=self.frozen.backbone.device)).device)
        return self


def _checked(images: torch.Tensor) -> torch.Tensor:
    """float32 in 0..1."""
    low, high = float(images.min()), float(images.max())
    if not (images.is_floating_point() and low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise OutOfRange(
            f"images of {images.dtype} from {low:.3g} to {high:.3g}".replace("torch.", ""),
            allowed="floats from 0 to 1",
            fix="divide by 255 and leave out Normalize: smp.encoders.get_preprocessing_params says mean 0 and std 1",
        )
    return images.detach().float().clamp(0, 1)


def _balanced(tokens: torch.Tensor) -> torch.Tensor:
    """[B, c, h, w], every channel divided by its root mean square over the image."""
    return tokens / tokens.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp_min(1e-6)
