"""The baselines that a head can be trained on in place of a backbone. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from ca_seg.features.efficientnet import EfficientNetLite0
from ca_seg.features.rgb_patches import RGBPatches
from ca_seg.features.source import FeatureSource

RESOLUTION = 128  # pixels of the short side, where none is given
BASELINES: dict[str, Callable[[int], FeatureSource]] = {  # called with the resolution
    RGBPatches.name: RGBPatches,
    EfficientNetLite0.name: EfficientNetLite0,
}
