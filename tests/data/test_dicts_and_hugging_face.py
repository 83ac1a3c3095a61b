"""detectron2's dicts and Hugging Face datasets: read as they were written; bad ones are refused."""

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


def test_dicts_of_detectron2(dicts, tmp_path):
    for changes in ({}, {"height": None}, {"file_name": str(tmp_path / "images/a.png"), "image_id": "x"}):
        dataset = dicts(**changes)
        assert dataset.image_ids == ("a",)
        assert (dataset[0]["mask"].numpy() == IDS).all()


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"sem_seg_file_name": "../x.png"}, r"'\.\./x\.png'"),
        ({"file_name": "/etc/hostname"}, "'/etc/hostname'"),
        ({"file_name": "images/b.png"}, r"b\.png"),
        ({"file_name": 3}, "'file_name'"),
        ({"height": 9, "width": 6}, r"height 6.*9"),
    ],
)
def test_inconsistent_dicts_are_refused(dicts, changes, value):
    with pytest.raises(BadDataset, match=value):
        dicts(**changes)


def png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
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
        rows = datasets.Dataset.from_dict({"image": images, column: masks}, features=features)
        datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "set"))
        (tmp_path / "set/classes.json").write_text(CLASSES)
        return str(tmp_path / "set")

    return write


def test_a_hugging_face_dataset(table):
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


def test_a_broken_cell_affects_its_image_alone(table):
    good, truncated = png(Image.fromarray(PIXELS)), {"bytes": png(Image.fromarray(PIXELS))["bytes"][:90], "path": None}
    mask = png(Image.fromarray(IDS))
    dataset = open_dataset("hugging-face", table([good, truncated, good, None], [mask, mask, good, mask]), "test")
    with pytest.raises(UnreadableImage, match="set/000001"):
        dataset[1]
    with pytest.raises(BadMask, match=r"annotation.*set/000002.*\bRGB\b"):
        dataset[2]
    with pytest.raises(UnreadableImage, match="set/000003"):
        dataset[3]
    with pytest.raises(UnreadableImage, match="set/000003"):
        dataset.image_bytes(3)


def test_datasets_that_cannot_be_used_are_refused(table, tmp_path, monkeypatch):
    image = png(Image.fromarray(PIXELS))
    root = table([image], [image], "other")
    with pytest.raises(BadDataset, match="image, other"):
        open_dataset("hugging-face", root, "test")
    with pytest.raises(UnknownName, match="'tset'"):
        open_dataset("hugging-face", root, "tset")
    with pytest.raises(BadDataset, match="'test'"):
        open_dataset("hugging-face", f"{root}/test", "test")
    with pytest.raises(BadDataset, match="nowhere"):
        open_dataset("hugging-face", str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match="datasets"):
        open_dataset("hugging-face", root, "test")


def test_a_mask_column_of_numbers_is_refused(table):
    with pytest.raises(BadDataset, match=r"'label'.*Value"):
        open_dataset(
            "hugging-face", table([png(Image.fromarray(PIXELS))], [3], "label", datasets.Value("int64")), "test"
        )


def test_an_open_file_is_read_like_its_path(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with open(tmp_path / "a.png", "rb") as file:
        assert (read_image(file) == read_image(tmp_path / "a.png")).all()
