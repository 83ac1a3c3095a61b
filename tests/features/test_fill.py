"""Filling a cache: every picture once, with its own seed; what is broken is told; a damaged shard is made again."""

from __future__ import annotations

import os
import re
import time
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.folder import FolderDataset
from ca_seg.data.seeds import picture_seed
from ca_seg.errors import OutOfRange, UnusableFeatures, UserError
from ca_seg.features.cache import FeatureCache
from ca_seg.features.fill import fill
from ca_seg.features.keys import picture_key
from tests.features.small_source import ConvSource, folder_of

SIZES = [(6, 8), (6, 8), (10, 4), (6, 8), (10, 4), (6, 8), (6, 8)]


@pytest.fixture
def dataset(tmp_path):
    return FolderDataset(folder_of(tmp_path / "set", SIZES), None)


def open_cache(tmp_path, source=None, **options):
    return FeatureCache(tmp_path / "cache", (source or ConvSource()).identity(), **options)


def run(tmp_path, dataset, source=None, cache=None, **options):
    source = source or ConvSource()
    cache = open_cache(tmp_path, source) if cache is None else cache
    return cache, fill(cache, dataset, source, progress=False, **{"batch_size": 2, "seed": 3} | options)


def direct(dataset, index, seed=3, *, mirrored=False):
    """What the source gives for one picture alone."""
    image = dataset[index]["image"]
    own = picture_seed(seed, dataset.stems[index])
    return ConvSource()((image.flip(-1) if mirrored else image)[None], [own])[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_has_its_features(tmp_path, dataset, dtype, workers) -> None:
    cache, filled = run(tmp_path, dataset, cache=open_cache(tmp_path, dtype=dtype), num_workers=workers)
    assert (filled.computed, filled.skipped, filled.damaged, len(cache)) == (7, [], [], 7)
    again = open_cache(tmp_path, dtype=dtype, read_only=True)
    for index, key in enumerate(filled.keys):
        truth = direct(dataset, index)
        assert key == picture_key(dataset.image_path(index).read_bytes(), picture_seed(3, dataset.stems[index]))
        assert again.size(key) == SIZES[index]
        if dtype == "float32":
            assert torch.equal(again.read(key), truth)
        else:
            largest = truth.abs().amax(dim=(1, 2), keepdim=True)
            assert ((again.read(key) - truth).abs() <= largest * 2**-11).all()
            assert largest[1] > 65504  # a half alone would have overflowed


def test_what_is_there_is_not_computed_again(tmp_path, dataset) -> None:
    log = tmp_path / "log"
    run(tmp_path, dataset.first(3), ConvSource(log=log))
    cache, filled = run(tmp_path, dataset, ConvSource(log=log))
    assert filled.computed == 4
    assert set(Counter(log.read_text().split()).values()) == {1}
    before = sorted(os.listdir(cache.folder))
    _, filled = run(tmp_path, dataset, ConvSource(log=log))
    assert filled.computed == 0
    assert sorted(os.listdir(cache.folder)) == before
    for options in ({"seed": 4}, {"mirrored": True}, {"source": ConvSource(["dog"])}):
        assert run(tmp_path, dataset, **options)[1].computed == 7
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(dataset.image_path(5))
    assert run(tmp_path, dataset)[1].computed == 1


def test_the_mirrored_view_is_of_the_mirrored_picture(tmp_path, dataset) -> None:
    cache, plain = run(tmp_path, dataset, cache=open_cache(tmp_path, dtype="float32"))
    _, filled = run(tmp_path, dataset, cache=cache, mirrored=True)
    assert len(cache) == 14
    assert torch.equal(cache.read(filled.keys[2]), direct(dataset, 2, mirrored=True))
    assert torch.equal(cache.read(plain.keys[2]), direct(dataset, 2))


def test_shards_are_bounded_in_bytes_and_pictures(tmp_path, dataset) -> None:
    cache, _ = run(tmp_path, dataset, shard_pictures=3)
    assert sorted(len(places) for places in cache._shards.values()) == [1, 3, 3]
    cache, _ = run(tmp_path, dataset, seed=4, shard_bytes=200)  # 3 channels, 3 x 4 or 5 x 2 tokens: 84 or 72 bytes
    assert all(len(places) == 2 for places in list(cache._shards.values())[3:6])
    cache, _ = run(tmp_path, dataset, seed=5, shard_bytes=1)
    assert len(cache) == 21


def test_broken_pictures_are_told_and_the_rest_is_computed(tmp_path, dataset) -> None:
    cut, gone = dataset.image_path(1), dataset.image_path(4)
    cut.write_bytes(cut.read_bytes()[:-40])
    gone.unlink()
    cache, filled = run(tmp_path, dataset)
    assert (filled.computed, len(cache), filled.keys[4]) == (5, 5, None)
    assert sorted(skipped.path for skipped in filled.skipped) == [str(cut), str(gone)]
    assert all(skipped.path in skipped.reason for skipped in filled.skipped)


def test_refused_and_infinite_features_are_told_and_not_kept(tmp_path, dataset) -> None:
    class Picky(ConvSource):
        def __call__(self, images, seeds):
            if images.shape[-2] == 10:
                raise UserError("too tall")
            found = super().__call__(images, seeds)
            found[0, 1, 0, 0] = float("nan")
            return found

    cache, filled = run(tmp_path, dataset, Picky())
    reasons = Counter(skipped.reason for skipped in filled.skipped)
    assert reasons == {"its features are not finite": 3, "too tall.": 2}
    assert (filled.computed, len(cache)) == (2, 2)


def test_a_dataset_without_any_features_is_an_error(tmp_path, dataset) -> None:
    class Unable(ConvSource):
        def __call__(self, images, seeds):
            raise UserError("no such layer")

    with pytest.raises(UnusableFeatures, match=r"no picture of the dataset got features; .*p000.*: no such layer"):
        run(tmp_path, dataset, Unable())


def test_a_fault_of_the_source_ends_the_run_and_keeps_what_is_computed(tmp_path, dataset) -> None:
    class Breaks(ConvSource):
        calls = 0

        def __call__(self, images, seeds):
            self.calls += 1
            if self.calls == 3:
                raise MemoryError
            return super().__call__(images, seeds)

    with pytest.raises(MemoryError):
        run(tmp_path, dataset, Breaks(), batch_size=1)
    assert len(open_cache(tmp_path)) == 2

    class Wide(ConvSource):
        channels = 4

    with pytest.raises(ValueError, match=r"conv gave \(2, 3, .*not \[2, 4, h, w\]"):
        run(tmp_path, dataset.first(2), Wide(), seed=9)


def test_a_picture_that_is_changed_meanwhile_is_not_kept_under_its_old_key(tmp_path, dataset, monkeypatch) -> None:
    read = dataset.read_picture

    def changing(index):
        image = read(index)
        if index == 3:
            Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(dataset.image_path(3))
        return image

    monkeypatch.setattr(dataset, "read_picture", changing)
    _, filled = run(tmp_path, dataset)
    assert filled.computed == 6
    assert [skipped.reason for skipped in filled.skipped] == ["the file was changed while this ran; run it again"]


def test_a_damaged_shard_is_told_in_one_line_removed_and_made_again(tmp_path, dataset) -> None:
    cache, first = run(tmp_path, dataset, shard_pictures=3)
    truth = {key: cache.read(key) for key in first.keys}
    shards = sorted(cache.folder.glob("*.safetensors"))
    for number, shard in enumerate(shards):
        content = bytearray(shard.read_bytes())
        for place in (4, 30, len(content) - 1):  # the length of the header, the header, a value
            damaged = bytearray(content)
            damaged[place] ^= 16
            shard.write_bytes(damaged)
            held = len(open_cache(tmp_path)._where)
            _, filled = run(tmp_path, dataset)
            assert filled.computed == len(cache._shards[shard.name])
            (line,) = filled.damaged
            assert shard.name in line
            assert line.endswith("Its pictures are computed again.")
            assert "\n" not in line
            assert not shard.exists()
            assert held in (7, 7 - filled.computed)  # a value is found by verifying, a header on opening
            now = open_cache(tmp_path)
            assert all(torch.equal(now.read(key), features) for key, features in truth.items())
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
    cache, _ = run(tmp_path, dataset, shard_pictures=3)
    shard = sorted(cache.folder.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    looking = open_cache(tmp_path, read_only=True)
    (line,) = looking.verify()
    assert line.endswith("Its pictures are left out.")
    assert shard.exists()
    assert len(looking) == 7 - len(cache._shards[shard.name])
    assert looking.verify() == []
    looking.refresh()
    assert len(looking) == 7 - len(cache._shards[shard.name])
    with pytest.raises(UserError, match="is read-only, and features are missing"):
        run(tmp_path, dataset, cache=looking)


def test_two_copies_of_a_picture_and_one_is_damaged(tmp_path, dataset) -> None:
    """Two processes may have stored the same picture; the good copy stays in use."""
    cache, _ = run(tmp_path, dataset)
    (shard,) = cache.folder.glob("*.safetensors")
    for name in ("shard-0.safetensors", "shard-z.safetensors"):
        content = bytearray(shard.read_bytes())
        content[-1] ^= 1
        (cache.folder / name).write_bytes(content)
    _, again = run(tmp_path, dataset)
    assert (len(again.damaged), again.computed) == (2, 0)
    assert list(cache.folder.glob("*.safetensors")) == [shard]


def test_ranks_share_the_pictures(tmp_path, dataset) -> None:
    log = tmp_path / "log"
    counts = [run(tmp_path, dataset, ConvSource(log=log), rank=rank, world=3)[1].computed for rank in range(3)]
    assert counts == [3, 2, 2]
    assert set(Counter(log.read_text().split()).values()) == {1}
    assert len(open_cache(tmp_path)) == 7
    with pytest.raises(OutOfRange, match="process 3 of 3"):
        run(tmp_path, dataset, rank=3, world=3)


def test_half_written_files_of_killed_processes_are_removed_when_they_are_old(tmp_path, dataset) -> None:
    cache = open_cache(tmp_path)
    old, new = cache.folder / "shard-1.safetensors.part", cache.folder / "shard-2.safetensors.part"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    run(tmp_path, dataset)
    assert (old.exists(), new.exists()) == (False, True)


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
    with pytest.raises(UserError, match="is read-only, and features are missing"):
        run(tmp_path, dataset, cache=whole, seed=8)
    with pytest.raises(UserError, match=r"identity\.json cannot be written \(Read-only file system\)"):
        FeatureCache(place, ConvSource(["dog"]).identity())
    remount("rw")
    assert run(tmp_path, dataset, cache=whole, seed=8)[1].computed == 7
