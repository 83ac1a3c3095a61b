"""Damage, full and read-only disks, and what killed runs leave: told, never used, and made again."""

from __future__ import annotations

import os
import re
import time

import pytest
import torch

from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import UnusableFeatures, UserError
from ca_seg.features.cache import FeatureCache
from tests.features.runs import SIZES, open_cache, run
from tests.features.small_source import ConvSource, folder_of


@pytest.fixture
def dataset(tmp_path):
    return FolderDataset(folder_of(tmp_path / "set", SIZES), None)


def test_a_damaged_shard_is_reported_removed_and_computed_again(tmp_path, dataset) -> None:
    cache, first = run(tmp_path, dataset, shard_images=3)
    ground_truth = {key: cache.read(key) for key in first.keys}
    shards = sorted(cache.folder.glob("*.safetensors"))
    for number, shard in enumerate(shards):
        content = bytearray(shard.read_bytes())
        for place in (4, 30, len(content) - 1):  # the length of the header, the header, a value
            damaged = bytearray(content)
            damaged[place] ^= 16
            shard.write_bytes(damaged)
            held = len(open_cache(tmp_path)._shard_of)
            _, filled = run(tmp_path, dataset)
            assert filled.computed == len(cache._shards[shard.name])
            (line,) = filled.damaged
            assert shard.name in line
            assert "computed again" in line
            assert "\n" not in line
            assert not shard.exists()
            assert held in (7, 7 - filled.computed)  # a value is found by verifying, a header on opening
            now = open_cache(tmp_path)
            assert all(torch.equal(now.read(key), features) for key, features in ground_truth.items())
            for new in set(cache.folder.glob("*.safetensors")) - set(shards):
                new.unlink()
            shard.write_bytes(content)
        if number == 1:
            break


def test_without_verifying_damage_is_found_when_it_is_read(tmp_path, dataset) -> None:
    cache, filled = run(tmp_path, dataset)
    (shard,) = cache.folder.glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    now, again = run(tmp_path, dataset, verify=False)
    assert (again.computed, again.damaged, len(now)) == (0, [], 7)
    broken = 0
    for key in filled.keys:
        try:
            now.read(key)
        except UnusableFeatures:
            broken += 1
    assert broken == 1


def test_others_may_read_what_one_has_written(tmp_path, dataset) -> None:
    before = os.umask(0o022)
    try:
        cache, _ = run(tmp_path, dataset)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in cache.folder.iterdir()} == {0o644}


def test_a_shard_of_another_cache_is_not_used(tmp_path, dataset) -> None:
    one, _ = run(tmp_path, dataset, ConvSource(["dog"]))
    two = open_cache(tmp_path)
    (shard,) = one.folder.glob("*.safetensors")
    (two.folder / "shard-copied.safetensors").write_bytes(shard.read_bytes())
    _, filled = run(tmp_path, dataset)
    assert filled.computed == 7
    assert len(filled.damaged) == 1
    assert "of another cache" in filled.damaged[0]
    assert shard.exists()


def test_a_read_only_cache_leaves_damage_out_and_where_it_is(tmp_path, dataset) -> None:
    cache, _ = run(tmp_path, dataset, shard_images=3)
    shard = sorted(cache.folder.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    looking = open_cache(tmp_path, read_only=True)
    (line,) = looking.verify()
    assert "computed again" not in line
    assert shard.exists()
    assert len(looking) == 7 - len(cache._shards[shard.name])
    assert looking.verify() == []
    looking.refresh()
    assert len(looking) == 7 - len(cache._shards[shard.name])
    with pytest.raises(UserError, match="read-only"):
        run(tmp_path, dataset, cache=looking)


def test_two_copies_of_an_image_and_one_is_damaged(tmp_path, dataset) -> None:
    """Two processes may have stored the same image; the good copy stays in use."""
    cache, _ = run(tmp_path, dataset)
    (shard,) = cache.folder.glob("*.safetensors")
    for name in ("shard-0.safetensors", "shard-z.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        (cache.folder / name).write_bytes(content)
    _, again = run(tmp_path, dataset)
    assert (len(again.damaged), again.computed) == (2, 0)
    assert list(cache.folder.glob("*.safetensors")) == [shard]


def test_half_written_files_of_killed_processes_are_removed_when_they_are_old(tmp_path, dataset) -> None:
    cache = open_cache(tmp_path)
    old, new = cache.folder / "shard-1.safetensors.part", cache.folder / "shard-2.safetensors.part"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    run(tmp_path, dataset)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_full_disk_is_one_clear_error_and_what_is_there_stays(tmp_path, dataset, small_disk) -> None:
    place, _ = small_disk
    cache, filled = run(tmp_path, dataset, cache=FeatureCache(place, ConvSource().identity()))
    (place / "ballast").write_bytes(b"x" * (2**20 - sum(f.stat().st_size for f in place.rglob("*.*")) - 40_000))
    problem = ""
    for seed in range(100, 200):
        try:
            run(tmp_path, dataset, cache=cache, seed=seed)
        except UserError as found:
            problem = str(found)
            break
    assert re.search(r"cannot be written \(.*No space left.*Free room", problem)
    assert "\n" not in problem
    assert not list(place.rglob("*.part"))
    again = FeatureCache(place, ConvSource().identity())
    assert again.verify() == []
    assert all(torch.equal(again.read(key), cache.read(key)) for key in filled.keys)
    (place / "ballast").unlink()
    assert run(tmp_path, dataset, cache=again, seed=199)[1].computed == 7


def test_a_read_only_disk(tmp_path, dataset, small_disk) -> None:
    place, remount = small_disk
    run(tmp_path, dataset, cache=FeatureCache(place, ConvSource().identity()))
    remount("ro")
    whole = FeatureCache(place, ConvSource().identity())  # nothing is missing, so nothing needs to be written
    assert run(tmp_path, dataset, cache=whole)[1].computed == 0
    gone = dataset.image_path(2).rename(tmp_path / "gone")
    assert len(run(tmp_path, dataset, cache=whole)[1].skipped) == 1  # nothing to be written for it either
    gone.rename(dataset.image_path(2))
    with pytest.raises(UserError, match="read-only"):
        run(tmp_path, dataset, cache=whole, seed=8)
    with pytest.raises(UserError, match=r"identity\.json.*Read-only file system"):
        FeatureCache(place, ConvSource(["dog"]).identity())
    remount("rw")
    assert run(tmp_path, dataset, cache=whole, seed=8)[1].computed == 7
