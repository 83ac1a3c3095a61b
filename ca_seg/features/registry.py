"""What a head learns on, by name: a backbone of the zoo, or a yardstick that is none."""

from __future__ import annotations

from ca_seg.backbones.load import load_backbone
from ca_seg.features.efficientnet import EfficientNetLite0
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.features.rgb_patches import RGBPatches
from ca_seg.features.source import FeatureSource
from ca_seg.tasks.head_settings import HeadSettings
from ca_seg.vocabulary import Vocabulary

BASELINES = {RGBPatches.name: RGBPatches, EfficientNetLite0.name: EfficientNetLite0}


def open_source(model: HeadSettings, vocabulary: Vocabulary, device: str) -> FeatureSource:
    """Raises UnknownName for a name that is neither, and whatever loading raises."""
    if model.backbone in BASELINES:
        return BASELINES[model.backbone](model.resolution or 128)
    if model.random_weights:
        backbone = load_backbone(
            model.backbone, weights=model.weights, device=device, resolution=model.resolution, random_weights=True
        )
    else:
        backbone = model.load(device)
    return FrozenFeatures(backbone, vocabulary, parts=model.parts, readout=model.readout())
