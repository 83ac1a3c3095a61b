"""Labelling looks at images only: masks that are missing, boxes alone or colours do not matter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import BadDataset
from ca_seg.labelling.settings import LabelData

BOX = {"bbox": [1, 1, 20, 20], "area": 400, "iscrowd": 0}
NONE = object()


def noise(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)


def coco(root: Path, segmentation: object, *, annotated: bool = True) -> None:
    for number in range(2):
        noise(root / f"images/{number}.jpg")
    more = {} if segmentation is NONE else {"segmentation": segmentation}
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 64, "width": 64} for n in range(2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [{"id": n + 1, "image_id": n, "category_id": 1, **BOX, **more} for n in range(2)],
    }
    if not annotated:
        del content["annotations"]
    (root / "annotations.json").write_text(json.dumps(content))


@pytest.mark.parametrize("segmentation", [NONE, [], None, [[5, 5, 9, 9]], "text"])
def test_coco_files_with_boxes_alone(tmp_path, segmentation):
    coco(tmp_path, segmentation)
    dataset = LabelData(name="coco-json", root=str(tmp_path)).open()
    assert dataset.image_ids == ("0", "1")
    assert dataset.class_list.names == ("cat", "dog")
    with pytest.raises(BadDataset):
        open_dataset("coco-json", str(tmp_path))


def test_coco_files_without_annotations(tmp_path):
    coco(tmp_path, NONE, annotated=False)
    assert len(LabelData(name="coco-json", root=str(tmp_path)).open()) == 2
    with pytest.raises(BadDataset, match="annotations"):
        open_dataset("coco-json", str(tmp_path))


def test_a_folder_with_masks_of_colours(tmp_path):
    noise(tmp_path / "images/0.png")
    noise(tmp_path / "masks/0.png")
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {"0": "cat", "1": "grass"}}))
    assert len(LabelData(name="folder", root=str(tmp_path)).open()) == 1
    with pytest.raises(BadDataset, match="RGB"):
        open_dataset("folder", str(tmp_path))


def test_images_that_cannot_be_read_are_still_said(tmp_path):
    coco(tmp_path, [])
    for number in range(2):
        (tmp_path / f"images/{number}.jpg").write_bytes(b"no image")
    with pytest.raises(BadDataset):
        LabelData(name="coco-json", root=str(tmp_path)).open()
