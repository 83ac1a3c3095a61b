"""A cache in a temporary folder, and how tests fill it."""

from __future__ import annotations

from ca_seg.features.cache import FeatureCache
from ca_seg.features.fill import fill
from tests.features.small_source import ConvSource

SIZES = [(6, 8), (6, 8), (10, 4), (6, 8), (10, 4), (6, 8), (6, 8)]


def open_cache(tmp_path, source=None, **options):
    return FeatureCache(tmp_path / "cache", (source or ConvSource()).identity(), **options)


def fill_cache(tmp_path, dataset, source=None, cache=None, **options):
    source = source or ConvSource()
    cache = open_cache(tmp_path, source) if cache is None else cache
    return cache, fill(cache, dataset, source, progress=False, **{"batch_size": 2, "seed": 3} | options)
