"""The decoders of segmentation_models_pytorch as heads on frozen features.

    features [channels, h, w] ── batch norm ── padded ── pyramid ── SMP's decoder ── 1 x 1 ── cropped ──► logits

The decoders are SMP's own classes in their own sizes (at `width` 64). Two things are changed around them. Batch norms
inside become group norms (Wu and He 2018): a pooled place in a batch of one has no variance, and PyTorch refuses it in
training. And the first norm is a batch norm over the features' channels, as in a linear probe: a few channels of a
transformer are far larger than the rest.

Zero-shot class maps at the end of the features are channels like the others here.

DPT is not among them: it reads four depths of a transformer, no pyramid. `ca_seg.adapters.smp` has it.
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

DEEPEST = 32  # no decoder reads a coarser stride
RATES = (12, 24, 36)  # dilations of DeepLab's pyramid pooling, as in SMP
Channels = list[int]  # of the maps at SMP's six places; 0 where nothing is read


@dataclass(frozen=True)
class Decoder:
    """How SMP's decoder is built (from channels and `width`), and what it reads and gives.

    SMP hands a decoder six maps: the image, then five. `reads` has their strides, None where the decoder looks at
    none. `gives` is channels in units of a quarter width; `at` the stride of the output; `least` pixels it must have.
    """

    build: Callable[[Channels, int], nn.Module]
    gives: int
    at: int
    reads: tuple[int | None, ...] = (None, 4, 8, 16, 32)
    least: int = DEEPEST


def _halving(width: int) -> Channels:
    return [4 * width, 2 * width, width, width // 2, width // 4]


EVERY = (2, 4, 8, 16, 32)
DECODERS = {
    "unet": Decoder(lambda c, w: UnetDecoder(c, _halving(w)), gives=1, at=1, reads=EVERY),
    "unetplusplus": Decoder(lambda c, w: UnetPlusPlusDecoder(c, _halving(w)), gives=1, at=1, reads=EVERY),
    "manet": Decoder(lambda c, w: MAnetDecoder(c, _halving(w), pab_channels=w), gives=1, at=1, reads=EVERY),
    "linknet": Decoder(lambda c, w: LinknetDecoder(c, prefinal_channels=w // 2), gives=2, at=1, reads=EVERY),
    "fpn": Decoder(lambda c, w: FPNDecoder(c, pyramid_channels=4 * w, segmentation_channels=2 * w), gives=8, at=4),
    "pspnet": Decoder(lambda c, w: PSPDecoder(c, out_channels=8 * w), gives=32, at=8, reads=(None, None, 8)),
    "deeplabv3": Decoder(
        lambda c, w: DeepLabV3Decoder(c[-1], 4 * w, RATES, aspp_separable=False, aspp_dropout=0.5),
        gives=16,
        at=8,
        reads=(None, None, None, None, 8),
    ),
    "deeplabv3plus": Decoder(
        lambda c, w: DeepLabV3PlusDecoder(c, 5, 4 * w, RATES, output_stride=16, aspp_separable=True, aspp_dropout=0.5),
        gives=16,
        at=4,
        reads=(None, 4, None, None, 16),
    ),
    # its attention pools the deepest map three times, and a norm needs more than one place: 256 / 16 = 16, 8, 4, 2
    "pan": Decoder(lambda c, w: PANDecoder(c, 5, w // 2), gives=2, at=4, reads=(None, 4, 8, 16, 16), least=256),
    "upernet": Decoder(lambda c, w: UPerNetDecoder(c, decoder_channels=4 * w), gives=16, at=4),
    "segformer": Decoder(lambda c, w: SegformerDecoder(c, segmentation_channels=4 * w), gives=16, at=4),
}


class SMPHead(Head):
    """One of `DECODERS` on features [B, channels, h, w] of any grid.

    `stride`: how many pixels a token is taken to be wide (8, 16 or 32; None: as many as it is). It sets how far the
    decoder climbs above the tokens, and with it the cost. `width`: of the pyramid, a multiple of 16; the decoder is as
    SMP makes it at 64. Raises UnknownName, OutOfRange.
    """

    def __init__(self, given: HeadInput, *, decoder: str = "unet", width: int = 64, stride: int | None = None) -> None:
        super().__init__(given)
        stride = given.stride if stride is None else stride
        if decoder not in DECODERS:
            raise UnknownName("decoder", decoder, DECODERS)
        if width < 16 or width % 16:
            raise OutOfRange(f"width {width} of a decoder", allowed="16, 32, 48 ...")
        if stride not in (8, 16, 32):
            raise OutOfRange(f"stride {stride} of a decoder's tokens", allowed="8, 16, 32")
        self.stride, self.kind = stride, DECODERS[decoder]
        self.norm = SyncedBatchNorm2d(given.channels)
        strides = [s for s in self.kind.reads if s is not None]
        self.pyramid = SimpleFeaturePyramid(given.channels, stride, strides=strides, width=width)
        built = self.kind.build([0, *(width if s else 0 for s in self.kind.reads)], width)
        self.decoder = with_group_norms(built)
        self.head = SegmentationHead(self.kind.gives * width // 4, given.classes, kernel_size=1)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, h', w'] at the decoder's own resolution: h' = h * stride / 1, 4 or 8."""
        height, width = features.shape[-2:]
        lacking = [self._padded(side) - side for side in (height, width)]
        whole = pad(self.norm(features), (0, lacking[1], 0, lacking[0]), mode="replicate")
        logits = self.head(self.decoder(self._six_maps(whole)))
        scale = self.stride // self.kind.at
        return logits[..., : height * scale, : width * scale]

    def _padded(self, side: int) -> int:
        """Tokens of a side that the decoder can halve down to its deepest map."""
        multiple = max(1, DEEPEST // self.stride)
        return max(ceil(side / multiple) * multiple, self.kind.least // self.stride)

    def _six_maps(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """What an SMP encoder would give; without content where only a shape is read, or nothing."""
        made = iter(self.pyramid(tokens))
        batch, _, height, width = tokens.shape
        image = tokens.new_empty(batch, 0, height * self.stride, width * self.stride)
        return [image, *(next(made) if s else tokens.new_empty(batch, 0, 1, 1) for s in self.kind.reads)]


def with_group_norms(module: nn.Module) -> nn.Module:
    """The module with each batch norm replaced by a group norm, of 16 channels to a group where they can be so cut."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            setattr(module, name, nn.GroupNorm(channels // 16 if channels % 16 == 0 else 1, channels))
        else:
            with_group_norms(child)
    return module
