"""The options of the formats."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.formats.coco import Coco
from ca_seg.labelling.formats.coco_panoptic import CocoPanoptic
from ca_seg.labelling.formats.cvat import Cvat
from ca_seg.labelling.formats.label_studio import LabelStudio
from ca_seg.labelling.formats.labelme import LabelMe
from ca_seg.labelling.formats.mmseg import MMSeg
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.formats.scores import Scores
from ca_seg.labelling.formats.yolo import Yolo
from ca_seg.labelling.label import Label, LabelFormat
from ca_seg.labelling.registry import FORMATS
from tests.labelling.format_readers import READERS
from tests.labelling.random_labels import NAMES, label_of, masks, random_mask

SPLIT = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [2, 255, 2, 2]], np.uint8)  # two parts of cat, two of NAMES[2]


def write(folder: Path, format: LabelFormat, label: Label) -> Path:
    writer = format.open(folder, NAMES)
    writer.write(label)
    writer.close()
    return folder


@pytest.mark.parametrize(
    "format",
    [
        Coco(per="part"),
        Coco(compressed=False),
        Coco(per="part", compressed=False),
        CocoPanoptic(things=("cat", "traffic light")),
        LabelMe(shape="mask"),
        Cvat(per="part"),
    ],
)
@settings(max_examples=40, deadline=None)
@given(mask=masks())
def test_options_do_not_change_the_mask(format: LabelFormat, mask: np.ndarray, tmp_path_factory) -> None:
    label = label_of(mask)
    folder = write(tmp_path_factory.mktemp("out"), format, label)
    np.testing.assert_array_equal(READERS[format.name](folder, label), mask)


@pytest.mark.parametrize("kind", [Coco, Yolo, LabelMe, LabelStudio, Cvat])
def test_excluded_classes_are_absent_and_the_others_are_unchanged(kind, tmp_path: Path) -> None:
    label = label_of(random_mask(3, 12, 12, len(NAMES), "noise"))
    folder = write(tmp_path, kind(exclude=("background", "cat")), label)
    expected = np.where(np.isin(label.mask, (0, 1)), 255, label.mask)
    np.testing.assert_array_equal(READERS[kind.name](folder, label), expected)


def test_regions_per_class_and_per_part(tmp_path: Path) -> None:
    label = label_of(SPLIT)
    for per, categories in (("class", [1, 2, 3]), ("part", [1, 2, 2, 3, 3])):
        content = json.loads((write(tmp_path / per, Coco(per=per), label) / "annotations.json").read_text())
        assert [item["category_id"] for item in content["annotations"]] == categories
        assert [item["id"] for item in content["annotations"]] == list(range(1, len(categories) + 1))
        root = ElementTree.parse(write(tmp_path / f"{per}-cvat", Cvat(per=per), label) / "annotations.xml")
        assert len(list(root.iter("mask"))) == len(categories)
    panoptic = write(tmp_path / "panoptic", CocoPanoptic(things=("cat",)), label)
    content = json.loads((panoptic / "panoptic.json").read_text(encoding="utf-8"))
    assert [item["category_id"] for item in content["annotations"][0]["segments_info"]] == [1, 2, 2, 3]
    assert [item["isthing"] for item in content["categories"]] == [0, 1, 0, 0, 0, 0]


def test_run_lengths_are_a_string_or_numbers(tmp_path: Path) -> None:
    for compressed, kind in ((True, str), (False, list)):
        folder = write(tmp_path / kind.__name__, Coco(compressed=compressed), label_of(SPLIT))
        content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
        assert all(isinstance(item["segmentation"]["counts"], kind) for item in content["annotations"])


@settings(max_examples=40, deadline=None)
@given(mask=masks())
def test_scores_in_a_byte_are_within_their_bound(mask: np.ndarray, tmp_path_factory) -> None:
    label = label_of(mask)
    folder = write(tmp_path_factory.mktemp("out"), Scores(kind="uint8"), label)
    with np.load(folder / "scores" / f"{label.key}.npz", allow_pickle=False) as content:
        stored = content["scores"]
    scale = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["scale"]
    assert stored.dtype == np.uint8
    assert abs(stored * scale - label.scores).max() <= 1 / 510 + 1e-9


def test_scores_out_of_range_are_refused(tmp_path: Path) -> None:
    def with_scores(scores: np.ndarray | None) -> Label:
        return Label("a", "a.jpg", 1, 1, np.zeros((1, 1), np.uint8), scores)

    ones = np.ones((len(NAMES), 1, 1), np.float32)
    half, byte = (Scores(kind=kind).open(tmp_path, NAMES) for kind in ("float16", "uint8"))
    half.write(with_scores(ones * -60000))
    for writer, scores in (
        (half, None),
        (half, ones * 70000),
        (half, ones * np.nan),
        (byte, ones * 1.5),
        (byte, -ones),
        (half, np.ones((2, 1, 1))),
    ):
        with pytest.raises(BadMask, match="a: "):
            writer.write(with_scores(scores))


def test_label_studio_tasks_have_the_address_of_the_image(tmp_path: Path) -> None:
    label = label_of(SPLIT, "a b/ü#1")
    for url, address in (
        ("/data/local-files/?d=set/{}", "/data/local-files/?d=set/a%20b/%C3%BC%231.jpg"),
        ("s3://bucket/{}", "s3://bucket/a b/ü#1.jpg"),
    ):
        folder = write(tmp_path / address[:2].strip("/"), LabelStudio(url=url), label)
        (task,) = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
        assert task["data"] == {"image": address}
        assert 0 < task["predictions"][0]["score"] <= 1


def test_unknown_options_are_refused() -> None:
    for create in (
        lambda: Coco(per="pixel"),
        lambda: Cvat(per="pixel"),
        lambda: LabelMe(shape="circle"),
        lambda: Scores(kind="float8"),
        lambda: LabelStudio(url="/data/"),
    ):
        with pytest.raises(UserError):
            create()


def test_png_masks_with_images_are_a_folder_dataset(tmp_path: Path) -> None:
    """The reader of the folder format returns the class indices that were written."""
    from ca_seg.data.formats.folder import FolderDataset

    mask = random_mask(1, 6, 7, len(NAMES), "noise")
    write(tmp_path, Png(), label_of(mask, "0001"))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (7, 6)).save(tmp_path / "images" / "0001.png")
    np.testing.assert_array_equal(FolderDataset(tmp_path)[0]["mask"].numpy(), mask)


def test_mmseg_strips_names_so_names_that_end_in_spaces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0001 "):
        MMSeg().open(tmp_path, NAMES).write(label_of(SPLIT, "0001 "))


def test_the_docs_list_each_format() -> None:
    page = (Path(__file__).parents[2] / "docs" / "labels.md").read_text(encoding="utf-8")
    for name, format in FORMATS.items():
        assert f"| `{name}` | {format.summary} |" in page
