"""Real processes on one cache: killed at any moment, side by side, as ranks, and where a file cannot grow."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.features.cache import FeatureCache
from ca_seg.features.fill import fill
from tests.features.fill_processes import SHARD
from tests.features.small_source import ConvSource, folder_of

ROOT = Path(__file__).parents[2]
COUNT = 60


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The dataset, and its features by key from an uninterrupted fill."""
    folder = tmp_path_factory.mktemp("whole")
    data = folder_of(folder / "set", [(6, 8) if number % 3 else (10, 4) for number in range(COUNT)])
    cache, source = FeatureCache(folder / "cache", ConvSource().identity(), dtype="float32"), ConvSource()
    filled = fill(cache, FolderDataset(data, None), source, progress=False)
    return data, {key: cache.read(key) for key in filled.keys}


def run_processes(tmp_path, data, mode, *arguments):
    command = [
        sys.executable,
        "-m",
        "tests.features.fill_processes",
        mode,
        data,
        tmp_path / "cache",
        tmp_path / "log",
        *arguments,
    ]
    process = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=True)
    printed = [json.loads(line) for line in process.stdout.splitlines()]
    log = tmp_path / "log"
    return printed, Counter(log.read_text().split()) if log.exists() else Counter()


def assert_same_features(tmp_path, features):
    """Every shard is whole and all features equal those of the uninterrupted fill. Returns the cache."""
    cache = FeatureCache(tmp_path / "cache", ConvSource().identity(), dtype="float32", read_only=True)
    assert cache.verify() == []
    assert len(cache) == len(features)
    assert all(torch.equal(cache.read(key), expected) for key, expected in features.items())
    return cache


@pytest.mark.parametrize("seed", [0, 1])
def test_kill_9_at_random_moments(tmp_path, whole, seed) -> None:
    data, features = whole
    (printed,), computed = run_processes(tmp_path, data, "kills", seed)
    assert printed["last"] == 0
    assert printed["killed"] >= 4
    cache = assert_same_features(tmp_path, features)
    assert len(computed) == COUNT
    assert computed.total() <= COUNT + printed["killed"] * (SHARD + 2)  # the unfinished shard, and the current batch
    assert sum(len(locations) for locations in cache._shards.values()) == COUNT  # nothing is stored twice


def test_two_independent_processes(tmp_path, whole) -> None:
    data, features = whole
    (printed,), computed = run_processes(tmp_path, data, "two")
    assert printed == [0, 0]
    assert_same_features(tmp_path, features)
    assert len(computed) == COUNT
    assert max(computed.values()) <= 2
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_two_ranks_compute_each_image_once(tmp_path, whole) -> None:
    data, features = whole
    (printed,), computed = run_processes(tmp_path, data, "ranks")
    assert printed == [0, 0]
    assert_same_features(tmp_path, features)
    assert set(computed.values()) == {1}


def test_a_file_that_cannot_grow_is_one_clear_error(tmp_path, whole) -> None:
    data, _ = whole
    printed, _ = run_processes(tmp_path, data, "limit")
    assert printed[1] == 3
    assert str(tmp_path / "cache") in printed[0]
    assert not list((tmp_path / "cache").rglob("*.part"))
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
