"""detectron2's dicts and Hugging Face sets: what was written comes back, and bad ones are named."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

import datasets
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.read import read_image
from ca_seg.errors import BadDataset, BadMask, UnknownName, UnreadableImage
from ca_seg.optional import MissingExtra

SIZE = (6, 9)  # height, width
RNG = np.random.default_rng(0)
CLASSES = json.dumps({"ignore": [255], "classes": {"0": "cat", "1": "grass"}})
IDS = RNG.choice([0, 1, 255], SIZE).astype(np.uint8)
PIXELS = RNG.integers(0, 255, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def dicts(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "images/a.png")
    Image.fromarray(IDS).save(tmp_path / "masks/a.png")
    (tmp_path / "classes.json").write_text(CLASSES)

    def write(**changes):
        entry = {"file_name": "images/a.png", "sem_seg_file_name": "masks/a.png", "height": 6, "width": 9} | changes
        (tmp_path / "dataset.json").write_text(json.dumps([entry]))
        return open_dataset("sem-seg-dicts", str(tmp_path))

    return write


def test_detectrons_dicts(dicts, tmp_path):
    for changes in ({}, {"height": None}, {"file_name": str(tmp_path / "images/a.png"), "image_id": "x"}):
        dataset = dicts(**changes)
        assert dataset.image_ids == ("a",)
        assert (dataset[0]["mask"].numpy() == IDS).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sem_seg_file_name": "../x.png"}, "Allowed: files inside"),
        ({"file_name": "/etc/hostname"}, "Allowed: files inside"),
        ({"file_name": "images/b.png"}, "b.png is missing"),
        ({"file_name": 3}, "an entry without 'file_name'"),
        ({"height": 9, "width": 6}, r"height 6.*9"),
    ],
)
def test_dicts_that_do_not_fit_are_refused(dicts, changes, words):
    with pytest.raises(BadDataset, match=words):
        dicts(**changes)


def png(image, **how):
    file = io.BytesIO()
    image.save(file, "PNG", **how)
    return {"bytes": file.getvalue(), "path": None}


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return png(Image.fromarray(np.rot90(PIXELS)), exif=exif)


@pytest.fixture
def table(tmp_path):
    def write(images, masks, column="annotation", kind=None):
        kind = kind or datasets.Image()
        features = datasets.Features({"image": datasets.Image(), column: kind})
        made = datasets.Dataset.from_dict({"image": images, column: masks}, features=features)
        datasets.DatasetDict({"test": made}).save_to_disk(str(tmp_path / "set"))
        (tmp_path / "set/classes.json").write_text(CLASSES)
        return str(tmp_path / "set")

    return write


def test_a_hugging_face_set(table):
    deep = Image.fromarray(RNG.integers(0, 65536, SIZE, dtype=np.uint16))
    palette = Image.fromarray(IDS, "P")
    palette.putpalette([int(v) for v in RNG.integers(0, 255, 768)])
    root = table([png(Image.fromarray(PIXELS)), turned(), png(deep)], [png(palette)] * 3, "label")
    dataset = open_dataset("hugging-face", root, "test")
    assert dataset.image_ids == ("000000", "000001", "000002")
    for index, expected in enumerate((PIXELS / 255, PIXELS / 255, np.asarray(deep)[..., None] / 65535)):
        np.testing.assert_allclose(dataset[index]["image"].permute(1, 2, 0) - expected, 0, atol=1e-6)
        assert (dataset[index]["mask"].numpy() == IDS).all()
        assert dataset.size(index) == SIZE
    assert dataset.image_bytes(2) == png(deep)["bytes"]


def test_a_broken_cell_costs_its_image(table):
    whole, cut = png(Image.fromarray(PIXELS)), {"bytes": png(Image.fromarray(PIXELS))["bytes"][:90], "path": None}
    mask = png(Image.fromarray(IDS))
    dataset = open_dataset("hugging-face", table([whole, cut, whole, None], [mask, mask, whole, mask]), "test")
    with pytest.raises(UnreadableImage, match=r"image of .*set/000001 cannot be read"):
        dataset[1]
    with pytest.raises(BadMask, match=r"annotation of .*set/000002 is an image of mode RGB"):
        dataset[2]
    with pytest.raises(UnreadableImage, match=r"image of .*set/000003 is empty"):
        dataset[3]
    with pytest.raises(UnreadableImage, match=r"image of .*set/000003 is empty"):
        dataset.image_bytes(3)


def test_sets_that_do_not_fit_are_refused(table, tmp_path, monkeypatch):
    image = png(Image.fromarray(PIXELS))
    root = table([image], [image], "other")
    with pytest.raises(BadDataset, match="has columns image, other"):
        open_dataset("hugging-face", root, "test")
    with pytest.raises(UnknownName, match="unknown split 'tset'"):
        open_dataset("hugging-face", root, "tset")
    with pytest.raises(BadDataset, match="without splits"):
        open_dataset("hugging-face", f"{root}/test", "test")
    with pytest.raises(BadDataset, match="cannot be read"):
        open_dataset("hugging-face", str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="datasets"):
        open_dataset("hugging-face", root, "test")


def test_a_mask_column_of_numbers_is_refused(table):
    with pytest.raises(BadDataset, match=r"the column 'label' of .* is Value"):
        open_dataset(
            "hugging-face", table([png(Image.fromarray(PIXELS))], [3], "label", datasets.Value("int64")), "test"
        )


def test_an_open_file_reads_as_its_path_does(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with open(tmp_path / "a.png", "rb") as file:
        assert (read_image(file) == read_image(tmp_path / "a.png")).all()
