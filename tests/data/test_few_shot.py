"""A few images of every class."""

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
def test_every_class_is_seen_often_enough_and_no_image_is_taken_for_nothing(shots):
    dataset = open_dataset("scenes", None, "train")
    taken = few_shot(dataset, shots, seed=0)
    there, seen = _images_by_class(dataset, range(len(dataset))), _images_by_class(dataset, taken)
    assert taken == sorted(set(taken))
    assert len(taken) < len(dataset)
    assert all(seen[c] >= min(shots, there[c]) for c in there)
    assert few_shot(dataset, shots, seed=0) == taken
    assert few_shot(dataset, shots, seed=1) != taken


def test_more_shots_than_images_take_all_that_show_a_class():
    dataset = open_dataset("scenes", None, "val").first(6)
    assert few_shot(dataset, 100, seed=0) == list(range(6))
    with pytest.raises(OutOfRange, match="0 images"):
        few_shot(dataset, 0, seed=0)


def test_the_data_module_trains_on_them():
    data = SegmentationData("scenes", None, None, "train", "val", shots=1)
    chosen = data.training_set()
    assert set(chosen.image_ids) < set(data.dataset("train").image_ids)
    assert [s for b in data.train_dataloader() for s in b["image_id"]] != list(chosen.image_ids)
    assert len(data.dataset("val")) == 80
