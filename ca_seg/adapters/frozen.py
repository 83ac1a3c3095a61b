"""The frozen side of SMP's encoders: images to one map per layer.

    encoder (nn.Module: trained, saved) ──► FrozenFeatures (not a submodule) ──► Backbone (frozen, shared, not saved)

A few channels of a diffusion transformer are far larger than the rest, so every channel is divided by its root mean
square over the image: attention outputs after noise samples are averaged, concept-projected features before their
products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.concept.normalise import channel_rms
from ca_seg.errors import OutOfRange
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.features.frozen_module import Frozen
from ca_seg.vocabulary import Words, as_vocabulary

SEED = 0  # every image gets the same noise: the same image has the same features, in any batch and epoch
OVERSHOOT = 0.1  # beyond 0..1: what bicubic resizing and strong colour changes leave, and no more


def encoder_features(backbone: Backbone, vocabulary: Words | None = None) -> FrozenFeatures:
    """What an encoder reads of `backbone`.

    Args:
        backbone: the frozen model
        vocabulary: words for concept-projected features, less their mean over the words, which hides the differences
            (not of a single word); None: the image's attention outputs, all channels

    Raises:
        UserError: for a word that the backbone does not know
    """
    words, part, normalise = None, "outputs", "none"
    if vocabulary is not None:
        words, normalise = as_vocabulary(vocabulary), "channel"
        part = "contrasts" if len(words.concepts) > 1 else "concepts"
    readout = ReadoutConfig(space="output", normalise=normalise)
    features = FrozenFeatures(backbone, words, parts=(part,), readout=readout)
    features.check_words()
    return features


class FrozenEncoderBase(Frozen[FrozenFeatures]):
    """A module that reads `encoder_features`."""

    @torch.compiler.disable  # recording hooks into the attentions, which a compiled model would bypass
    def layer_maps(self, images: torch.Tensor, layers: Sequence[int] | None = None) -> list[torch.Tensor]:
        """Maps of each layer, in float32 also under autocast.

        Args:
            images: float [B, 3, H, W] in 0..1
            layers: which joint attentions; None: those of the card

        Returns:
            float32 [B, width, h, w] for each layer, on the images' device

        Raises:
            OutOfRange: for images that are not in 0..1
        """
        checked = _checked(images)
        with torch.no_grad(), torch.autocast(self.source.device.type, enabled=False):
            maps = self.source.layer_maps(checked, [SEED] * len(checked), layers=layers)
            if self.source.vocabulary is None:
                maps = [_balanced(layer.contiguous()) for layer in maps]
        return [layer.to(images.device) for layer in maps]


def _checked(images: torch.Tensor) -> torch.Tensor:
    """float32 in 0..1."""
    low, high = float(images.min()), float(images.max())
    if not (images.is_floating_point() and low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise OutOfRange(
            f"images of {images.dtype} from {low:.3g} to {high:.3g}".replace("torch.", ""),
            allowed="floats from 0 to 1",
            fix="divide by 255 and omit Normalize: smp.encoders.get_preprocessing_params says mean 0 and std 1",
        )
    return images.detach().float().clamp(0, 1)


def _balanced(tokens: torch.Tensor) -> torch.Tensor:
    """[B, c, h, w], every channel divided by its root mean square over the image."""
    return tokens / channel_rms(tokens, dim=(2, 3))
