"""Each official release, in miniature but with its exact layout and encoding, compared with what was written."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import sys

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.benchmarks.official import class_list
from ca_seg.data.catalogue import DATASETS, class_words, open_dataset
from ca_seg.errors import BadDataset, BadMask, UnknownName, UnreadableImage, UserError
from ca_seg.vocabulary import Vocabulary

SIZE = (6, 9)  # height, width
SYNSETS = ("n02099601_7304", "n01440764_10026", "n02099601_9")  # golden retriever, tench
RNG = np.random.default_rng(0)


def ids_among(*numbers):
    mask = RNG.choice(numbers, SIZE).astype(np.uint8)
    mask.reshape(-1)[: len(numbers)] = numbers  # each occurs
    return mask


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(path)


def mask_png(path, ids, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids)
    if palette:
        image = Image.fromarray(ids, "P")
        image.putpalette([int(v) for v in RNG.integers(0, 255, 768)])
    image.save(path)


def lines(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def voc(root):
    masks = {"2007_1": ids_among(0, 15, 255), "2007_2": ids_among(0, 1, 20, 255)}
    for name, ids in masks.items():
        image(root / f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg")
        mask_png(root / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png", ids, palette=True)
    lines(root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", *masks)
    return masks


def context(root):
    masks = {"2008_1": ids_among(0, 1, 2, 37, 59)}
    image(root / "VOC2010/JPEGImages/2008_1.jpg")
    mask_png(root / "VOC2010/SegmentationClassContext/2008_1.png", masks["2008_1"])
    lines(root / "VOC2010/ImageSets/SegmentationContext/val.txt", *masks)
    return masks


def ade(root):
    masks = {"ADE_val_00000001": ids_among(0, 1, 150)}
    image(root / "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg")
    mask_png(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", masks["ADE_val_00000001"])
    return masks


def cityscapes(root):
    image_id = "bonn_000000_000019"
    masks = {image_id: ids_among(0, 7, 9, 26, 33)}
    image(root / f"leftImg8bit/val/bonn/{image_id}_leftImg8bit.png")
    mask_png(root / f"gtFine/val/bonn/{image_id}_gtFine_labelIds.png", masks[image_id])
    return masks


def coco(root):
    masks = {"000000000139": ids_among(0, 89, 91, 181, 255)}
    image(root / "images/val2017/000000000139.jpg")
    mask_png(root / "stuffthingmaps/val2017/000000000139.png", masks["000000000139"])
    return masks


def camvid(root):
    masks = {"0001TP_006690": ids_among(0, 10, 11)}
    image(root / "test/0001TP_006690.png")
    mask_png(root / "testannot/0001TP_006690.png", masks["0001TP_006690"])
    return masks


def pet(root):
    masks = {"Abyssinian_1": ids_among(1, 2, 3)}
    image(root / "images/Abyssinian_1.jpg")
    mask_png(root / "annotations/trimaps/Abyssinian_1.png", masks["Abyssinian_1"])
    lines(root / "annotations/test.txt", "# comment", "Abyssinian_1 1 1 1")
    return masks


def msrc(root):
    masks = {"1_1_s": ids_among(0, 1, 3)}
    image(root / "images/1_1_s.jpg")
    mask_png(root / "masks/1_1_s.png", masks["1_1_s"])
    classes = {"1": "building", "2": "grass", "3": "tree"}
    (root / "classes.json").write_text(json.dumps({"void": 0, "classes": classes}))
    lines(root / "dev.txt", "1_1_s")
    return masks


def davis(root):
    masks = {}
    for number in ("00000", "00001"):
        masks[f"bear_{number}"] = ids_among(0, 1, 2)
        image(root / f"JPEGImages/480p/bear/{number}.jpg")
        mask_png(root / f"Annotations/480p/bear/{number}.png", masks[f"bear_{number}"], palette=True)
    lines(root / "ImageSets/2017/val.txt", "bear")
    return masks


def imagenet(root):
    """As MATLAB writes 1 x N cells in v7.3: [N, 1] references into a group, arrays with their axes reversed."""
    masks = {}
    with h5py.File(root / "gtsegs_ijcv.mat", "w") as file:
        cells = {
            name: file.create_dataset(f"value/{name}", (3, 1), dtype=h5py.ref_dtype) for name in ("img", "gt", "id")
        }
        for i in range(3):
            masks[f"{i:05d}"] = ids_among(0, 1)
            colours = RNG.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            cells["img"][i, 0] = file.create_dataset(f"#refs#/i{i}", data=colours.transpose(2, 1, 0)).ref
            inner = file.create_dataset(f"#refs#/m{i}", data=masks[f"{i:05d}"].T)
            cell = file.create_dataset(f"#refs#/c{i}", (1, 1), dtype=h5py.ref_dtype)
            cell[0, 0] = inner.ref
            cells["gt"][i, 0] = cell.ref
            letters = np.frombuffer(SYNSETS[i].encode("utf-16-le"), np.uint16)[:, None]
            cells["id"][i, 0] = file.create_dataset(f"#refs#/s{i}", data=letters).ref
            file.attrs[f"image{i}"] = colours
    return masks


WRITERS = {
    "voc20": voc, "voc21": voc, "pascal-context59": context, "pascal-context60": context, "ade20k": ade,
    "cityscapes": cityscapes, "coco-stuff": coco, "coco-object": coco, "camvid": camvid, "pet": pet, "msrc": msrc,
    "davis": davis, "imagenet-segmentation": imagenet,
}  # fmt: skip
CLASS_OF_ID = {  # the class of each number in the files, or None for void
    "voc20": {0: None, 1: "aeroplane", 15: "person", 20: "tv monitor", 255: None},
    "voc21": {0: "background", 1: "aeroplane", 15: "person", 20: "tv monitor", 255: None},
    "pascal-context59": {0: None, 1: "aeroplane", 2: "bag", 37: "person", 59: "wood"},
    "pascal-context60": {0: "background", 1: "aeroplane", 2: "bag", 37: "person", 59: "wood"},
    "ade20k": {0: None, 1: "wall", 150: "flag"},
    "cityscapes": {0: None, 7: "road", 9: None, 26: "car", 33: "bicycle"},
    "coco-stuff": {0: "person", 89: "toothbrush", 91: "banner", 181: "wood", 255: None},
    "coco-object": {0: "person", 89: "toothbrush", 91: "background", 181: "background", 255: None},
    "camvid": {0: "sky", 10: "bicyclist", 11: None},
    "pet": {1: "pet", 2: "background", 3: None},
    "msrc": {0: None, 1: "building", 3: "tree"},
    "davis": {0: "background", 1: "object", 2: "object"},
    "imagenet-segmentation": {0: "background", 1: "object"},
}
CLASSES = {
    "voc20": 20, "voc21": 21, "pascal-context59": 59, "pascal-context60": 60, "ade20k": 150, "cityscapes": 19,
    "coco-stuff": 171, "coco-object": 81, "camvid": 11, "davis": 2, "pet": 2, "imagenet-segmentation": 2,
}  # fmt: skip
USER_FORMATS = {
    "labelled",
    "folder",
    "scenes",
    "photographs",
    "images",
    "webdataset",
    "coco-json",
    "sem-seg-dicts",
    "hugging-face",
}
WITH_FILES = [name for name in WRITERS if name != "imagenet-segmentation"]


@pytest.fixture
def miniature(monkeypatch):
    """Removes the check of the number of images, which holds for complete releases."""
    for name in ("voc", "pascal_context", "ade20k", "cityscapes", "coco", "camvid", "pet", "imagenet_segmentation"):
        module = importlib.import_module(f"ca_seg.data.benchmarks.{name}")
        known = dict.fromkeys(module.COUNTS)
        monkeypatch.setattr(module, "COUNTS", known)


def test_each_official_dataset_has_a_miniature():
    assert set(WRITERS) | USER_FORMATS == set(DATASETS)


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", WRITERS)
def test_a_release_is_read_as_written(tmp_path, name):
    written = WRITERS[name](tmp_path)
    dataset = open_dataset(name, str(tmp_path), "dev" if name == "msrc" else None)
    assert list(dataset.image_ids) == list(written)
    names = dataset.class_list.names
    assert len(names) == CLASSES.get(name, len(names))
    assert len(set(names)) == len(names)
    for index, ids in enumerate(written.values()):
        sample = dataset[index]
        assert sample["image"].shape == (3, *SIZE)
        assert dataset.size(index) == SIZE
        expected = np.full(SIZE, -1)
        for number, class_name in CLASS_OF_ID[name].items():
            expected[ids == number] = 255 if class_name is None else names.index(class_name)
        assert torch.equal(sample["mask"], torch.from_numpy(expected))


@pytest.mark.usefixtures("miniature")
def test_the_images_of_the_matlab_file_are_upright(tmp_path):
    imagenet(tmp_path)
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    with h5py.File(tmp_path / "gtsegs_ijcv.mat") as file:
        colours = file.attrs["image1"]
    assert torch.equal((255 * dataset[1]["image"]).round().byte(), torch.from_numpy(colours).permute(2, 0, 1))
    assert len({dataset.image_bytes(index) for index in range(len(dataset))}) == len(dataset)
    assert dataset.image_bytes(1).endswith(colours.transpose(2, 1, 0).tobytes())


@pytest.mark.usefixtures("miniature")
def test_the_papers_single_class_images(tmp_path):
    voc(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert open_dataset("voc20", str(tmp_path), "single-class").image_ids == ("2007_1",)
    assert open_dataset("voc21", str(tmp_path), "multi-class").image_ids == ("2007_1", "2007_2")
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written


def test_a_dataset_with_user_defined_classes_has_no_synonyms():
    assert class_words("msrc").synonyms == class_words("folder").synonyms == {}


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "msrc"])
def test_words_make_a_vocabulary(name):
    words = class_words(name)
    names = class_list(name).names
    vocabulary = Vocabulary.from_names(names, synonyms=words.synonyms, background=words.background)
    assert len(vocabulary.concepts) >= len(names)
    assert class_list(name).source


@pytest.mark.parametrize("name", WRITERS)
def test_no_folder_and_an_empty_folder_are_refused(tmp_path, name):
    for root in (None, str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(BadDataset):
            open_dataset(name, root)
    with pytest.raises(BadDataset, match="root"):
        open_dataset(name, None)


@pytest.mark.parametrize("name", ["voc21", "ade20k", "cityscapes", "coco-stuff", "camvid", "pet"])
def test_a_release_with_a_wrong_number_of_images_is_refused(tmp_path, name):
    WRITERS[name](tmp_path)
    with pytest.raises(BadDataset, match=r"\b[12] images") as caught:
        open_dataset(name, str(tmp_path))
    assert caught.value.allowed.isdigit()


def opened(name, root):
    return open_dataset(name, str(root), "dev" if name == "msrc" else None)


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", WITH_FILES)
def test_a_missing_mask_and_an_unknown_split_are_named(tmp_path, name):
    WRITERS[name](tmp_path)
    with pytest.raises(UnknownName, match="'tset'"):
        open_dataset(name, str(tmp_path), "tset")
    mask = opened(name, tmp_path).mask_path(0)
    mask.unlink()
    with pytest.raises(BadDataset, match=re.escape(mask.name)):
        opened(name, tmp_path)


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", WITH_FILES)
def test_a_mask_of_another_size_is_named_on_opening(tmp_path, name):
    WRITERS[name](tmp_path)
    dataset = opened(name, tmp_path)
    mask_png(dataset.mask_path(0), ids_among(1)[:, :-1].copy())
    with pytest.raises(BadDataset, match=f"{re.escape(dataset.mask_path(0).name)}.*8 x 6.*9 x 6"):
        opened(name, tmp_path)


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", [name for name in WITH_FILES if name != "davis"])  # where any number is an object
def test_a_label_outside_the_range_is_named(tmp_path, name):
    WRITERS[name](tmp_path)
    dataset = opened(name, tmp_path)
    mask_png(dataset.mask_path(0), ids_among(200))
    with pytest.raises(BadMask, match=f"{re.escape(dataset.mask_path(0).name)}.*200"):
        dataset[0]
    with pytest.raises(BadDataset, match="200"):
        opened(name, tmp_path)


@pytest.mark.usefixtures("miniature")
def test_stuff_masks_where_coco_stuffs_guide_puts_them(tmp_path):
    written = coco(tmp_path)
    (tmp_path / "stuffthingmaps").rename(tmp_path / "annotations")
    (tmp_path / "images" / "val2017").rename(tmp_path / "val2017")
    assert open_dataset("coco-stuff", str(tmp_path)).image_ids == tuple(written)
    with pytest.raises(UnknownName, match="'tset'"):
        open_dataset("coco-stuff", str(tmp_path), "tset")


@pytest.mark.usefixtures("miniature")
def test_synsets_and_words_of_single_images(tmp_path, monkeypatch):
    imagenet(tmp_path)
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    assert [dataset.synset(i) for i in range(3)] == ["n02099601", "n01440764", "n02099601"]
    assert dataset.image_words() == {"00000": "golden retriever", "00001": "tench", "00002": "golden retriever"}
    assert list(dataset.first(1).image_words()) == ["00000"]
    monkeypatch.setitem(sys.modules, "timm.data", None)
    with pytest.raises(UserError, match="timm"):
        dataset.image_words()
    with h5py.File(tmp_path / "gtsegs_ijcv.mat", "a") as file:
        del file["value/id"]
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    assert dataset.image_words() == {}
    with pytest.raises(BadDataset, match="value/id"):
        dataset.synset(0)


@pytest.mark.usefixtures("miniature")
def test_the_matlab_file_is_read_by_other_processes(tmp_path):
    written = imagenet(tmp_path)
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    dataset[0]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[2]["mask"], dataset[2]["mask"])
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    for sample, ids in zip(loader, written.values(), strict=True):
        assert (sample["mask"].numpy() == np.where(ids == 1, dataset.class_list.names.index("object"), 0)).all()


@pytest.mark.usefixtures("miniature")
def test_a_damaged_matlab_file(tmp_path):
    imagenet(tmp_path)
    file = tmp_path / "gtsegs_ijcv.mat"
    with h5py.File(file, "a") as content:
        content["value/img"][1, 0] = h5py.Reference()
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    for read in (dataset.__getitem__, dataset.size):
        with pytest.raises(UnreadableImage, match=r"gtsegs_ijcv\.mat/00001"):
            read(1)
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(BadDataset, match=r"gtsegs_ijcv\.mat"):
        open_dataset("imagenet-segmentation", str(tmp_path))


def test_the_matlab_file_has_4276_images(tmp_path):
    imagenet(tmp_path)
    with pytest.raises(BadDataset, match=r"\b3\b.*\b4276\b"):
        open_dataset("imagenet-segmentation", str(tmp_path))
