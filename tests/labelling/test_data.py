"""Batches of images to label: planned before the run, the same in each run."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.backbones.images import WorkingSize, resize_in
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.read import read_image
from ca_seg.errors import BadDataset
from ca_seg.labelling.data import BatchLoader, UnlabelledData, UnlabelledImages
from ca_seg.labelling.task import PseudoLabel
from ca_seg.vocabulary import Vocabulary

WORKING = WorkingSize(16, 8)
SIZES = [(20, 30), (40, 60), (33, 33), (10, 15), (16, 16), (80, 120), (17, 17)]  # height, width


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        subfolder = tmp_path / "abc"[number % 3]
        subfolder.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(subfolder / f"{number}.png")
    return tmp_path


def opened(folder, **options):
    return UnlabelledImages(open_dataset("images", str(folder)), WORKING, **{"labelled": {}, **options})


def test_a_batch_has_one_working_size_and_each_image_occurs_once(folder):
    images = opened(folder)
    plan = images.plan(3)
    assert sorted(index for batch in plan for index in batch) == list(range(len(SIZES)))
    assert max(map(len, plan)) == 3
    for batch in plan:
        loaded = images[batch]
        sizes = {WORKING.size(*size) for size in loaded["size"]}
        assert sizes == {tuple(loaded["image"].shape[-2:])}
        for image, path, sha256 in zip(loaded["image"], loaded["path"], loaded["sha256"], strict=True):
            assert torch.equal(image, resize_in(read_image(path)[None], 16, 8)[0])
            with open(path, "rb") as file:
                assert sha256 == hashlib.sha256(file.read()).hexdigest()


def test_whole_images_keep_their_size(folder, monkeypatch):
    monkeypatch.setattr("ca_seg.labelling.data.MAX_PIXELS", 2 * 33 * 33)
    for number in range(3):
        Image.new("RGB", (33, 33)).save(folder / f"same{number}.png")
    images = opened(folder, full_size=True)
    plan = images.plan(8)
    assert sorted(index for batch in plan for index in batch) == list(range(len(SIZES) + 3))
    assert sorted(map(len, plan))[-2:] == [2, 2]  # four of 33 x 33, no more than two at once
    for batch in plan:
        loaded = images[batch]
        assert [tuple(image.shape[-2:]) for image in loaded["image"]] == loaded["size"]


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_batches_of_all_processes_are_disjoint_and_complete(folder, world):
    """With more processes than batches, the others have an empty one: Lightning refuses a loader of none."""
    indices = []
    task = PseudoLabel(None, Vocabulary.from_names(["cat", "dog"]), lambda *_: None)
    for rank in range(world):
        data = UnlabelledData(lambda: opened(folder), batch_size=2)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world)
        loader = data.predict_dataloader()
        assert len(loader) == len(list(loader)) > 0
        indices += [index for batch in loader.batches for index in batch]
        for batch, loaded in zip(loader.batches, loader, strict=True):
            assert len(loaded["key"]) == len(batch)
            assert batch or task.predict_step(loaded, 0) == 0
    assert sorted(indices) == list(range(len(SIZES)))


def test_labelled_images_are_labelled_again_only_if_they_changed(folder):
    fresh = opened(folder)
    batch = max(fresh.plan(3), key=len)
    loaded = fresh[batch]
    labelled = dict(zip(loaded["key"], loaded["sha256"], strict=True))
    assert opened(folder, labelled=labelled)[batch]["key"] == []
    partly = opened(folder, labelled={loaded["key"][0]: loaded["sha256"][0]})[batch]
    assert partly["wanted"] == [False, *[True] * (len(batch) - 1)]
    assert torch.equal(partly["image"], loaded["image"])  # the batch has the same images
    Image.new("RGB", loaded["size"][1][::-1]).save(loaded["path"][1])
    assert opened(folder, labelled=labelled)[batch]["wanted"] == [i == 1 for i in range(len(batch))]


def test_images_that_cannot_be_used_are_skipped_with_a_reason(folder):
    Image.new("RGB", (400, 20)).save(folder / "stretched.png")
    (folder / "a" / "broken.jpg").write_bytes(b"no image")
    content = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(content[:-40])
    images = opened(folder)
    batches = [images[batch] for batch in images.plan(4)]
    reasons = {path.rsplit("/", 1)[1]: reason for batch in batches for path, reason in batch["skipped"]}
    assert sorted(reasons) == ["broken.jpg", "cut.png", "stretched.png"]
    assert "1 : 16" in reasons["stretched.png"]
    assert sum(len(batch["key"]) for batch in batches) == len(SIZES)


def test_workers_load_the_same_batches_as_this_process(folder, monkeypatch):
    monkeypatch.setattr("ca_seg.labelling.data.BATCHES_PER_WORKER", 1)
    images = opened(folder)
    plan = images.plan(3)
    for expected, loaded in zip(BatchLoader(images, plan, 0), BatchLoader(images, plan, 1), strict=True):
        assert torch.equal(expected.pop("image"), loaded.pop("image"))
        assert expected == loaded


def test_images_that_are_not_files_are_refused(folder):
    dataset = open_dataset("images", str(folder))
    dataset.image_path = lambda index: folder / "000000"
    with pytest.raises(BadDataset, match=folder.name):
        UnlabelledImages(dataset, WORKING, labelled={})
