"""Every official release, in miniature but in exactly its layout and encoding, read back against what was written."""

from __future__ import annotations

import importlib
import json

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks

from ca_seg.data.catalogue import DATASETS, dataset_words, open_dataset
from ca_seg.errors import BadDataset, BadMask, UnknownName
from ca_seg.vocabulary import Vocabulary

SIZE = (6, 9)  # height, width
RNG = np.random.default_rng(0)


def ids_among(*numbers):
    mask = RNG.choice(numbers, SIZE).astype(np.uint8)
    mask.reshape(-1)[: len(numbers)] = numbers  # each occurs
    return mask


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(path)


def mask_png(path, ids, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(ids, "L")
    if palette:
        image = image.convert("P")
        image = Image.fromarray(ids, "P")
        image.putpalette([int(v) for v in RNG.integers(0, 255, 768)])
    image.save(path)


def lines(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


def voc(root):
    masks = {"2007_1": ids_among(0, 15, 255), "2007_2": ids_among(0, 1, 20, 255)}
    for name, ids in masks.items():
        picture(root / f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg")
        mask_png(root / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png", ids, palette=True)
    lines(root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", *masks)
    return masks


def context(root):
    masks = {"2008_1": ids_among(0, 1, 59)}
    picture(root / "VOC2010/JPEGImages/2008_1.jpg")
    mask_png(root / "VOC2010/SegmentationClassContext/2008_1.png", masks["2008_1"])
    lines(root / "VOC2010/ImageSets/SegmentationContext/val.txt", *masks)
    return masks


def ade(root):
    masks = {"ADE_val_00000001": ids_among(0, 1, 150)}
    picture(root / "ADEChallengeData2016/images/validation/ADE_val_00000001.jpg")
    mask_png(root / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png", masks["ADE_val_00000001"])
    return masks


def cityscapes(root):
    stem = "bonn_000000_000019"
    masks = {stem: ids_among(0, 7, 9, 26, 33)}
    picture(root / f"leftImg8bit/val/bonn/{stem}_leftImg8bit.png")
    mask_png(root / f"gtFine/val/bonn/{stem}_gtFine_labelIds.png", masks[stem])
    return masks


def coco(root):
    masks = {"000000000139": ids_among(0, 89, 91, 181, 255)}
    picture(root / "images/val2017/000000000139.jpg")
    mask_png(root / "stuffthingmaps/val2017/000000000139.png", masks["000000000139"])
    return masks


def camvid(root):
    masks = {"0001TP_006690": ids_among(0, 10, 11)}
    picture(root / "test/0001TP_006690.png")
    mask_png(root / "testannot/0001TP_006690.png", masks["0001TP_006690"])
    return masks


def pet(root):
    masks = {"Abyssinian_1": ids_among(1, 2, 3)}
    picture(root / "images/Abyssinian_1.jpg")
    mask_png(root / "annotations/trimaps/Abyssinian_1.png", masks["Abyssinian_1"])
    lines(root / "annotations/test.txt", "# comment", "Abyssinian_1 1 1 1")
    return masks


def msrc(root):
    masks = {"1_1_s": ids_among(0, 1, 3)}
    picture(root / "images/1_1_s.jpg")
    mask_png(root / "masks/1_1_s.png", masks["1_1_s"])
    classes = {"1": "building", "2": "grass", "3": "tree"}
    (root / "classes.json").write_text(json.dumps({"void": 0, "classes": classes}))
    lines(root / "dev.txt", "1_1_s")
    return masks


def davis(root):
    masks = {}
    for number in ("00000", "00001"):
        masks[f"bear_{number}"] = ids_among(0, 1, 2)
        picture(root / f"JPEGImages/480p/bear/{number}.jpg")
        mask_png(root / f"Annotations/480p/bear/{number}.png", masks[f"bear_{number}"], palette=True)
    lines(root / "ImageSets/2017/val.txt", "bear")
    return masks


def imagenet(root):
    """As MATLAB writes cells in v7.3: references into a group, arrays with their axes reversed."""
    masks = {}
    with h5py.File(root / "gtsegs_ijcv.mat", "w") as file:
        cells = {name: file.create_dataset(f"value/{name}", (1, 2), dtype=h5py.ref_dtype) for name in ("img", "gt")}
        for i in range(2):
            masks[f"{i:05d}"] = ids_among(0, 1)
            colours = RNG.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
            cells["img"][0, i] = file.create_dataset(f"#refs#/i{i}", data=colours.transpose(2, 1, 0)).ref
            inner = file.create_dataset(f"#refs#/m{i}", data=masks[f"{i:05d}"].T)
            one = file.create_dataset(f"#refs#/c{i}", (1, 1), dtype=h5py.ref_dtype)
            one[0, 0] = inner.ref
            cells["gt"][0, i] = one.ref
            file.attrs[f"picture{i}"] = colours
    return masks


BUILT = {
    "voc20": voc, "voc21": voc, "pascal-context59": context, "pascal-context60": context, "ade20k": ade,
    "cityscapes": cityscapes, "coco-stuff": coco, "coco-object": coco, "camvid": camvid, "pet": pet, "msrc": msrc,
    "davis": davis, "imagenet-segmentation": imagenet,
}  # fmt: skip
WHAT = {  # what each number in the files is: a class, or None for void
    "voc20": {0: None, 1: "aeroplane", 15: "person", 20: "tv monitor", 255: None},
    "voc21": {0: "background", 1: "aeroplane", 15: "person", 20: "tv monitor", 255: None},
    "pascal-context59": {0: None, 1: "aeroplane", 59: "wood"},
    "pascal-context60": {0: "background", 1: "aeroplane", 59: "wood"},
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
OWN = {"folder", "scenes", "coco-json", "sem-seg-dicts", "hugging-face"}


@pytest.fixture
def miniature(monkeypatch):
    """The official counts are of whole releases."""
    for name in ("voc", "pascal_context", "ade20k", "cityscapes", "coco", "camvid", "pet", "imagenet_segmentation"):
        module = importlib.import_module(f"ca_seg.data.{name}")
        known = dict.fromkeys(module.COUNTS)
        monkeypatch.setattr(module, "COUNTS", known)


def test_every_official_dataset_is_tried():
    assert set(BUILT) | OWN == set(DATASETS)


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", BUILT)
def test_a_release_is_read_as_it_was_written(tmp_path, name):
    written = BUILT[name](tmp_path)
    dataset = open_dataset(name, str(tmp_path), "dev" if name == "msrc" else None)
    assert list(dataset.stems) == list(written)
    names = dataset.class_list.names
    assert len(names) == CLASSES.get(name, len(names))
    assert len(set(names)) == len(names)
    for index, ids in enumerate(written.values()):
        sample = dataset[index]
        assert sample["image"].shape == (3, *SIZE)
        assert dataset.size(index) == SIZE
        expected = np.full(SIZE, -1)
        for number, what in WHAT[name].items():
            expected[ids == number] = 255 if what is None else names.index(what)
        assert torch.equal(sample["mask"], torch.from_numpy(expected))


@pytest.mark.usefixtures("miniature")
def test_the_pictures_of_the_matlab_file_are_upright(tmp_path):
    imagenet(tmp_path)
    dataset = open_dataset("imagenet-segmentation", str(tmp_path))
    with h5py.File(tmp_path / "gtsegs_ijcv.mat") as file:
        colours = file.attrs["picture1"]
    assert torch.equal((255 * dataset[1]["image"]).round().byte(), torch.from_numpy(colours).permute(2, 0, 1))


@pytest.mark.usefixtures("miniature")
def test_the_papers_single_class_pictures(tmp_path):
    voc(tmp_path)
    assert open_dataset("voc20", str(tmp_path), "single-class").stems == ("2007_1",)


@pytest.mark.parametrize("name", BUILT)
def test_words_make_a_vocabulary(name):
    words = dataset_words(name)
    if name == "msrc":
        assert words.synonyms == {}
        return
    from ca_seg.data.official import class_list

    names = class_list(name).names
    vocabulary = Vocabulary.from_names(names, synonyms=words.synonyms, background=words.background)
    assert len(vocabulary.concepts) >= len(names)
    assert class_list(name).source


@pytest.mark.parametrize("name", BUILT)
def test_no_folder_and_an_empty_folder_say_how_to_get_it(tmp_path, name):
    for root in (None, str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(BadDataset):
            open_dataset(name, root)
    with pytest.raises(BadDataset, match=r"(?i)give its root"):
        open_dataset(name, None)


@pytest.mark.parametrize("name", ["voc21", "ade20k", "cityscapes", "coco-stuff", "camvid", "pet"])
def test_another_number_of_pictures_than_was_published_is_said(tmp_path, name):
    BUILT[name](tmp_path)
    with pytest.raises(BadDataset, match=r"has [12] pictures.*Allowed: \d+.*Unpack"):
        open_dataset(name, str(tmp_path))


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", ["voc21", "pascal-context59", "ade20k", "cityscapes", "coco-stuff", "camvid", "pet"])
def test_a_missing_mask_and_an_unknown_split_are_named(tmp_path, name):
    BUILT[name](tmp_path)
    with pytest.raises(UnknownName, match="'tset'"):
        open_dataset(name, str(tmp_path), "tset")
    mask = open_dataset(name, str(tmp_path)).mask_path(0)
    mask.unlink()
    with pytest.raises(BadDataset, match=mask.name):
        open_dataset(name, str(tmp_path))


@pytest.mark.usefixtures("miniature")
@pytest.mark.parametrize("name", ["voc21", "ade20k", "coco-stuff", "coco-object", "pet", "msrc"])
def test_a_label_outside_the_range_is_named(tmp_path, name):
    BUILT[name](tmp_path)
    dataset = open_dataset(name, str(tmp_path), "dev" if name == "msrc" else None)
    mask_png(dataset.mask_path(0), ids_among(200))
    with pytest.raises(BadMask, match="200"):
        dataset[0]


def test_a_coco_file_gives_the_masks_that_were_drawn(tmp_path):
    large, small = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    large[1:6, 1:8], small[2:4, 2:5] = True, True
    picture(tmp_path / "images/a.png")
    plain = coco_masks.encode(np.asfortranarray(small))
    plain = {"size": plain["size"], "counts": plain["counts"].decode()}
    counts, last = [], 0
    for value in large.flatten(order="F").astype(int):  # run lengths by hand, column by column, zeros first
        if value != last:
            counts.append(0) if not counts else None
            last = value
        counts = counts or [0]
        counts[-1] += 1
    runs, current, length = [], 0, 0
    for value in large.flatten(order="F").astype(int):
        if value != current:
            runs.append(length)
            current, length = value, 0
        length += 1
    runs.append(length)
    square = [[5.0, 0.0, 9.0, 0.0, 9.0, 1.0, 5.0, 1.0]]
    annotations = [
        {"id": 1, "image_id": 7, "category_id": 3, "segmentation": plain, "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 9, "segmentation": {"size": list(SIZE), "counts": runs}, "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 9, "segmentation": square, "iscrowd": 0},
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 9, "name": "grass"}, {"id": 3, "name": "cat"}],
        "annotations": annotations,
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    mask = open_dataset("coco-json", str(tmp_path))[0]["mask"].numpy()
    expected = np.full(SIZE, 255)
    expected[large], expected[0, 5:9] = 1, 1
    expected[small] = 0  # the smaller one is on top
    assert (mask == expected).all()
    content["images"][0]["file_name"] = "../a.png"
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(BadDataset, match="inside"):
        open_dataset("coco-json", str(tmp_path))


def test_detectrons_dicts_are_read_and_stay_inside(tmp_path):
    ids = ids_among(0, 1, 255)
    picture(tmp_path / "images/a.jpg")
    mask_png(tmp_path / "masks/a.png", ids)
    (tmp_path / "classes.json").write_text(json.dumps({"ignore": [255], "classes": {"0": "cat", "1": "grass"}}))
    entry = {"file_name": "images/a.jpg", "sem_seg_file_name": "masks/a.png", "height": SIZE[0], "width": SIZE[1]}
    (tmp_path / "dataset.json").write_text(json.dumps([entry]))
    assert (open_dataset("sem-seg-dicts", str(tmp_path))[0]["mask"].numpy() == ids).all()
    (tmp_path / "dataset.json").write_text(json.dumps([entry | {"sem_seg_file_name": "../x.png"}]))
    with pytest.raises(BadDataset, match="inside"):
        open_dataset("sem-seg-dicts", str(tmp_path))


def test_a_hugging_face_dataset_on_disk_is_read(tmp_path):
    import datasets

    ids = ids_among(0, 1, 255)
    picture(tmp_path / "a.png")
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    rows = {"image": [str(tmp_path / "a.png")], "annotation": [Image.fromarray(ids, "L")]}
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"test": table}).save_to_disk(str(tmp_path / "set"))
    (tmp_path / "set/classes.json").write_text(json.dumps({"ignore": [255], "classes": {"0": "cat", "1": "grass"}}))
    dataset = open_dataset("hugging-face", str(tmp_path / "set"), "test")
    assert (dataset[0]["mask"].numpy() == ids).all()
    assert dataset.size(0) == SIZE
    with pytest.raises(UnknownName, match="tset"):
        open_dataset("hugging-face", str(tmp_path / "set"), "tset")
