"""COCO files: masks are read as drawn, and annotations that pycocotools would accept or crash on are refused."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.formats.coco_json import _lengths
from ca_seg.errors import BadDataset, BadMask

SIZE = (6, 9)  # height, width
CAT, GRASS, DOG, VOID = 0, 1, 2, 255


def box(top, bottom, left, right):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def compressed(mask):
    runs = coco_masks.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": runs["counts"].decode()}


def plain(mask):
    """Run lengths column by column, zeros first."""
    runs, current = [0], 0
    for value in mask.flatten(order="F").astype(int):
        if value != current:
            runs.append(0)
            current = value
        runs[-1] += 1
    return {"size": list(SIZE), "counts": runs}


LARGE, SMALL = box(1, 6, 1, 8), box(2, 4, 2, 5)
CONTENT = {
    "images": [
        {"id": 7, "file_name": "b/1.png", "height": 6, "width": 9},
        {"id": 3, "file_name": "a/1.png", "height": 6, "width": 9},
    ],
    "categories": [{"id": 9, "name": "grass"}, {"id": 3, "name": "cat"}, {"id": 12, "name": "dog"}],
    "annotations": [
        {"image_id": 7, "category_id": 3, "segmentation": compressed(SMALL)},
        {"image_id": 7, "category_id": 9, "segmentation": plain(LARGE), "iscrowd": 0},
        {"image_id": 7, "category_id": 9, "segmentation": [[5.0, 0, 9, 0, 9, 1, 5, 1]]},
        {"image_id": 7, "category_id": 12, "segmentation": compressed(box(5, 6, 0, 2)), "iscrowd": 1},
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(content=CONTENT):
        for name in ("a/1.png", "b/1.png"):
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / name)
        (tmp_path / "annotations.json").write_text(json.dumps(content))
        return str(tmp_path)

    return write


def changed(part, index, **fields):
    content = copy.deepcopy(CONTENT)
    content[part][index] |= fields
    return content


def test_masks_are_read_as_drawn(write, capsys):
    dataset = open_dataset("coco-json", write())
    assert dataset.class_list.names == ("cat", "grass", "dog")
    assert dataset.image_ids == ("a/1", "b/1")
    expected = np.full(SIZE, VOID)
    expected[LARGE], expected[0, 5:9] = GRASS, GRASS
    expected[SMALL] = CAT  # the smaller one is on top, though it comes first
    expected[5, 0:2] = VOID  # a crowd
    assert (dataset[1]["mask"].numpy() == expected).all()
    assert (dataset[0]["mask"].numpy() == VOID).all()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["background", "Background", "BACKGROUND"])
def test_a_category_called_background_takes_the_rest(write, name):
    dataset = open_dataset("coco-json", write(changed("categories", 2, name=name)))
    assert (dataset[0]["mask"].numpy() == DOG).all()


def test_the_rest_is_void_where_the_file_says_so(write):
    content = changed("categories", 2, name="background") | {"info": {"unannotated": "ignore"}}
    assert (open_dataset("coco-json", write(content))[0]["mask"].numpy() == VOID).all()
    others = changed("categories", 2, name="background") | {"info": {"year": 2017}}
    assert (open_dataset("coco-json", write(others))[0]["mask"].numpy() == DOG).all()


@pytest.mark.parametrize("height", [-6, 0, 2**40])
def test_a_size_that_is_none_affects_its_image_alone(write, height):
    dataset = open_dataset("coco-json", write(changed("images", 0, height=height)))
    assert dataset[0]["image_id"] == "a/1"
    with pytest.raises(BadMask, match=str(height)):
        dataset[1]


def test_of_two_equally_large_objects_the_later_is_on_top(write):
    content = copy.deepcopy(CONTENT)
    content["annotations"].append({"image_id": 7, "category_id": 12, "segmentation": plain(SMALL)})
    assert (open_dataset("coco-json", write(content))[1]["mask"].numpy()[SMALL] == DOG).all()


def test_compressed_run_lengths_as_pycocotools_writes_them():
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (3, 70), (400, 300)):
        for fraction in (0.0, 0.01, 0.5, 1.0):
            mask = rng.random((height, width)) < fraction
            mask[: height // 2] = fraction > 0.4  # long runs too
            runs = coco_masks.encode(np.asfortranarray(mask.astype(np.uint8)))
            decoded = {"size": [height, width], "counts": _lengths(runs["counts"].decode())}
            assert (coco_masks.decode(coco_masks.frPyObjects(decoded, height, width)) == mask).all()


BAD_SHAPES = {
    "no segmentation": None,
    "no polygon": [],
    "two corners": [[0, 0, 1, 1]],
    "odd": [[0, 0, 1, 1, 2, 2, 3]],
    "words": [["a"] * 6],
    "beyond floats": [[10**400, 0, 1, 1, 2, 2]],
    "other size": {"size": [9, 6], "counts": [54]},
    "too few pixels": {"size": [6, 9], "counts": [50]},
    "negative run": {"size": [6, 9], "counts": [55, -1]},
    "no counts": {"size": [6, 9]},
    "truncated text": {"size": [6, 9], "counts": compressed(SMALL)["counts"][:-2]},
    "not a run length text": {"size": [6, 9], "counts": "é"},
}


@pytest.mark.parametrize("shape", BAD_SHAPES.values(), ids=BAD_SHAPES)
def test_an_unreadable_annotation_affects_its_image_alone(write, shape):
    dataset = open_dataset("coco-json", write(changed("annotations", 0, segmentation=shape)))
    assert dataset[0]["image_id"] == "a/1"
    with pytest.raises(BadMask, match="b/1"):
        dataset[1]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ([], r"annotations\.json.*categories"),
        ({"images": [], "categories": []}, r"annotations\.json.*categories"),
        (changed("images", 0, file_name="../a.png"), r"'\.\./a\.png'"),
        (changed("images", 0, file_name="a/../../x.png"), r"'a/\.\./\.\./x\.png'"),
        (changed("images", 0, file_name="/etc/x.png"), r"'/etc/x\.png'"),
        (changed("images", 0, file_name="c.png"), r"c\.png"),
        (changed("images", 0, file_name="a/1.png"), r"annotations\.json"),
        (changed("images", 0, height="6"), "'height'"),
        (changed("images", 0, id=3), "images"),
        (changed("categories", 0, id=3), "categories"),
        (changed("categories", 0, name="cat"), "'cat'"),
        (changed("annotations", 0, category_id=99), "category_id 99"),
        (changed("annotations", 0, image_id=99), "image_id 99"),
        (changed("images", 1, height=7), "9 x 7.*9 x 6"),
    ],
)
def test_an_inconsistent_file_is_refused_on_opening(write, content, value):
    with pytest.raises(BadDataset, match=value):
        open_dataset("coco-json", write(content))
