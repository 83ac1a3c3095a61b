"""Label formats that the docs call exact and ca_seg reads as datasets: the same masks out and in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.labelling.formats.coco import Coco
from ca_seg.labelling.label import Label
from ca_seg.labelling.registry import FORMATS, list_formats

NAMES = ("background", "cat", "dog", "never shown")
MASKS = {
    "a/1": np.array([[0, 0, 255], [1, 2, 255]], np.uint8),
    "a/2": np.array([[1, 1, 1], [255, 255, 255]], np.uint8),  # neither background nor dog
    "b": np.full((2, 3), 255, np.uint8),
    "c": np.zeros((2, 3), np.uint8),
}
DATASETS = {"png": "folder", "coco": "coco-json", "detectron2": "sem-seg-dicts"}
UNREAD = {"coco_panoptic", "mmseg"}  # exact formats of other tools, which are no datasets here


def write(folder: Path, label_format: object, names: tuple[str, ...], masks: dict[str, np.ndarray]) -> None:
    writer = label_format.open(folder, names)
    for key, mask in masks.items():
        image = folder / "images" / f"{key}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", mask.shape[::-1]).save(image)
        writer.write(Label(key, f"{key}.png", *mask.shape, mask))
    writer.close()


def test_every_exact_format_is_read_back_here_or_is_of_other_tools():
    docs = (Path(__file__).parents[2] / "docs" / "labels.md").read_text(encoding="utf-8")
    exact = {name for name in FORMATS if re.search(rf"^\| `{name}` \|.*; exact \|$", docs, re.MULTILINE)}
    assert exact == {name for name, summary in list_formats().items() if summary.endswith("exact")}
    assert exact == DATASETS.keys() | UNREAD


@pytest.mark.parametrize("background", ["background", "Background", "floor"])
@pytest.mark.parametrize("name", DATASETS)
def test_an_exact_format_is_read_back_as_it_was(tmp_path, name, background):
    names = (background, *NAMES[1:])
    keys = {key.replace("/", "_"): mask for key, mask in MASKS.items()} if name == "png" else MASKS  # one folder
    write(tmp_path, FORMATS[name], names, keys)
    if name == "detectron2":  # its names of images begin in their folder, and its classes are in metadata.json
        (tmp_path / "images").rename(tmp_path / "moved")
        for path in sorted((tmp_path / "moved").iterdir()):
            path.rename(tmp_path / path.name)
        classes = json.loads((tmp_path / "metadata.json").read_text(encoding="utf-8"))["stuff_classes"]
        listed = {"ignore": [255], "classes": {str(index): entry for index, entry in enumerate(classes)}}
        (tmp_path / "classes.json").write_text(json.dumps(listed), encoding="utf-8")
    dataset = open_dataset(DATASETS[name], str(tmp_path))
    assert dataset.class_list.names == names
    assert sorted(dataset.image_ids) == sorted(keys)
    for index, key in enumerate(dataset.image_ids):
        np.testing.assert_array_equal(dataset[index]["mask"].numpy(), keys[key])


def test_a_background_that_coco_leaves_out_is_read_back(tmp_path):
    mask = np.array([[0, 0, 1]], np.uint8)
    write(tmp_path, Coco(exclude=("background",)), NAMES, {"a": mask})
    np.testing.assert_array_equal(open_dataset("coco-json", str(tmp_path))[0]["mask"].numpy(), mask)
