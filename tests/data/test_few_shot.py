"""A few training images per class."""

from __future__ import annotations

from collections import Counter

import pytest

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.few_shot import few_shot
from ca_seg.errors import OutOfRange


def _images_by_class(dataset, indices) -> Counter:
    return Counter(c for i in indices for c in dataset[i]["mask"].unique().tolist() if c != 255)


@pytest.mark.parametrize("shots", [1, 2])
def test_each_class_has_enough_images(shots):
    dataset = open_dataset("scenes", None, "train")
    chosen = few_shot(dataset, shots, seed=0)
    available, selected = _images_by_class(dataset, range(len(dataset))), _images_by_class(dataset, chosen)
    assert chosen == sorted(set(chosen))
    assert len(chosen) < len(dataset)
    assert all(selected[c] >= min(shots, available[c]) for c in available)
    assert few_shot(dataset, shots, seed=0) == chosen
    assert few_shot(dataset, shots, seed=1) != chosen


def test_more_shots_than_images_take_all_images():
    dataset = open_dataset("scenes", None, "val").first(6)
    assert few_shot(dataset, 100, seed=0) == list(range(6))
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        few_shot(dataset, 0, seed=0)


def test_the_data_module_trains_on_the_chosen_images():
    data = SegmentationData("scenes", None, None, "train", "val", shots=1)
    chosen = data.training_set()
    assert set(chosen.image_ids) < set(data.dataset("train").image_ids)
    assert [s for b in data.train_dataloader() for s in b["image_id"]] != list(chosen.image_ids)
    assert len(data.dataset("val")) == 80
