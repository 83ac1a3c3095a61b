"""Training from a cache: the same samples, no image decoded, damaged features are skipped, memory flat."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ca_seg.data.batches import EpochShuffle, SizeBatchSampler
from ca_seg.data.collate import Skipped
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.data.formats.image_folder import ImageFolder
from ca_seg.data.seeds import image_seed
from ca_seg.errors import BadDataset, UnreadableImage
from ca_seg.features.cache import FeatureCache
from ca_seg.features.cached import CachedSamples, collate_cached
from ca_seg.features.fill import fill
from tests.features.small_source import ConvSource, folder_of

ROOT = Path(__file__).parents[2]
SIZES = [(6, 8), (10, 4), (6, 8), (6, 8), (10, 4), (6, 8)]


@pytest.fixture
def filled_cache(tmp_path):
    dataset = FolderDataset(folder_of(tmp_path / "set", SIZES), None)
    cache = FeatureCache(tmp_path / "cache", ConvSource().identity(), dtype="float32")
    return dataset, cache, fill(cache, dataset, ConvSource(), progress=False, shard_images=2)


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[k], second[k]) if isinstance(first[k], torch.Tensor) else first[k] == second[k] for k in first
    )


def test_samples_are_those_of_the_dataset_without_reading_an_image(filled_cache, monkeypatch) -> None:
    dataset, cache, filled = filled_cache
    expected = []
    for index in range(len(dataset)):
        sample = dataset[index]
        seed = image_seed(0, sample["image_id"])
        features = ConvSource()(sample.pop("image")[None], [seed])[0]
        expected.append(sample | {"features": features})
    without_keys = CachedSamples(dataset, cache)
    monkeypatch.setattr("ca_seg.data.dataset.read_image", None)
    monkeypatch.setattr("ca_seg.data.dataset.read_size", None)
    for samples in (CachedSamples(dataset, cache, keys=filled.keys), without_keys):
        assert len(samples) == 6
        assert all(same(samples[index], expected[index]) for index in range(6))
        assert [samples.size(index) for index in range(6)] == SIZES
    with pytest.raises(ValueError, match=r"6.*2"):
        CachedSamples(dataset.first(2), cache, keys=filled.keys)


def test_workers_give_the_same_batches(filled_cache) -> None:
    dataset, cache, filled = filled_cache
    samples = CachedSamples(dataset, cache, keys=filled.keys)
    batches = SizeBatchSampler(EpochShuffle(6, 0), 3, False, samples.size)
    alone = list(DataLoader(samples, batch_sampler=batches, collate_fn=collate_cached))
    workers = DataLoader(samples, batch_sampler=batches, collate_fn=collate_cached, num_workers=2)
    for batch_alone, batch_of_workers in zip(alone, workers, strict=True):
        assert same(batch_alone, batch_of_workers)
    sent = pickle.loads(pickle.dumps(samples))  # how a worker that is not forked gets it
    assert same(sent[1], samples[1])
    assert sorted(image_id for batch in alone for image_id in batch["image_id"]) == list(dataset.image_ids)
    assert {tuple(batch["features"].shape[1:]) for batch in alone} == {(3, 3, 4), (3, 5, 2)}
    assert {tuple(batch["mask"].shape[1:]) for batch in alone} == {(6, 8), (10, 4)}


def test_flipped_samples(filled_cache) -> None:
    dataset, cache, _ = filled_cache
    filled = fill(cache, dataset, ConvSource(), flipped=True, progress=False)
    sample = CachedSamples(dataset, cache, flipped=True, keys=filled.keys)[1]
    whole = dataset[1]
    seed = image_seed(0, whole["image_id"])
    assert torch.equal(sample["mask"], whole["mask"].flip(1))
    assert torch.equal(sample["features"], ConvSource()(whole["image"].flip(-1)[None], [seed])[0])
    assert isinstance(CachedSamples(dataset, cache, flipped=True, seed=5)[1], Skipped)


def test_unusable_samples_are_skipped_and_reported(filled_cache) -> None:
    dataset, cache, _ = filled_cache
    Image.new("L", (3, 3)).save(dataset.mask_path(0))
    dataset.mask_path(1).unlink()
    Image.new("RGB", (8, 6)).save(dataset.image_path(2))  # another image: its features are not there
    dataset.image_path(3).unlink()
    samples = CachedSamples(dataset, cache)
    items = [samples[index] for index in range(6)]
    assert [isinstance(item, Skipped) for item in items] == [True] * 4 + [False] * 2
    values = [
        ("3 x 3", "8 x 6"),
        ("p0001.png",),
        (str(cache.folder),),
        (str(dataset.image_path(3)),),
    ]
    for parts, item in zip(values, items, strict=False):
        assert all(part in item.reason for part in parts)
    assert [item.path for item in items[:4]] == [str(dataset.image_path(index)) for index in range(4)]
    for index in (2, 3):
        with pytest.raises(UnreadableImage):
            samples.size(index)
    batch = collate_cached([items[0], items[4]])
    assert (batch["skipped"], batch["image_id"], len(batch["features"])) == ([items[0]], ["p0004"], 1)
    assert len(collate_cached(items[:4])["features"]) == 0
    with pytest.raises(BadDataset, match=r"p0004"):
        collate_cached(items)
    loader = DataLoader(
        samples, batch_sampler=SizeBatchSampler(range(6), 4, False, samples.size), collate_fn=collate_cached
    )
    assert sum(len(batch["skipped"]) for batch in loader) == 4


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_bit_that_flips_after_opening_is_never_returned(tmp_path, dtype) -> None:
    """Every bit of the values and scales of a cache that was verified and is open."""
    dataset = FolderDataset(folder_of(tmp_path / "set", [(2, 4), (2, 4)]), None)
    cache = FeatureCache(tmp_path / "cache", ConvSource().identity(), dtype=dtype)
    filled = fill(cache, dataset, ConvSource(), progress=False)
    samples = CachedSamples(dataset, cache, keys=filled.keys)
    ground_truth = [samples[index]["features"] for index in range(2)]
    (path,) = cache.folder.glob("*.safetensors")
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    with open(path, "r+b", buffering=0) as file:
        for offset in range(start, len(whole)):
            for bit in range(8):
                file.seek(offset)
                file.write(bytes([whole[offset] ^ (1 << bit)]))
                items = [samples[index] for index in range(2)]
                skipped = [item for item in items if isinstance(item, Skipped)]
                assert len(skipped) == 1
                assert str(path) in skipped[0].reason
                for item, features in zip(items, ground_truth, strict=True):
                    assert isinstance(item, Skipped) or torch.equal(item["features"], features)
            file.seek(offset)
            file.write(whole[offset : offset + 1])


def test_a_shard_that_is_cut_or_removed_while_it_is_open_is_skipped(filled_cache) -> None:
    dataset, cache, filled = filled_cache
    samples = CachedSamples(dataset, cache, keys=filled.keys)
    paths = [cache.folder / cache._shard_of[key] for key in filled.keys]
    os.truncate(paths[0], 500)
    removed = next(path for path in paths if path != paths[0])
    removed.unlink()
    for index, path in enumerate(paths):
        assert isinstance(samples[index], Skipped) == (path in (paths[0], removed))
    cache.refresh()
    assert len(cache) == 4


def test_images_without_masks_get_void_masks(filled_cache) -> None:
    dataset, cache, _ = filled_cache
    images = ImageFolder(dataset.root / "images")
    sample = CachedSamples(images, cache)[1]
    assert same(sample, {"features": sample["features"], "mask": torch.full((10, 4), 255), "image_id": "p0001",
                         "path": str(images.image_path(1))})  # fmt: skip


MEMORY = """
import sys
import numpy as np, torch
from ca_seg.features.cache import FeatureCache
from ca_seg.features.stored import to_stored
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
cache = FeatureCache(sys.argv[1], {"backbone": "x"})
features = torch.randn(64, 64, 64)
for shard in range(8):
    cache.store({f"{shard}-{i}": to_stored(features, "float16", (64, 64)) for i in range(16)})
cache.read("0-0")
before, largest = resident(), 0
for shard in range(8):
    for i in range(16):
        cache.read(f"{shard}-{i}")
        largest = max(largest, resident())
assert cache.verify() == [] and FeatureCache(sys.argv[1], {"backbone": "x"}).verify() == []
print(largest - before, resident() - before)
"""


def test_memory_does_not_grow_with_what_is_read(tmp_path) -> None:
    """64 MiB of features: reading and verifying them all leaves none of them in memory."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path], cwd=ROOT, check=True, capture_output=True, text=True
    )
    grown = json.loads("[" + done.stdout.replace(" ", ",") + "]")
    assert max(grown) < 8 * 2**20
