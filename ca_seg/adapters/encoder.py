"""A frozen backbone as an encoder of segmentation_models_pytorch: SMP's contract, on a trainable pyramid.

    image [B, 3, H, W]   ──► frozen tokens [B, layers * width, h, w] ──► pyramid (learns) ──► H / 2, H / 4 ... H / 32

The backbone sees an image at its card's resolution, whatever its size, so a token need not be `card.multiple` pixels
of it wide. The pyramid's maps are therefore brought to what SMP expects, bilinear; an image of the card's own
resolution needs no such step.
"""

from __future__ import annotations

from math import ceil

import torch
from torch.nn.functional import interpolate

from ca_seg.adapters.frozen import FollowsDevice, FrozenTokens
from ca_seg.errors import OutOfRange, UserError
from ca_seg.heads.pyramid import SimpleFeaturePyramid

DEEPEST = 5


class FrozenEncoder(FollowsDevice):
    """What `smp.encoders.get_encoder` makes for a registered name.

    Gives [image, maps ...]: 1 + `depth` tensors, map i of [B, width, ceil(H / s), ceil(W / s)] for s = 2 ** i, no
    coarser than `output_stride`. Raises OutOfRange for a depth or an output stride that SMP does not know.
    """

    _is_torch_scriptable = False
    _is_torch_exportable = False
    _is_torch_compilable = False

    def __init__(self, frozen: FrozenTokens, *, width: int, depth: int = DEEPEST, output_stride: int = 32) -> None:
        super().__init__(frozen)
        self._depth, self._output_stride = depth, output_stride
        self._strides = [min(2**i, output_stride) for i in range(1, depth + 1)]
        self.out_channels = [3] + [width] * depth
        card = frozen.backbone.card
        layers = len(card.layers)
        self.pyramid = SimpleFeaturePyramid(layers * frozen.width, card.multiple, strides=self._strides, width=width)

    @property
    def output_stride(self) -> int:
        """Of the last map. SMP refuses images whose sides it does not divide."""
        return self._strides[-1]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """SMP asks for it. Raises UserError for other than 3."""
        if in_channels != 3:
            raise UserError(
                f"{in_channels} input channels for {self.frozen.backbone.card.name}",
                allowed="3 (RGB): the autoencoder is frozen",
                fix="turn the images into RGB first",
            )

    def make_dilated(self, output_stride: int) -> None:
        """SMP asks for it after building. The pyramid was built so; it is not rebuilt, which would forget its weights.

        Raises UserError for another stride than the one it was built with.
        """
        if output_stride != self._output_stride:
            raise UserError(
                f"an encoder of output stride {self._output_stride} was asked for {output_stride}",
                fix=f"build it with output_stride={output_stride}",
            )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        tokens = torch.cat(self.frozen(x), dim=1).to(x.dtype)
        maps = self.pyramid(tokens)
        sides = [(ceil(x.shape[2] / s), ceil(x.shape[3] / s)) for s in self._strides]
        return [x, *(_resized(own, *size) for own, size in zip(maps, sides, strict=True))]


def check_shape(depth: int, output_stride: int) -> None:
    """Before anything large is loaded. Raises OutOfRange."""
    if not 1 <= depth <= DEEPEST:
        raise OutOfRange(f"encoder depth {depth}", allowed=f"1 to {DEEPEST}")
    if output_stride not in (8, 16, 32):
        raise OutOfRange(f"output stride {output_stride}", allowed="8, 16, 32")


def _resized(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if maps.shape[2:] == (height, width):
        return maps
    return interpolate(maps, (height, width), mode="bilinear", align_corners=False)
