"""EfficientNet-Lite0 as an image encoder (Tan and Le 2019; "lite": ReLU6, no squeeze-and-excitation).

Batch normalisation is folded into the convolutions, because the encoder is frozen. The classifier is left out.

    image [B, 3, H, W]  ──stem, stages 1 to 5──►  [B, 112, H/16, W/16]  ──stages 6, 7──►  [B, 320, H/32, W/32]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv2d, pad


@dataclass(frozen=True)
class Stage:
    """`repeats` inverted residual blocks; the first one has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
FINE_STAGE = 4  # the last stage of stride 16
CHANNELS = (STAGES[FINE_STAGE].channels, STAGES[-1].channels)  # 112 at stride 16, 320 at stride 32


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": ceil(H / stride) rows, the odd one of the padding at the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if height % 2 or width % 2:
            x = pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            return conv2d(x, self.weight, self.bias, self.stride, groups=self.groups)
        return conv2d(x, self.weight, self.bias, self.stride, (height // 2, width // 2), groups=self.groups)


class InvertedResidual(nn.Module):
    """Expand (1 x 1), filter each channel (k x k), project (1 x 1); added to the input where the shapes agree."""

    def __init__(self, channels: int, stage: Stage, stride: int) -> None:
        super().__init__()
        hidden = channels * stage.expansion
        self.expand: nn.Module = nn.Identity()
        if stage.expansion != 1:
            self.expand = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU6(inplace=True))
        each = SameConv(hidden, hidden, stage.kernel, stride, groups=hidden)
        self.filter = nn.Sequential(each, nn.ReLU6(inplace=True))
        self.project = nn.Conv2d(hidden, stage.channels, 1)
        self.residual = stride == 1 and channels == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.filter(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The stem and the seven stages. Input as in ImageNet training: (pixel - 127) / 128 for pixels 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(SameConv(3, STEM_CHANNELS, 3, 2), nn.ReLU6(inplace=True))
        stages, channels = [], STEM_CHANNELS
        for stage in STAGES:
            blocks = []
            for index in range(stage.repeats):
                blocks.append(InvertedResidual(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [B, 112, ceil(H/16), ceil(W/16)] and [B, 320, ceil(H/32), ceil(W/32)]."""
        x = self.stem(images)
        for stage in self.stages[: FINE_STAGE + 1]:
            x = stage(x)
        fine = x
        for stage in self.stages[FINE_STAGE + 1 :]:
            x = stage(x)
        return fine, x
