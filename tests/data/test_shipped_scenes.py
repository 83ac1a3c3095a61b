"""The shipped scenes load as their README says. They are part of the project, so these tests do not skip."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def scenes() -> FolderDataset:
    return open_dataset("scenes")


def test_each_scene_is_read_and_its_mask_converts_back(scenes) -> None:
    assert len(scenes) == 300
    classes = scenes.class_list
    pixels = np.zeros(256, int)
    for index, sample in enumerate(scenes):
        assert sample["image"].shape == (3, 128, 128)
        assert sample["mask"].shape == (128, 128)
        pixels += np.bincount(sample["mask"].flatten(), minlength=256)
        stored = np.asarray(Image.open(scenes.mask_path(index)))
        np.testing.assert_array_equal(classes.to_ids(sample["mask"].numpy()), stored)
    assert (pixels[: len(classes)] > 0).all()  # each class occurs, so no IoU is undefined


def test_class_names_form_a_vocabulary(scenes) -> None:
    classes = scenes.class_list
    assert (classes.kinds.count("object"), classes.kinds.count("stuff")) == (150, 16)
    assert Vocabulary.from_names(classes.names).concepts == classes.names
    assert classes.source
    assert classes.licence


def test_splits_divide_the_scenes(scenes) -> None:
    parts = {
        name: open_dataset("scenes", split=name).image_ids for name in ("in_distribution", "shifted", "train", "val")
    }
    assert {name: len(image_ids) for name, image_ids in parts.items()} == {
        "in_distribution": 240,
        "shifted": 60,
        "train": 160,
        "val": 80,
    }
    assert sorted(parts["in_distribution"] + parts["shifted"]) == list(scenes.image_ids)
    assert sorted(parts["train"] + parts["val"]) == sorted(parts["in_distribution"])


def test_the_data_module_uses_them_by_default() -> None:
    data = SegmentationData(split="shifted", train_split="train", val_split="val", limit=20, batch_size=8)
    assert [len(batch["image_id"]) for batch in data.test_dataloader()] == [8, 8, 4]
    assert len(data.train_dataloader()) == 3
    assert data.class_list.names[0] == "cat"
