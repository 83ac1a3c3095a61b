"""The decoders of segmentation_models_pytorch as heads on frozen features.

    features [channels, h, w] ── batch norm ── padded ── pyramid ── SMP's decoder ── 1 x 1 ── cropped ──► logits

The decoders are SMP's own classes in their own sizes (at `width` 64). Two things are changed around them. Batch norms
inside become group norms (Wu and He 2018), because a pooled map of one location in a batch of one has no variance, and
PyTorch refuses it in training. And the first norm is a batch norm over the features' channels, as in a linear probe,
because a few channels of a transformer are far larger than the rest.

Zero-shot class maps at the end of the features are treated like any other channels.

DPT is missing: it reads four depths of a transformer instead of a pyramid. `ca_seg.adapters.smp` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder
from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder
from segmentation_models_pytorch.decoders.pan.decoder import PANDecoder
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import nn
from torch.nn.functional import pad

from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.heads.batch_norm import SyncedBatchNorm2d
from ca_seg.heads.head import Head, HeadInput
from ca_seg.heads.pyramid import SimpleFeaturePyramid

MAX_STRIDE = 32  # no decoder reads a coarser stride
RATES = (12, 24, 36)  # dilations of DeepLab's pyramid pooling, as in SMP
Channels = list[int]  # of the six maps of an SMP encoder; 0 where nothing is read


@dataclass(frozen=True)
class Decoder:
    """How SMP's decoder is built, and what it reads and returns.

    Args:
        build: from the channels of the maps and the width
        output_channels: in units of a quarter width
        output_stride: of the decoder's result
        reads: the strides of the maps that SMP passes to a decoder after the image; None: not read
        min_pixels: of each side
    """

    build: Callable[[Channels, int], nn.Module]
    output_channels: int
    output_stride: int
    reads: tuple[int | None, ...] = (None, 4, 8, 16, 32)
    min_pixels: int = MAX_STRIDE


def _halving(width: int) -> Channels:
    return [4 * width, 2 * width, width, width // 2, width // 4]


ALL_STRIDES = (2, 4, 8, 16, 32)
DECODERS = {
    "unet": Decoder(lambda c, w: UnetDecoder(c, _halving(w)), output_channels=1, output_stride=1, reads=ALL_STRIDES),
    "unetplusplus": Decoder(
        lambda c, w: UnetPlusPlusDecoder(c, _halving(w)), output_channels=1, output_stride=1, reads=ALL_STRIDES
    ),
    "manet": Decoder(
        lambda c, w: MAnetDecoder(c, _halving(w), pab_channels=w), output_channels=1, output_stride=1, reads=ALL_STRIDES
    ),
    "linknet": Decoder(
        lambda c, w: LinknetDecoder(c, prefinal_channels=w // 2), output_channels=2, output_stride=1, reads=ALL_STRIDES
    ),
    "fpn": Decoder(
        lambda c, w: FPNDecoder(c, pyramid_channels=4 * w, segmentation_channels=2 * w),
        output_channels=8,
        output_stride=4,
    ),
    "pspnet": Decoder(
        lambda c, w: PSPDecoder(c, out_channels=8 * w), output_channels=32, output_stride=8, reads=(None, None, 8)
    ),
    "deeplabv3": Decoder(
        lambda c, w: DeepLabV3Decoder(c[-1], 4 * w, RATES, aspp_separable=False, aspp_dropout=0.5),
        output_channels=16,
        output_stride=8,
        reads=(None, None, None, None, 8),
    ),
    "deeplabv3plus": Decoder(
        lambda c, w: DeepLabV3PlusDecoder(c, 5, 4 * w, RATES, output_stride=16, aspp_separable=True, aspp_dropout=0.5),
        output_channels=16,
        output_stride=4,
        reads=(None, 4, None, None, 16),
    ),
    # its attention pools the deepest map three times, and a norm needs more than one location: 256 / 16 = 16, 8, 4, 2
    "pan": Decoder(
        lambda c, w: PANDecoder(c, 5, w // 2),
        output_channels=2,
        output_stride=4,
        reads=(None, 4, 8, 16, 16),
        min_pixels=256,
    ),
    "upernet": Decoder(lambda c, w: UPerNetDecoder(c, decoder_channels=4 * w), output_channels=16, output_stride=4),
    "segformer": Decoder(
        lambda c, w: SegformerDecoder(c, segmentation_channels=4 * w), output_channels=16, output_stride=4
    ),
}


class SMPHead(Head):
    """One of `DECODERS` on features [B, channels, h, w] of any grid.

    Args:
        spec: what the head is built for
        decoder: a name from `DECODERS`
        width: of the pyramid, a multiple of 16; at 64 the decoder has the size that SMP gives it
        stride: how many pixels wide a token is assumed to be: 8, 16 or 32; None: as many as it is. It sets how far the
            decoder upsamples the tokens, and with it the cost.

    Raises:
        UnknownName: for another decoder
        OutOfRange: for another width or stride
    """

    def __init__(self, spec: HeadInput, *, decoder: str = "unet", width: int = 64, stride: int | None = None) -> None:
        super().__init__(spec)
        stride = spec.stride if stride is None else stride
        if decoder not in DECODERS:
            raise UnknownName("decoder", decoder, DECODERS)
        if width < 16 or width % 16:
            raise OutOfRange(f"width {width} of a decoder", allowed="16, 32, 48 ...")
        if stride not in (8, 16, 32):
            raise OutOfRange(f"stride {stride} of a decoder's tokens", allowed="8, 16, 32")
        self.stride, self.kind = stride, DECODERS[decoder]
        self.norm = SyncedBatchNorm2d(spec.channels)
        strides = [s for s in self.kind.reads if s is not None]
        self.pyramid = SimpleFeaturePyramid(spec.channels, stride, strides=strides, width=width)
        built = self.kind.build([0, *(width if s else 0 for s in self.kind.reads)], width)
        self.decoder = with_group_norms(built)
        self.head = SegmentationHead(self.kind.output_channels * width // 4, spec.classes, kernel_size=1)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, h', w'] at the decoder's own resolution: h' = h * stride / 1, 4 or 8."""
        height, width = features.shape[-2:]
        missing = [self._padded(side) - side for side in (height, width)]
        padded = pad(self.norm(features), (0, missing[1], 0, missing[0]), mode="replicate")
        logits = self.head(self.decoder(self._six_maps(padded)))
        scale = self.stride // self.kind.output_stride
        return logits[..., : height * scale, : width * scale]

    def _padded(self, side: int) -> int:
        """The next number of tokens that the decoder can halve down to its deepest map."""
        multiple = max(1, MAX_STRIDE // self.stride)
        return max(ceil(side / multiple) * multiple, self.kind.min_pixels // self.stride)

    def _six_maps(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """What an SMP encoder would return; empty tensors where the decoder reads only a shape, or nothing."""
        maps = iter(self.pyramid(tokens))
        batch, _, height, width = tokens.shape
        image = tokens.new_empty(batch, 0, height * self.stride, width * self.stride)
        return [image, *(next(maps) if s else tokens.new_empty(batch, 0, 1, 1) for s in self.kind.reads)]


def with_group_norms(module: nn.Module) -> nn.Module:
    """The module with each batch norm replaced by a group norm, of 16 channels per group if 16 divides them."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            setattr(module, name, nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels))
        else:
            with_group_norms(child)
    return module
