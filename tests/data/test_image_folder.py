"""Images without masks: image_ids with folders, each kind of image, and no file from outside the folder."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.formats.image_folder import ImageFolder
from ca_seg.data.read import read_image
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage


def save(path, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "set"
    for name in ("b/1.png", "a/1.png", "a/deep/1.webp", "2.PNG", "a/10.v2.jpg", "a/9.png"):
        save(root / name)
    for name in ("notes.txt", ".hidden.png", "a/._1.png", ".cache/1.png"):
        save(root / "x.png")
        (root / name).parent.mkdir(exist_ok=True)
        os.replace(root / "x.png", root / name)
    return root


def test_names_keep_their_folders(tree):
    dataset = open_dataset("images", str(tree))
    assert dataset.image_ids == ("2", "a/1", "a/10.v2", "a/9", "a/deep/1", "b/1")
    assert dataset.image_path(4) == tree / "a/deep/1.webp"
    sample = dataset[5]
    assert (sample["image_id"], sample["path"]) == ("b/1", str(tree / "b/1.png"))
    assert sample["mask"].shape == (4, 6) == dataset.size(5)
    assert sample["mask"].unique().tolist() == [255]
    assert dataset.first(2).image_ids == ("2", "a/1")
    batches = list(SegmentationData("images", str(tree), batch_size=4).predict_dataloader())
    assert sorted(image_id for batch in batches for image_id in batch["image_id"]) == sorted(dataset.image_ids)


def test_each_kind_of_image(tmp_path):
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8))
    kinds = {mode: colours.convert(mode) for mode in ("L", "LA", "P", "RGB", "RGBA", "1")}
    kinds["I;16"] = Image.fromarray(rng.integers(0, 65535, (4, 6), dtype=np.uint16))
    for mode, image in kinds.items():
        image.save(tmp_path / f"{mode.replace(';', '')}.png")
    colours.convert("CMYK").save(tmp_path / "CMYK.jpg")
    colours.save(tmp_path / "video.gif")
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(tmp_path / "turned.jpg", exif=exif)
    dataset = ImageFolder(tmp_path)
    assert len(dataset) == 10
    for index in range(10):
        sample = dataset[index]
        assert (sample["image"] == read_image(dataset.image_path(index))).all()
        assert tuple(sample["mask"].shape) == tuple(sample["image"].shape[1:]) == dataset.size(index)


def test_a_list_keeps_its_order(tree):
    file = tree / "list.txt"
    file.write_text(f"b/1.png\n\na/9.png\n{tree / 'a/1.png'}\n")
    assert ImageFolder(file).image_ids == ("b/1", "a/9", "a/1")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("../out.png", r"'\.\./out\.png'"),
        ("a/../../out.png", r"'a/\.\./\.\./out\.png'"),
        ("/etc/hostname", "'/etc/hostname'"),
        ("link.png", r"'link\.png'"),
        ("gone.png", r"gone\.png"),
        ("a/1.png", "'a/1'"),
        ("a", "'a'"),
    ],
)
def test_a_list_stays_inside(tree, line, value):
    save(tree.parent / "out.png")
    (tree / "link.png").symlink_to(tree.parent / "out.png")
    (tree / "list.txt").write_text(f"a/1.png\n{line}\n")
    with pytest.raises(BadDataset, match=value):
        ImageFolder(tree / "list.txt")


def test_links_out_of_the_folder_and_to_folders_are_refused(tree):
    save(tree.parent / "other/1.png")
    link = tree / "a" / "link.png"
    link.symlink_to(tree / "b" / "1.png")
    assert "a/link" in ImageFolder(tree).image_ids  # another name for an image inside
    for target in (tree.parent / "other/1.png", tree.parent / "other", tree, tree / "b"):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(BadDataset, match=r"link\.png"):
            ImageFolder(tree)
    link.unlink()
    link.symlink_to(tree / "gone.png")  # a broken image, reported when it is read
    dataset = ImageFolder(tree)
    with pytest.raises(UnreadableImage, match=r"link\.png"):
        dataset[dataset.image_ids.index("a/link")]
    link.unlink()
    (tree.parent / "way").symlink_to(tree)
    assert ImageFolder(tree.parent / "way").image_ids == ImageFolder(tree).image_ids


def test_bad_roots_are_refused(tree, tmp_path):
    with pytest.raises(BadDataset, match="'images'"):
        open_dataset("images")
    with pytest.raises(UnknownName, match="'val'"):
        open_dataset("images", str(tree), "val")
    with pytest.raises(BadDataset, match="nowhere"):
        ImageFolder(tmp_path / "nowhere")
    with pytest.raises(BadDataset, match=r"2\.PNG"):
        ImageFolder(tree / "2.PNG")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadDataset, match="empty"):
        ImageFolder(tmp_path / "empty")
    save(tree / "a/1.jpg")
    with pytest.raises(BadDataset, match=r"1\.jpg and 1\.png.*'a/1'"):
        ImageFolder(tree)
