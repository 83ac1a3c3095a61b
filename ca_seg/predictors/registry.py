"""The methods that an evaluation can compare, by name. A new method is one file and one line in `METHODS`.

mini, flux1-schnell ...     any backbone of the zoo, at its card's settings
random-weights              the evaluated backbone's architecture with random weights
random-maps, one-class      ignore the image
colour-clusters             k-means on colours, labelled by the ground truth: an upper bound for colour alone
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.baselines.colour_clusters import ColourClusters
from ca_seg.baselines.trivial import OneClass, RandomMaps
from ca_seg.data.collate import Skipped, SkipUnreadable
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UnknownName
from ca_seg.predictors.predictor import Predictor
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.predictors.zero_shot import ZeroShotPredictor


@dataclass(frozen=True)
class MethodContext:
    """What a method may be built from.

    Args:
        model: the settings of the evaluated backbone
        dataset: the images that are evaluated
        device: where to compute
    """

    model: BackboneSettings
    dataset: SegmentationDataset
    device: str


def _random_weights(context: MethodContext) -> Predictor:
    model = context.model
    backbone = load_backbone(
        model.backbone, weights=model.weights, device=context.device, resolution=model.resolution, random_weights=True
    )
    return ZeroShotPredictor(backbone)


@dataclass(frozen=True)
class MethodEntry:
    """How a method is opened.

    Args:
        open: builds the predictor
        uses_dataset: it depends on the dataset, and is opened again for each split
    """

    open: Callable[[MethodContext], Predictor]
    uses_dataset: bool = False


METHODS: dict[str, MethodEntry] = {
    "random-weights": MethodEntry(_random_weights),
    "random-maps": MethodEntry(lambda context: RandomMaps()),
    "one-class": MethodEntry(lambda context: OneClass(class_pixels(context.dataset)), uses_dataset=True),
    "colour-clusters": MethodEntry(lambda context: ColourClusters(context.dataset.class_list.names), uses_dataset=True),
}


def check_methods(names: Sequence[str]) -> None:
    """Raises UnknownName for a name that is neither a backbone of the zoo nor in METHODS."""
    for name in names:
        if name not in (*list_backbones(), *METHODS):
            raise UnknownName("method", name, (*list_backbones(), *METHODS))


def open_method(name: str, context: MethodContext) -> Predictor:
    """The predictor called `name`; a backbone of the zoo is read as its card says. Raises UnknownName."""
    check_methods([name])
    if name in METHODS:
        return METHODS[name].open(context)
    settings = BackboneSettings(backbone=name, precision=context.model.precision)
    return ZeroShotPredictor(settings.load(context.device))


def class_pixels(dataset: SegmentationDataset) -> dict[str, int]:
    """Ground truth pixels of the whole dataset by class name; images that cannot be read are skipped."""
    total = torch.zeros(256, dtype=torch.int64)
    readable = SkipUnreadable(dataset)
    for index in range(len(dataset)):
        item = readable[index]
        if not isinstance(item, Skipped):
            total += torch.bincount(item["mask"].flatten(), minlength=256)
    return dict(zip(dataset.class_list.names, total.tolist(), strict=False))
