"""Batches to be labelled: settled beforehand, the same in every run."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.backbones.images import WorkingSize, resize_in
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.read import read_image
from ca_seg.errors import BadDataset
from ca_seg.labelling.data import Loaded, ToLabel

WORKING = WorkingSize(16, 8)
SIZES = [(20, 30), (40, 60), (33, 33), (10, 15), (16, 16), (80, 120), (17, 17)]  # height, width


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        place = tmp_path / "abc"[number % 3]
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return tmp_path


def opened(folder, **options):
    return ToLabel(open_dataset("images", str(folder)), WORKING, **{"done": {}, **options})


def test_a_batch_has_one_working_size_and_every_image_comes_once(folder):
    images = opened(folder)
    plan = images.plan(3)
    assert sorted(index for batch in plan for index in batch) == list(range(len(SIZES)))
    assert max(map(len, plan)) == 3
    for batch in plan:
        made = images[batch]
        sizes = {WORKING.size(*size) for size in made["size"]}
        assert sizes == {tuple(made["image"].shape[-2:])}
        for image, path, sha256 in zip(made["image"], made["path"], made["sha256"], strict=True):
            assert torch.equal(image, resize_in(read_image(path)[None], 16, 8)[0])
            with open(path, "rb") as file:
                assert sha256 == hashlib.sha256(file.read()).hexdigest()


def test_whole_images_keep_their_size(folder, monkeypatch):
    monkeypatch.setattr("ca_seg.labelling.data.MOST_PIXELS", 2 * 33 * 33)
    for number in range(3):
        Image.new("RGB", (33, 33)).save(folder / f"same{number}.png")
    images = opened(folder, whole=True)
    plan = images.plan(8)
    assert sorted(index for batch in plan for index in batch) == list(range(len(SIZES) + 3))
    assert sorted(map(len, plan))[-2:] == [2, 2]  # four of 33 x 33, no more than two at once
    for batch in plan:
        made = images[batch]
        assert [tuple(image.shape[-2:]) for image in made["image"]] == made["size"]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shares_are_disjoint_and_complete(folder, world):
    plan = opened(folder).plan(2)
    shares = [index for rank in range(world) for batch in plan[rank::world] for index in batch]
    assert sorted(shares) == list(range(len(SIZES)))


def test_what_is_done_is_not_wanted_unless_it_changed(folder):
    fresh = opened(folder)
    batch = max(fresh.plan(3), key=len)
    made = fresh[batch]
    done = dict(zip(made["key"], made["sha256"], strict=True))
    assert opened(folder, done=done)[batch]["key"] == []
    half = opened(folder, done={made["key"][0]: made["sha256"][0]})[batch]
    assert half["wanted"] == [False, *[True] * (len(batch) - 1)]
    assert torch.equal(half["image"], made["image"])  # computed with the same company
    Image.new("RGB", made["size"][1][::-1]).save(made["path"][1])
    assert opened(folder, done=done)[batch]["wanted"] == [i == 1 for i in range(len(batch))]


def test_images_that_cannot_be_used_are_skipped_with_a_reason(folder):
    Image.new("RGB", (400, 20)).save(folder / "stretched.png")
    (folder / "a" / "broken.jpg").write_bytes(b"no image")
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[:-40])
    images = opened(folder)
    batches = [images[batch] for batch in images.plan(4)]
    reasons = {path.rsplit("/", 1)[1]: reason for batch in batches for path, reason in batch["skipped"]}
    assert sorted(reasons) == ["broken.jpg", "cut.png", "stretched.png"]
    assert "at most 1 : 16" in reasons["stretched.png"]
    assert sum(len(batch["key"]) for batch in batches) == len(SIZES)


def test_workers_give_what_this_process_gives(folder):
    images = opened(folder)
    plan = images.plan(3)
    for one, two in zip(Loaded(images, plan, 0), Loaded(images, plan, 1), strict=True):
        assert torch.equal(one.pop("image"), two.pop("image"))
        assert one == two


def test_images_that_are_no_files_are_refused(folder):
    dataset = open_dataset("images", str(folder))
    dataset.image_path = lambda index: folder / "000000"
    with pytest.raises(BadDataset, match="are no files"):
        ToLabel(dataset, WORKING, done={})
