"""A frozen diffusion transformer as a detectron2 `Backbone`: one map, or a pyramid on it.

batch [B, 3, H, W]  ──►  images    ──►  frozen features  ──►  "tokens" [B, channels, H / stride, W / stride]
                                        (no parameters)              └──►  p2, p3, p4, p5 (these learn)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.vit import SimpleFeaturePyramid
from torch.nn.functional import grid_sample

from ca_seg.adapters.normalised import Normalised
from ca_seg.errors import OutOfRange
from ca_seg.features.source import FeatureSource

TOKENS = "tokens"
LEVELS = (4, 8, 16, 32)  # strides of p2 .. p5
SCALES = {8: (2.0, 1.0, 0.5), 16: (4.0, 2.0, 1.0, 0.5)}  # by the stride of the map below; p5 of 8 is p4, every second


class Shared(tuple):
    """What it holds is no submodule, and stays one when a module is deep-copied (an average of weights)."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


class FrozenBackbone(Backbone):
    """The features of `source` as the map "tokens", at one `stride` (pixels from cell to cell).

    Frozen: the source is no submodule, so it is in no `parameters()`, `state_dict()` or checkpoint, is not wrapped for
    several processes, and `.train()` does not reach it; `.to(device)` does. It keeps its own precision, also under
    autocast. All images get the noise of one `seed`, so an image's features are always the same.

    An image is recorded at the backbone's own resolution, whatever its size here, and the features are laid over it
    again: cell (i, j) holds those at its middle, bilinear, and cells of padding hold 0. Where the image has the
    resolution and the stride is that of the tokens, cells are tokens, untouched.
    """

    place: torch.Tensor

    def __init__(self, source: FeatureSource, normalised: Normalised, *, stride: int, seed: int = 0) -> None:
        super().__init__()
        if stride < 1:
            raise OutOfRange(f"a stride of {stride} pixels", allowed="1 or more")
        self._frozen = Shared((source,))
        self.normalised, self.stride, self.seed = normalised, stride, seed
        self.channels = source.channels
        self.register_buffer("place", torch.empty(0), persistent=False)  # for its device

    @property
    def source(self) -> FeatureSource:
        return self._frozen[0]

    @property
    def size_divisibility(self) -> int:
        return self.stride

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"size_divisibility": self.stride, "square_size": 0}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {TOKENS: ShapeSpec(channels=self.channels, stride=self.stride)}

    @torch.compiler.disable  # recording listens inside the attentions, which a compiled model would pass by
    @torch.no_grad()
    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """A normalised batch [B, 3, H, W] to float32 [B, channels, H / stride, W / stride], rounded up."""
        images = self.normalised.images(batch)
        cells = [-(-side // self.stride) for side in batch.shape[-2:]]
        maps = batch.new_zeros(len(images), self.channels, *cells, dtype=torch.float32)
        sizes = [tuple(image.shape[-2:]) for image in images]
        for size in dict.fromkeys(sizes):
            own = [place for place, other in enumerate(sizes) if other == size]
            with torch.autocast(batch.device.type, enabled=False):
                found = self.source(torch.stack([images[place] for place in own]), [self.seed] * len(own))
            laid = laid_over(found, *size, self.stride)
            maps[own, :, : laid.shape[2], : laid.shape[3]] = laid
        return {TOKENS: maps}

    def _apply(self, fn: Callable, recurse: bool = True) -> FrozenBackbone:
        """What `.to`, `.cuda` and `.cpu` call: the source goes to the same device, and keeps its types."""
        super()._apply(fn, recurse)
        self.source.to(self.place.device)
        return self


class FrozenPyramid(SimpleFeaturePyramid):
    """detectron2's SimpleFeaturePyramid (ViTDet) on the map of a FrozenBackbone: p2, p3, p4, p5.

    It alone learns. Raises OutOfRange for a stride below it that the class has no step from.

    detectron2 0.6 writes the key of its padding "size_divisiblity", which nothing reads, so that images would not be
    padded to whole cells; both ways of asking are answered here.
    """

    def __init__(self, net: FrozenBackbone, *, channels: int, norm: str) -> None:
        if net.stride not in SCALES:
            raise OutOfRange(
                f"a pyramid on a map of stride {net.stride}",
                allowed=", ".join(map(str, SCALES)),
                fix="MODEL.CA_SEG.STRIDE 16 brings the features to that stride",
            )
        scales = SCALES[net.stride]
        top = None
        if len(scales) < len(LEVELS):
            top = LastLevelMaxPool()
            top.in_feature = "p4"
        super().__init__(net, TOKENS, channels, scales, top_block=top, norm=norm)

    @property
    def size_divisibility(self) -> int:
        return LEVELS[-1]

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"size_divisibility": LEVELS[-1], "square_size": 0}


def laid_over(features: torch.Tensor, height: int, width: int, stride: int) -> torch.Tensor:
    """Features [B, C, h, w] of a whole image of height x width pixels, read at the middle of every cell of `stride`.

    The last cell of a row or column may lie partly outside; it is read inside. As they are where cells are tokens.
    """
    if (features.shape[2] * stride, features.shape[3] * stride) == (height, width):
        return features
    middles = [
        (torch.arange(stride / 2, side + stride / 2, stride, device=features.device) / side * 2 - 1).clamp(-1, 1)
        for side in (height, width)
    ]
    rows, columns = torch.meshgrid(*middles, indexing="ij")
    places = torch.stack([columns, rows], dim=-1).expand(len(features), -1, -1, -1)
    return grid_sample(features, places.to(features.dtype), mode="bilinear", padding_mode="border", align_corners=False)
