"""The shipped mini: its features through a cache, and the figures of FEATURES_VERSION."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.features.cache import FeatureCache
from ca_seg.features.cached import CachedSamples
from ca_seg.features.fill import fill
from ca_seg.features.identity import FEATURES_VERSION

COUNT = 3
# of the first scene, seed 0, cat, grass, sky: mean and standard deviation of grass in the last layer, and of all
MEASURED = {1: (11.9503, 1.14264, 11.7756, 3.32322)}


class MiniFeatures:
    name = "mini"

    def __init__(self, words):
        self.backbone, self.vocabulary = load_backbone("mini"), Vocabulary.from_names(words)
        self.channels = len(self.backbone.card.layers) * len(words)

    def __call__(self, images, seeds):
        return self.backbone.record(images, seed=list(seeds)).ask(self.vocabulary).projected()

    def identity(self):
        return {"backbone": "mini", "vocabulary": list(self.vocabulary.classes)}

    def to(self, device):
        self.backbone.to(device)


@pytest.fixture(scope="module")
def source():
    return MiniFeatures(["cat", "grass", "sky"])


def test_cached_features_are_those_of_the_backbone(tmp_path, source) -> None:
    dataset = open_dataset("scenes", None, "val").first(COUNT)
    cache = FeatureCache(tmp_path, source.identity())
    filled = fill(cache, dataset, source, progress=False)
    samples = CachedSamples(dataset, cache, keys=filled.keys)
    for index in range(COUNT):
        sample = dataset[index]
        direct = source(sample["image"][None], [image_seed(0, sample["image_id"])])[0]
        error = (samples[index]["features"] - direct).abs().amax(dim=(1, 2)) / direct.abs().amax(dim=(1, 2))
        assert error.max() < 2**-11 + 1e-5  # half precision, and sums in another order in a batch
        assert torch.equal(samples[index]["mask"], sample["mask"])


def test_a_change_of_features_needs_another_version(source) -> None:
    """When this fails, old caches are wrong: raise FEATURES_VERSION and write down the new figures."""
    sample = open_dataset("scenes", None, "val")[0]
    features = source(sample["image"][None], [image_seed(0, sample["image_id"])])[0]
    grass = features[3 * (source.channels // len(source.vocabulary.classes) - 1) + 1]
    figures = [float(x) for x in (grass.mean(), grass.std(), features.mean(), features.std())]
    assert figures == pytest.approx(MEASURED[FEATURES_VERSION], rel=1e-3)
