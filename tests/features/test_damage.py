"""Damage, full and read-only disks, and half-written files: reported, never used, and computed again."""

from __future__ import annotations

import os
import re
import time

import pytest
import torch

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import UnusableFeatures, UserError
from ca_seg.features.cache import FeatureCache
from tests.features.small_cache import SIZES, fill_cache, open_cache
from tests.features.small_source import ConvSource, folder_of


@pytest.fixture
def dataset(tmp_path):
    return FolderDataset(folder_of(tmp_path / "set", SIZES), None)


def test_a_damaged_shard_is_reported_removed_and_computed_again(tmp_path, dataset) -> None:
    cache, first = fill_cache(tmp_path, dataset, shard_images=3)
    ground_truth = {key: cache.read(key) for key in first.keys}
    shards = sorted(cache.folder.glob("*.safetensors"))
    for number, shard in enumerate(shards):
        content = bytearray(shard.read_bytes())
        for offset in (4, 30, len(content) - 1):  # the length of the header, the header, a value
            damaged = bytearray(content)
            damaged[offset] ^= 16
            shard.write_bytes(damaged)
            readable = len(open_cache(tmp_path)._shard_of)
            _, filled = fill_cache(tmp_path, dataset)
            assert filled.computed == len(cache._shards[shard.name])
            (line,) = filled.damaged
            assert shard.name in line
            assert "computed again" in line
            assert "\n" not in line
            assert not shard.exists()
            assert readable in (7, 7 - filled.computed)  # a value is found by verifying, a header on opening
            reopened = open_cache(tmp_path)
            assert all(torch.equal(reopened.read(key), features) for key, features in ground_truth.items())
            for new_shard in set(cache.folder.glob("*.safetensors")) - set(shards):
                new_shard.unlink()
            shard.write_bytes(content)
        if number == 1:
            break


def test_without_verifying_damage_is_found_when_it_is_read(tmp_path, dataset) -> None:
    cache, filled = fill_cache(tmp_path, dataset)
    (shard,) = cache.folder.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    now, again = fill_cache(tmp_path, dataset, verify=False)
    assert (again.computed, again.damaged, len(now)) == (0, [], 7)
    broken = 0
    for key in filled.keys:
        try:
            now.read(key)
        except UnusableFeatures:
            broken += 1
    assert broken == 1


def test_other_users_may_read_the_files(tmp_path, dataset) -> None:
    before = os.umask(0o022)
    try:
        cache, _ = fill_cache(tmp_path, dataset)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in cache.folder.iterdir()} == {0o644}


def test_a_shard_of_another_cache_is_not_used(tmp_path, dataset) -> None:
    dog_cache, _ = fill_cache(tmp_path, dataset, ConvSource(["dog"]))
    cat_cache = open_cache(tmp_path)
    (shard,) = dog_cache.folder.glob("*.safetensors")
    (cat_cache.folder / "shard-copied.safetensors").write_bytes(shard.read_bytes())
    _, filled = fill_cache(tmp_path, dataset)
    assert filled.computed == 7
    assert len(filled.damaged) == 1
    assert "shard-copied.safetensors" in filled.damaged[0]
    assert shard.exists()


def test_a_read_only_cache_ignores_a_damaged_shard_and_keeps_its_file(tmp_path, dataset) -> None:
    cache, _ = fill_cache(tmp_path, dataset, shard_images=3)
    shard = sorted(cache.folder.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    reader = open_cache(tmp_path, read_only=True)
    (line,) = reader.verify()
    assert "computed again" not in line
    assert shard.exists()
    assert len(reader) == 7 - len(cache._shards[shard.name])
    assert reader.verify() == []
    reader.refresh()
    assert len(reader) == 7 - len(cache._shards[shard.name])
    with pytest.raises(UserError, match=re.escape(str(reader.folder))):
        fill_cache(tmp_path, dataset, cache=reader)


def test_a_good_copy_of_a_damaged_shard_is_used(tmp_path, dataset) -> None:
    """Two processes may have stored the same image; the good copy stays in use."""
    cache, _ = fill_cache(tmp_path, dataset)
    (shard,) = cache.folder.glob("*.safetensors")
    for name in ("shard-0.safetensors", "shard-z.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        (cache.folder / name).write_bytes(content)
    _, again = fill_cache(tmp_path, dataset)
    assert (len(again.damaged), again.computed) == (2, 0)
    assert list(cache.folder.glob("*.safetensors")) == [shard]


def test_half_written_files_of_killed_processes_are_removed_when_they_are_old(tmp_path, dataset) -> None:
    cache = open_cache(tmp_path)
    old, new = cache.folder / "shard-1.safetensors.part", cache.folder / "shard-2.safetensors.part"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    fill_cache(tmp_path, dataset)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_is_one_clear_error_and_the_cache_stays(tmp_path, dataset, small_disk) -> None:
    folder, _ = small_disk
    cache, filled = fill_cache(tmp_path, dataset, cache=FeatureCache(folder, ConvSource().identity()))
    (folder / "ballast").write_bytes(b"x" * (2**20 - sum(f.stat().st_size for f in folder.rglob("*.*")) - 40_000))
    problem = ""
    for seed in range(100, 200):
        try:
            fill_cache(tmp_path, dataset, cache=cache, seed=seed)
        except UserError as error:
            problem = str(error)
            break
    assert re.search(rf"{re.escape(str(folder))}.*No space left", problem)
    assert "\n" not in problem
    assert not list(folder.rglob("*.part"))
    again = FeatureCache(folder, ConvSource().identity())
    assert again.verify() == []
    assert all(torch.equal(again.read(key), cache.read(key)) for key in filled.keys)
    (folder / "ballast").unlink()
    assert fill_cache(tmp_path, dataset, cache=again, seed=199)[1].computed == 7


def test_a_read_only_disk(tmp_path, dataset, small_disk) -> None:
    folder, remount = small_disk
    fill_cache(tmp_path, dataset, cache=FeatureCache(folder, ConvSource().identity()))
    remount("ro")
    whole = FeatureCache(folder, ConvSource().identity())  # nothing is missing, so nothing needs to be written
    assert fill_cache(tmp_path, dataset, cache=whole)[1].computed == 0
    moved = dataset.image_path(2).rename(tmp_path / "moved")
    assert len(fill_cache(tmp_path, dataset, cache=whole)[1].skipped) == 1  # nothing to be written for it either
    moved.rename(dataset.image_path(2))
    with pytest.raises(UserError, match=re.escape(str(folder))):
        fill_cache(tmp_path, dataset, cache=whole, seed=8)
    with pytest.raises(UserError, match=r"identity\.json"):
        FeatureCache(folder, ConvSource(["dog"]).identity())
    remount("rw")
    assert fill_cache(tmp_path, dataset, cache=whole, seed=8)[1].computed == 7
