"""A frozen diffusion transformer as a detectron2 `Backbone`: one map, or a pyramid on it.

batch [B, 3, H, W]  ──►  images    ──►  frozen features  ──►  "tokens" [B, channels, H / stride, W / stride]
                                        (no parameters)              └──►  p2, p3, p4, p5 (trained)
"""

from __future__ import annotations

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.vit import SimpleFeaturePyramid
from torch.nn.functional import grid_sample

from ca_seg.adapters.normalised import Normalised
from ca_seg.errors import OutOfRange
from ca_seg.features.frozen_module import Frozen
from ca_seg.features.source import FeatureSource

TOKENS = "tokens"
LEVELS = (4, 8, 16, 32)  # strides of p2 .. p5
# by the stride of the map below; on stride 8, p5 is every second cell of p4
SCALES = {8: (2.0, 1.0, 0.5), 16: (4.0, 2.0, 1.0, 0.5)}


class FrozenBackbone(Frozen[FeatureSource], Backbone):
    """The features of `source` as the map "tokens", at one stride.

    Frozen: the source is in no `parameters()`, `state_dict()` or checkpoint, and `.train()` does not reach it;
    `.to(device)` does. It keeps its own precision, also under autocast. All images get the noise of one seed, so an
    image's features are always the same.

    An image is recorded at the backbone's resolution, whatever its size here, and the features are resampled to its
    cells: cell (i, j) holds those at its centre, bilinear, and cells of padding hold 0. Where the image has the
    resolution and the stride is that of the tokens, cells are tokens, unchanged.

    Args:
        source: any frozen features
        normalised: what the trainer did to the images
        stride: pixels from cell to cell
        seed: of the noise

    Raises:
        OutOfRange: for a stride below 1
    """

    def __init__(self, source: FeatureSource, normalised: Normalised, *, stride: int, seed: int = 0) -> None:
        super().__init__(source)
        if stride < 1:
            raise OutOfRange(f"a stride of {stride} pixels", allowed="1 or more")
        self.normalised, self.stride, self.seed = normalised, stride, seed
        self.channels = source.channels

    @property
    def size_divisibility(self) -> int:
        return self.stride

    @property
    def padding_constraints(self) -> dict[str, int]:
        return {"size_divisibility": self.stride, "square_size": 0}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {TOKENS: ShapeSpec(channels=self.channels, stride=self.stride)}

    @torch.compiler.disable  # recording hooks into the attentions, which a compiled model would bypass
    @torch.no_grad()
    def forward(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        """A normalised batch [B, 3, H, W] to float32 [B, channels, H / stride, W / stride], rounded up."""
        images = self.normalised.images(batch)
        cells = [-(-side // self.stride) for side in batch.shape[-2:]]
        maps = batch.new_zeros(len(images), self.channels, *cells, dtype=torch.float32)
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        for size in dict.fromkeys(sizes):
            rows = [row for row, row_size in enumerate(sizes) if row_size == size]
            with torch.autocast(batch.device.type, enabled=False):
                features = self.source(torch.stack([images[row] for row in rows]), [self.seed] * len(rows))
            sampled = at_cells(features, *size, self.stride)
            maps[rows, :, : sampled.shape[2], : sampled.shape[3]] = sampled
        return {TOKENS: maps}


class FrozenPyramid(SimpleFeaturePyramid):
    """detectron2's SimpleFeaturePyramid (ViTDet) on the map of a FrozenBackbone: p2 to p5. Only the pyramid learns.

    detectron2 0.6 misspells the key of its padding as "size_divisiblity", which nothing reads, so images would not be
    padded to whole cells. `size_divisibility` and `padding_constraints` both give the right number here.

    Raises:
        OutOfRange: for a map of another stride than those in `SCALES`
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


def at_cells(features: torch.Tensor, height: int, width: int, stride: int) -> torch.Tensor:
    """Features [B, C, h, w] of a whole image of height x width pixels, sampled at the centre of every cell of `stride`.

    A last cell whose centre lies outside the image is sampled at the border. Where cells are tokens, nothing changes.
    """
    if (features.shape[2] * stride, features.shape[3] * stride) == (height, width):
        return features
    centres = [
        (torch.arange(stride / 2, side + stride / 2, stride, device=features.device) / side * 2 - 1).clamp(-1, 1)
        for side in (height, width)
    ]
    rows, columns = torch.meshgrid(*centres, indexing="ij")
    locations = torch.stack([columns, rows], dim=-1).expand(len(features), -1, -1, -1)
    locations = locations.to(features.dtype)
    return grid_sample(features, locations, mode="bilinear", padding_mode="border", align_corners=False)
