"""Tar shards as the webdataset package writes them."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.errors import BadDataset, UnknownName, UnreadableImage


def pixels(number):
    return np.random.default_rng(number).integers(0, 256, (5 + number, 9, 3), dtype=np.uint8)


@pytest.fixture
def shards(tmp_path):
    with webdataset.ShardWriter(str(tmp_path / "part-%03d.tar"), maxcount=2, verbose=0) as sink:
        for number in range(5):
            sink.write({"__key__": f"a/{number:04d}", "png": pixels(number), "txt": "a caption", "seg.png": pixels(9)})
    return tmp_path


def test_images_are_read_as_webdataset_wrote_them(shards):
    dataset = open_dataset("webdataset", str(shards))
    assert dataset.image_ids == ("part-000/a/0000", "part-000/a/0001", "part-001/a/0002", "part-001/a/0003",
                             "part-002/a/0004")  # fmt: skip
    for number in range(5):
        expected = torch.from_numpy(pixels(number)).permute(2, 0, 1).float() / 255
        assert torch.equal(dataset[number]["image"], expected)
        assert dataset.size(number) == (5 + number, 9)
        assert (dataset[number]["mask"] == 255).all()
    assert str(dataset.image_path(3)).endswith("part-001.tar/a/0003.png")
    assert open_dataset("webdataset", str(shards / "part-001.tar")).image_ids == ("part-001/a/0002", "part-001/a/0003")


def test_images_and_keys_agree_with_the_reader_of_webdataset(shards):
    reference = webdataset.WebDataset(str(shards / "part-001.tar"), shardshuffle=False).decode("torchrgb")
    dataset = open_dataset("webdataset", str(shards / "part-001.tar"))
    for number, sample in enumerate(reference):
        assert torch.equal(sample["png"], dataset[number]["image"])
        assert f"part-001/{sample['__key__']}" == dataset.image_ids[number]


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def png():
    file = io.BytesIO()
    Image.fromarray(pixels(0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (["a.png", "a.jpg"], "'a'"),
        (["../a.png"], r"'\.\./a\.png'"),
        (["/a.png"], r"'/a\.png'"),
        (["a.txt", "b.seg.png"], r"\.png"),
    ],
)
def test_members_that_cannot_be_used(tmp_path, names, value):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in names:
            add(tar, name, png())
    with pytest.raises(BadDataset, match=value):
        open_dataset("webdataset", str(tmp_path))


def test_shards_that_cannot_be_used(tmp_path, shards):
    with pytest.raises(BadDataset, match="nowhere"):
        open_dataset("webdataset", str(tmp_path / "nowhere"))
    content = (shards / "part-000.tar").read_bytes()
    truncated = tmp_path / "cut.tar"
    for length in (600, 1700):
        truncated.write_bytes(content[:length])
        with pytest.raises(BadDataset, match=r"cut\.tar"):
            open_dataset("webdataset", str(truncated))
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        add(tar, "a.png", png())
    with pytest.raises(BadDataset, match=r"packed\.tar"):
        open_dataset("webdataset", str(tmp_path / "packed.tar"))
    with pytest.raises(UnknownName, match="'train'"):
        open_dataset("webdataset", str(shards), "train")


def test_one_broken_member_and_a_shard_that_shrank(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in (("a.png", png()), ("b.png", b"no image"), ("c.png", png())):
            add(tar, name, content)
    dataset = open_dataset("webdataset", str(tmp_path))
    with pytest.raises(UnreadableImage, match=r"x\.tar/b\.png"):
        dataset[1]
    with pytest.raises(UnreadableImage, match=r"b\.png"):
        dataset.size(1)
    (tmp_path / "x.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:2000])
    with pytest.raises(UnreadableImage, match=r"x\.tar/c\.png"):
        dataset[2]


def test_an_image_whose_name_has_a_dot_too_many_is_said_to_be_left_out(tmp_path):
    content = io.BytesIO()
    Image.fromarray(pixels(0)).save(content, format="PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("1.png", "1.seg.png", "22.05.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            tar.addfile(member, io.BytesIO(content.getvalue()))
    with pytest.warns(UserWarning, match=r"22\.05\.png left out"):
        assert open_dataset("webdataset", str(tmp_path)).image_ids == ("a/1",)
