"""The folder format: samples of a good folder, errors of a bad one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnknownName, UnreadableImage

INDEX = {0: 255, 7: 0, 151: 1}


def test_a_sample_has_the_content_of_the_files(make_folder) -> None:
    root = make_folder([(6, 8), (5, 9)])
    dataset = FolderDataset(root)
    assert len(dataset) == 2
    assert dataset.image_ids == ("p0", "p1")
    for number, sample in enumerate(dataset):
        pixels = np.asarray(Image.open(root / "images" / f"p{number}.png"))
        ids = np.asarray(Image.open(root / "masks" / f"p{number}.png"))
        assert sample["image"].dtype == torch.float32
        np.testing.assert_allclose(sample["image"].permute(1, 2, 0), pixels / 255, atol=1e-6)
        assert sample["mask"].dtype == torch.int64
        assert sample["mask"].tolist() == [[INDEX[value] for value in row] for row in ids.tolist()]
        assert sample["image_id"] == f"p{number}"
        assert sample["path"] == str(root / "images" / f"p{number}.png")
        assert dataset.size(number) == tuple(sample["mask"].shape)
    with pytest.raises(IndexError):
        dataset[2]


def test_splits_keep_their_order(make_folder) -> None:
    root = make_folder(splits={"val": ["p2", "p0"], "test": ["p1"]})
    assert FolderDataset(root, "val").image_ids == ("p2", "p0")
    assert FolderDataset(root, "test")[0]["image_id"] == "p1"
    assert FolderDataset(root).image_ids == ("p0", "p1", "p2")
    with pytest.raises(UnknownName, match=r"'vall'.*'val'"):
        FolderDataset(root, "vall")


def test_first(make_folder) -> None:
    dataset = FolderDataset(make_folder())
    assert dataset.first(2).image_ids == ("p0", "p1")
    assert len(dataset.first(99)) == len(dataset) == 3
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        dataset.first(0)


def remove(root, *parts) -> None:
    path = root.joinpath(*parts)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def resave(root, mask: Image.Image) -> None:
    mask.save(root / "masks" / "p0.png")


LAYOUTS = [
    ("no root", lambda r: shutil.rmtree(r), r"set\b.*images/.*masks/.*classes\.json"),
    ("no images", lambda r: remove(r, "images"), r"\bimages\b"),
    ("no masks", lambda r: remove(r, "masks"), r"\bmasks\b"),
    ("no classes", lambda r: remove(r, "classes.json"), r"classes\.json"),
    ("corrupt json", lambda r: (r / "classes.json").write_text('{"classes": '), r"classes\.json.*JSON"),
    ("empty", lambda r: [f.unlink() for d in ("images", "masks") for f in (r / d).iterdir()], "images"),
    ("image without mask", lambda r: remove(r, "masks", "p1.png"), r"p1\.png.*masks/p1\.png"),
    ("mask without image", lambda r: remove(r, "images", "p1.png"), r"masks/p1\.png"),
    ("two of one name", lambda r: shutil.copy(r / "images/p1.png", r / "images/p1.jpg"), r"p1\.jpg.*p1\.png"),
    ("other size", lambda r: resave(r, Image.new("L", (9, 6))), r"masks/p0\.png.*9 x 6.*8 x 6"),
    ("label out of range", lambda r: resave(r, Image.new("L", (8, 6), 9)), r"p0\.png.*\b9\b.*\b48 pixels"),
    ("colour mask", lambda r: resave(r, Image.new("RGB", (8, 6))), r"p0\.png.*\bRGB\b"),
]


@pytest.mark.parametrize(("damage", "value"), [case[1:] for case in LAYOUTS], ids=[case[0] for case in LAYOUTS])
def test_bad_layouts_are_refused_on_opening(make_folder, damage, value) -> None:
    root = make_folder()
    damage(root)
    with pytest.raises(BadDataset, match=value):
        FolderDataset(root)


@pytest.mark.parametrize(
    ("splits", "value"),
    [
        ({"val": ["../p0"]}, r"'\.\./p0'.*images/"),
        ({"val": ["p0"], "other": ["/etc/passwd"]}, "'/etc/passwd'"),
        ({"val": ["..\\p0"]}, "p0"),
        ({"val": [".."]}, r"'\.\.'"),
        ({"val": ["p0", "p9"]}, "'p9'.*images/"),
        ({"val": ["p0.png"]}, "'p0.png'"),
        ({"val": ["p0", "p0"]}, "'p0'"),
        ({"val": []}, r"splits\.json.*'val'"),
        ({"val": "p0"}, r"splits\.json.*'val'"),
        ({"val": [0]}, r"splits\.json.*'val'"),
        (["p0"], r"splits\.json"),
    ],
)
def test_bad_splits_are_refused(make_folder, splits, value) -> None:
    root = make_folder(splits=splits)
    shutil.copy(root / "images" / "p0.png", root / "p0.png")  # a file that a path out of the folder would reach
    with pytest.raises(BadDataset, match=value):
        FolderDataset(root, "val")


def test_a_split_without_its_file(make_folder) -> None:
    with pytest.raises(BadDataset, match=r"'val'.*splits\.json"):
        FolderDataset(make_folder(), "val")


def test_later_images_are_checked_when_they_are_read(make_folder) -> None:
    root = make_folder([(6, 8)] * 4)
    (root / "images" / "p1.png").write_bytes(b"no image")
    Image.new("L", (8, 6), 3).save(root / "masks" / "p2.png")
    Image.new("L", (6, 8), 7).save(root / "masks" / "p3.png")
    dataset = FolderDataset(root)
    with pytest.raises(UnreadableImage, match=r"p1\.png"):
        dataset[1]
    with pytest.raises(BadMask, match=r"p2\.png.* 3\b"):
        dataset[2]
    with pytest.raises(BadMask, match=r"p3\.png.*6 x 8"):
        dataset[3]


def test_one_broken_first_image_does_not_stop_the_rest(make_folder) -> None:
    root = make_folder()
    (root / "images" / "p0.png").write_bytes(b"no image")
    assert FolderDataset(root)[1]["image_id"] == "p1"
    for number in (1, 2):
        (root / "images" / f"p{number}.png").write_bytes(b"no image")
    with pytest.raises(BadDataset, match=r"\b3\b.*set\b"):
        FolderDataset(root)


def test_a_rotated_image_needs_a_rotated_mask(make_folder) -> None:
    root = make_folder([(6, 8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / "images" / "p0.png").save(root / "images" / "p0.png", exif=exif)
    with pytest.raises(BadDataset, match=r"8 x 6.*6 x 8.*EXIF"):
        FolderDataset(root)
    Image.new("L", (6, 8), 7).save(root / "masks" / "p0.png")
    assert FolderDataset(root).size(0) == tuple(FolderDataset(root)[0]["mask"].shape) == (8, 6)


def test_files_that_are_not_images_are_ignored(make_folder) -> None:
    root = make_folder()
    for name in ("images/.DS_Store", "images/._p0.png", "images/notes.txt", "masks/Thumbs.db"):
        (root / name).write_bytes(b"x")
    shutil.move(root / "images" / "p0.png", root / "images" / "p0.PNG")
    assert FolderDataset(root)[0]["path"].endswith("p0.PNG")


def test_the_folder_is_opened_by_name(make_folder) -> None:
    root = str(make_folder(splits={"val": ["p1"]}))
    assert open_dataset("folder", root, "val").image_ids == ("p1",)
    assert len(open_dataset("scenes", root)) == 3


def test_sixteen_bit_ids(make_folder) -> None:
    root = make_folder(classes={"ignore": [0], "classes": {"7": "cat", "151": "grass", "4000": "sky"}})
    Image.fromarray(np.full((6, 8), 4000, np.uint16)).save(root / "masks" / "p0.png")
    assert FolderDataset(root)[0]["mask"].unique().tolist() == [2]
