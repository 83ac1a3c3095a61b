"""Datasets of the catalogue in detectron2's catalogues: its readers and those of ca_seg give the same."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import BadDataset, UnknownName, UserError
from tests.small_detectron2 import REASON, first_scenes

pytest.importorskip("detectron2", reason=REASON)

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from detectron2.evaluation.sem_seg_evaluation import load_image_into_numpy_array

from ca_seg.adapters.detectron2 import register


@pytest.fixture
def name(request):
    """A name for this test alone, taken out of detectron2's catalogues afterwards."""
    yield request.node.name
    if request.node.name in DatasetCatalog:
        DatasetCatalog.remove(request.node.name)
        MetadataCatalog.remove(request.node.name)


def test_dicts_are_read_by_detectron2_as_by_ca_seg(name, tmp_path):
    root = first_scenes(tmp_path / "set", 4)
    classes, skipped = register(name, "folder", str(root), cache=tmp_path / "cache")
    dataset = open_dataset("folder", str(root))
    dicts = DatasetCatalog.get(name)
    assert not skipped
    assert [entry["image_id"] for entry in dicts] == list(dataset.image_ids)
    for entry, sample in zip(dicts, dataset, strict=True):
        mask = sample["mask"].numpy()
        assert (entry["height"], entry["width"]) == mask.shape
        in_training = read_image(entry["sem_seg_file_name"], "L").squeeze(2)
        assert np.array_equal(in_training, mask)
        assert np.array_equal(load_image_into_numpy_array(entry["sem_seg_file_name"], dtype=int), mask)
        image = read_image(entry["file_name"], "RGB").transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image, sample["image"].numpy(), atol=1e-7)
    about = MetadataCatalog.get(name)
    assert tuple(about.stuff_classes) == classes.names == dataset.class_list.names
    assert len({tuple(colour) for colour in about.stuff_colors}) == len(classes)
    assert about.ignore_label == 255


def test_void_becomes_255_and_ids_become_indices(name, tmp_path):
    root = tmp_path / "set"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    (root / "classes.json").write_text(json.dumps({"ignore": [0], "classes": {"7": "cat", "300": "grass"}}))
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(root / "images" / "a.png")
    Image.fromarray(np.array([[0, 7, 300], [300, 7, 0]], np.uint16)).save(root / "masks" / "a.png")
    register(name, "folder", str(root), cache=tmp_path / "cache")
    mask = read_image(DatasetCatalog.get(name)[0]["sem_seg_file_name"], "L").squeeze(2)
    assert mask.tolist() == [[255, 0, 1], [1, 0, 255]]


def test_a_broken_image_is_excluded_and_listed(name, tmp_path):
    root = first_scenes(tmp_path / "set", 3)
    broken = sorted((root / "images").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:200])
    _, skipped = register(name, "folder", str(root), cache=tmp_path / "cache")
    assert len(DatasetCatalog.get(name)) == 2
    assert [image.path for image in skipped] == [str(broken)]


def test_a_dataset_is_converted_once_and_changed_files_raise(name, tmp_path):
    root, cache = first_scenes(tmp_path / "set", 3), tmp_path / "cache"
    register(name, "folder", str(root), cache=cache)
    before = {file: file.stat().st_mtime_ns for file in (cache / "masks").iterdir()}
    with pytest.raises(UserError, match=name):
        register(name, "folder", str(root), cache=cache)
    first = DatasetCatalog.get(name)
    DatasetCatalog.remove(name)
    register(name, "folder", str(root), cache=cache)
    assert {file: file.stat().st_mtime_ns for file in (cache / "masks").iterdir()} == before
    assert DatasetCatalog.get(name) == first
    DatasetCatalog.remove(name)
    mask = next((root / "masks").iterdir())
    os.utime(mask, ns=(1, 1))
    with pytest.raises(BadDataset, match=re.escape(str(cache))):
        register(name, "folder", str(root), cache=cache)


def test_images_that_are_no_files_are_written_to_the_cache(name, tmp_path):
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(2)]
    masks = [generator.integers(0, 2, (4, 6), dtype=np.uint8) for _ in range(2)]
    columns = {"image": map(Image.fromarray, pixels), "annotation": map(Image.fromarray, masks)}
    table = datasets.Dataset.from_dict({key: list(cells) for key, cells in columns.items()})
    table.save_to_disk(tmp_path / "set")
    (tmp_path / "set" / "classes.json").write_text(json.dumps({"classes": {"0": "cat", "1": "grass"}}))
    register(name, "hugging-face", str(tmp_path / "set"), cache=tmp_path / "cache")
    for entry, colours, mask in zip(DatasetCatalog.get(name), pixels, masks, strict=True):
        assert np.array_equal(read_image(entry["file_name"], "RGB"), colours)
        assert np.array_equal(read_image(entry["sem_seg_file_name"], "L").squeeze(2), mask)


def test_images_that_detectron2_would_read_otherwise_are_written_to_the_cache(name, tmp_path):
    gray, root = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10, np.ones((8, 8), np.uint8)), tmp_path / "set"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gray.astype(np.uint16) * 257).save(root / "images" / "deep.png")
    Image.fromarray(gray).save(root / "images" / "turned.tif", exif=exif)
    Image.fromarray(gray).save(root / "images" / "plain.png")
    for image_id, mask in (("deep", gray), ("turned", np.rot90(gray)), ("plain", gray)):
        Image.fromarray(np.zeros_like(mask)).save(root / "masks" / f"{image_id}.png")
    (root / "classes.json").write_text(json.dumps({"classes": {"0": "cat"}}))
    register(name, "folder", str(root), cache=tmp_path / "cache")
    dataset = open_dataset("folder", str(root))
    for entry, sample in zip(DatasetCatalog.get(name), dataset, strict=True):
        theirs = read_image(entry["file_name"], "RGB")
        assert (entry["height"], entry["width"]) == theirs.shape[:2]
        np.testing.assert_allclose(theirs.transpose(2, 0, 1) / 255, sample["image"].numpy(), atol=0.5 / 255)
        assert entry["file_name"].startswith(str(root / "images")) == (sample["image_id"] == "plain")


def test_unknown_names_are_named(name, tmp_path):
    with pytest.raises(UnknownName, match="scene"):
        register(name, "scene", cache=tmp_path)
    with pytest.raises(UnknownName, match="split"):
        register(name, "scenes", split="nowhere", cache=tmp_path)
    assert name not in DatasetCatalog
