"""Filling a cache: each image once, with its seed; broken images are reported; nothing is computed twice."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UnusableFeatures, UserError
from ca_seg.features.fill import fill
from ca_seg.features.keys import image_key
from tests.features.small_cache import SIZES, fill_cache, open_cache
from tests.features.small_source import ConvSource, folder_of


@pytest.fixture
def dataset(tmp_path):
    return FolderDataset(folder_of(tmp_path / "set", SIZES), None)


def direct(dataset, index, seed=3, *, flipped=False):
    """What the source gives for one image alone."""
    image = dataset[index]["image"]
    image_noise_seed = image_seed(seed, dataset.image_ids[index])
    return ConvSource()((image.flip(-1) if flipped else image)[None], [image_noise_seed])[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_has_its_features(tmp_path, dataset, dtype, workers) -> None:
    cache, filled = fill_cache(tmp_path, dataset, cache=open_cache(tmp_path, dtype=dtype), num_workers=workers)
    assert (filled.computed, filled.skipped, filled.damaged, len(cache)) == (7, [], [], 7)
    again = open_cache(tmp_path, dtype=dtype, read_only=True)
    for index, key in enumerate(filled.keys):
        ground_truth = direct(dataset, index)
        assert key == image_key(dataset.image_path(index).read_bytes(), image_seed(3, dataset.image_ids[index]))
        assert again.size(key) == SIZES[index]
        if dtype == "float32":
            assert torch.equal(again.read(key), ground_truth)
        else:
            largest = ground_truth.abs().amax(dim=(1, 2), keepdim=True)
            assert ((again.read(key) - ground_truth).abs() <= largest * 2**-11).all()
            assert largest[1] > 65504  # a half alone would have overflowed


def test_stored_features_are_not_computed_again(tmp_path, dataset) -> None:
    log = tmp_path / "log"
    fill_cache(tmp_path, dataset.first(3), ConvSource(log=log))
    cache, filled = fill_cache(tmp_path, dataset, ConvSource(log=log))
    assert filled.computed == 4
    assert set(Counter(log.read_text().split()).values()) == {1}
    before = sorted(os.listdir(cache.folder))
    _, filled = fill_cache(tmp_path, dataset, ConvSource(log=log))
    assert filled.computed == 0
    assert sorted(os.listdir(cache.folder)) == before
    for options in ({"seed": 4}, {"flipped": True}, {"source": ConvSource(["dog"])}):
        assert fill_cache(tmp_path, dataset, **options)[1].computed == 7
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(dataset.image_path(5))
    assert fill_cache(tmp_path, dataset)[1].computed == 1


def test_the_flipped_view_is_of_the_flipped_image(tmp_path, dataset) -> None:
    cache, plain = fill_cache(tmp_path, dataset, cache=open_cache(tmp_path, dtype="float32"))
    _, filled = fill_cache(tmp_path, dataset, cache=cache, flipped=True)
    assert len(cache) == 14
    assert torch.equal(cache.read(filled.keys[2]), direct(dataset, 2, flipped=True))
    assert torch.equal(cache.read(plain.keys[2]), direct(dataset, 2))


def test_shards_are_bounded_in_bytes_and_images(tmp_path, dataset) -> None:
    cache, _ = fill_cache(tmp_path, dataset, shard_images=3)
    assert sorted(len(locations) for locations in cache._shards.values()) == [1, 3, 3]
    cache, _ = fill_cache(
        tmp_path, dataset, seed=4, shard_bytes=200
    )  # 3 channels, 3 x 4 or 5 x 2 tokens: 84 or 72 bytes
    assert all(len(locations) == 2 for locations in list(cache._shards.values())[3:6])
    cache, _ = fill_cache(tmp_path, dataset, seed=5, shard_bytes=1)
    assert len(cache) == 21


def test_broken_images_are_reported_and_the_rest_is_computed(tmp_path, dataset) -> None:
    cut, removed = dataset.image_path(1), dataset.image_path(4)
    cut.write_bytes(cut.read_bytes()[:-40])
    removed.unlink()
    cache, filled = fill_cache(tmp_path, dataset)
    assert (filled.computed, len(cache), filled.keys[4]) == (5, 5, None)
    assert sorted(skipped.path for skipped in filled.skipped) == [str(cut), str(removed)]
    assert all(skipped.path in skipped.reason for skipped in filled.skipped)


def test_refused_and_infinite_features_are_reported_and_not_stored(tmp_path, dataset) -> None:
    class Refusing(ConvSource):
        def __call__(self, images, seeds):
            if images.shape[-2] == 10:
                raise UserError("too tall")
            features = super().__call__(images, seeds)
            features[0, 1, 0, 0] = float("nan")
            return features

    cache, filled = fill_cache(tmp_path, dataset, Refusing())
    assert Counter("too tall" in skipped.reason for skipped in filled.skipped) == {False: 3, True: 2}
    assert (filled.computed, len(cache)) == (2, 2)


def test_a_dataset_without_any_features_is_an_error(tmp_path, dataset) -> None:
    class AlwaysRefusing(ConvSource):
        def __call__(self, images, seeds):
            raise UserError("no such layer")

    with pytest.raises(UnusableFeatures, match=r"p000.*no such layer"):
        fill_cache(tmp_path, dataset, AlwaysRefusing())


def test_an_error_of_the_source_ends_the_run_and_keeps_finished_features(tmp_path, dataset) -> None:
    class Failing(ConvSource):
        calls = 0

        def __call__(self, images, seeds):
            self.calls += 1
            if self.calls == 3:
                raise MemoryError
            return super().__call__(images, seeds)

    with pytest.raises(MemoryError):
        fill_cache(tmp_path, dataset, Failing(), batch_size=1)
    assert len(open_cache(tmp_path)) == 2

    class Wide(ConvSource):
        channels = 4

    with pytest.raises(ValueError, match=r"\(2, 3, .*\[2, 4, h, w\]"):
        fill_cache(tmp_path, dataset.first(2), Wide(), seed=9)


def test_an_image_that_changes_meanwhile_is_not_stored_under_its_old_key(tmp_path, dataset, monkeypatch) -> None:
    read = dataset.read_image

    def changing(index):
        image = read(index)
        if index == 3:
            Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(dataset.image_path(3))
        return image

    monkeypatch.setattr(dataset, "read_image", changing)
    _, filled = fill_cache(tmp_path, dataset)
    assert filled.computed == 6
    assert len(filled.skipped) == 1
    assert filled.skipped[0].path == str(dataset.image_path(3))
    assert "changed" in filled.skipped[0].reason


def test_ranks_share_the_images(tmp_path, dataset) -> None:
    log = tmp_path / "log"
    counts = [fill_cache(tmp_path, dataset, ConvSource(log=log), rank=rank, world=3)[1].computed for rank in range(3)]
    assert counts == [3, 2, 2]
    assert set(Counter(log.read_text().split()).values()) == {1}
    assert len(open_cache(tmp_path)) == 7
    with pytest.raises(OutOfRange, match=r"3.*3"):
        fill_cache(tmp_path, dataset, rank=3, world=3)


def test_a_progress_bar_on_the_error_stream(tmp_path, dataset, capfd) -> None:
    fill(open_cache(tmp_path), dataset, ConvSource())
    out, err = capfd.readouterr()
    assert "7/7" in err
    assert "verifying" not in err
    assert out == ""
    fill(open_cache(tmp_path), dataset, ConvSource())
    err = capfd.readouterr().err
    assert "verifying" in err
    assert "computing" not in err
