"""A frozen backbone as an encoder of segmentation_models_pytorch: SMP's contract, on a trainable pyramid.

    image [B, 3, H, W]   ──► frozen tokens [B, layers * width, h, w] ──► pyramid (learns) ──► H / 2, H / 4 ... H / 32

The backbone sees every image at its card's resolution, so a token may be more or less than `card.multiple` pixels of
the given image wide. The pyramid's maps are therefore resized (bilinear) to what SMP expects; an image of the card's
resolution needs no such step.
"""

from __future__ import annotations

from math import ceil

import torch
from torch.nn.functional import interpolate

from ca_seg.adapters.frozen import FrozenEncoderBase
from ca_seg.errors import OutOfRange, UserError
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.pyramid import SimpleFeaturePyramid

MAX_DEPTH = 5


class FrozenEncoder(FrozenEncoderBase):
    """What `smp.encoders.get_encoder` returns for a registered name.

    Its output is [image, maps ...]: 1 + `depth` tensors, map i of [B, width, ceil(H / s), ceil(W / s)] for s = 2 ** i,
    no coarser than `output_stride`.

    Args:
        features: what is read of the frozen backbone
        width: channels of every map
        depth: how many maps, 1 to 5
        output_stride: of the coarsest map: 8, 16 or 32
    """

    _is_torch_scriptable = False
    _is_torch_exportable = False
    _is_torch_compilable = False

    def __init__(
        self, features: FrozenFeatures, *, width: int, depth: int = MAX_DEPTH, output_stride: int = 32
    ) -> None:
        super().__init__(features)
        self._depth, self._output_stride = depth, output_stride
        self._strides = [min(2**i, output_stride) for i in range(1, depth + 1)]
        self.out_channels = [3] + [width] * depth
        self.pyramid = SimpleFeaturePyramid(features.channels, features.stride, strides=self._strides, width=width)

    @property
    def output_stride(self) -> int:
        """Stride of the last map. SMP refuses images whose sides it does not divide."""
        return self._strides[-1]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Part of SMP's contract. Raises UserError for other than 3 channels."""
        if in_channels != 3:
            raise UserError(
                f"{in_channels} input channels for {self.source.name}",
                allowed="3 (RGB): the autoencoder is frozen",
                fix="turn the images into RGB first",
            )

    def make_dilated(self, output_stride: int) -> None:
        """Part of SMP's contract, called after building. The pyramid already has that stride.

        It is not rebuilt, which would lose its weights.

        Raises:
            UserError: for another stride than the one it was built with
        """
        if output_stride != self._output_stride:
            raise UserError(
                f"output stride {output_stride} of an encoder that was built with {self._output_stride}",
                fix=f"build it with output_stride={output_stride}",
            )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        tokens = torch.cat(self.layer_maps(x), dim=1).to(x.dtype)
        maps = self.pyramid(tokens)
        sides = [(ceil(x.shape[2] / s), ceil(x.shape[3] / s)) for s in self._strides]
        return [x, *(_resized(level, *size) for level, size in zip(maps, sides, strict=True))]


def check_shape(depth: int, output_stride: int) -> None:
    """Check the options of an encoder before anything large is loaded. Raises OutOfRange."""
    if not 1 <= depth <= MAX_DEPTH:
        raise OutOfRange(f"encoder depth {depth}", allowed=f"1 to {MAX_DEPTH}")
    if output_stride not in (8, 16, 32):
        raise OutOfRange(f"output stride {output_stride}", allowed="8, 16, 32")


def _resized(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if maps.shape[2:] == (height, width):
        return maps
    return interpolate(maps, (height, width), mode="bilinear", align_corners=False)
