"""The model and the importer for FiftyOne, with its database.

FiftyOne brings a database server, so it is not in the extra `dev`. In an environment of its own:

    pip install -e '.[dev,fiftyone]'
    python -m pytest tests/annotation/test_fiftyone.py
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

import ca_seg
from ca_seg.labelling.run_reader import LabelRun
from tests.annotation.conftest import WORDS

pytest.importorskip("fiftyone", reason="FiftyOne is not installed: pip install 'ca-seg[fiftyone]'")

import fiftyone as fo

from ca_seg.annotation.fiftyone_labels import load_labels
from ca_seg.annotation.fiftyone_model import WordModel
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.errors import BadMask, OutOfRange, UnknownName, UserError

TURNED = 6  # EXIF: to be turned by 90 degrees


@pytest.fixture(scope="module", autouse=True)
def database():
    """Skips where FiftyOne is installed but its database server cannot be started (it needs MongoDB)."""
    try:
        fo.list_datasets()
    except Exception as problem:
        pytest.skip(f"FiftyOne's database cannot be started: {problem}")


@pytest.fixture(scope="module")
def masks(backbone):
    return WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone, recordings=0)


@pytest.fixture
def dataset(folder, tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.open(folder / "a.jpg").save(turned, exif=exif)
    dataset = fo.Dataset()
    paths = (folder / "a.jpg", folder / "dogs" / "b c.png", turned)
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths], progress=False)
    yield dataset
    dataset.delete()


@pytest.mark.parametrize("batch_size", [None, 2])
def test_masks_are_those_of_segment(dataset, masks, backbone, batch_size):
    model = WordModel(WORDS, masks=masks)
    dataset.apply_model(model, label_field="words", batch_size=batch_size, skip_failures=False, progress=False)
    dataset.mask_targets["words"] = model.mask_targets
    dataset.save()
    dataset.reload()
    assert dataset.mask_targets["words"] == {1: "dog", 2: "grass", 3: "sky"}
    for sample in dataset:
        expected = ca_seg.segment(sample.filepath, WORDS, backbone=backbone)
        assert (sample.words.mask == expected.mask + 1).all()
    assert sample.words.mask.shape == (150, 110)  # of the turned image, as the app shows it


def test_the_background_is_zero(dataset, masks, backbone):
    model = WordModel("dog", masks=masks)
    assert model.mask_targets == {1: "dog"}
    dataset.apply_model(model, label_field="dog", skip_failures=False, progress=False)
    for sample in dataset:
        expected = ca_seg.segment(sample.filepath, "dog", backbone=backbone)
        assert (sample.dog.mask == np.where(expected.mask == 0, 1, 0)).all()


@pytest.mark.parametrize("per", ["class", "part"])
def test_detections_cover_the_masks(dataset, masks, backbone, per):
    model = WordModel(WORDS, masks=masks, instances=True, per=per)
    dataset.apply_model(model, label_field="parts", skip_failures=False, progress=False)
    dataset.reload()
    for sample in dataset:
        expected = ca_seg.segment(sample.filepath, WORDS, backbone=backbone)
        height, width = expected.mask.shape
        drawn = np.full(expected.mask.shape, 255)
        for detection in sample.parts.detections:
            left, top, wide, high = np.array(detection.bounding_box) * (width, height, width, height)
            rows = slice(round(top), round(top + high))
            columns = slice(round(left), round(left + wide))
            assert (drawn[rows, columns][detection.mask] == 255).all()
            drawn[rows, columns][detection.mask] = WORDS.index(detection.label)
            assert 0 <= detection.confidence <= 1
        assert (drawn == expected.mask).all()
        if per == "class":
            assert len(sample.parts.detections) == len(np.unique(expected.mask))


def test_fiftyones_threshold_filters_detections(dataset, masks):
    model = WordModel(WORDS, masks=masks, instances=True)
    options = {"skip_failures": False, "progress": False}
    dataset.apply_model(model, label_field="all", **options)
    scores = sorted(dataset.values("all.detections.confidence", unwind=True))
    middle = scores[len(scores) // 2]
    dataset.apply_model(model, label_field="some", confidence_thresh=middle, **options)
    assert sorted(dataset.values("some.detections.confidence", unwind=True)) == [s for s in scores if s >= middle]


def test_arrays_without_a_sample(masks, backbone, folder):
    array = np.asarray(Image.open(folder / "a.jpg"))
    model = WordModel(WORDS, masks=masks)
    one, two = model.predict_all([array, array[:80]])
    assert (one.mask == ca_seg.segment(array, WORDS, backbone=backbone).mask + 1).all()
    assert two.mask.shape == (80, 150)


def test_wrong_words_and_options_are_refused(masks):
    with pytest.raises(UnknownName, match="qwzx"):
        WordModel(["dog", "qwzx"], masks=masks)
    with pytest.raises(OutOfRange):
        WordModel("dog", masks=masks, min_area=2.0)
    with pytest.raises(UserError):
        WordModel("dog", masks=masks, per="pixel")


@pytest.fixture(scope="module")
def labels(folder, backbone, tmp_path_factory):
    images = tmp_path_factory.mktemp("labelled") / "images"
    shutil.copytree(folder, images, ignore=shutil.ignore_patterns("broken.jpg"))
    out = images.parent / "labels"
    settings = ca_seg.LabelSettings(
        model=ca_seg.MethodSettings(backbone="mini"), threshold=0.02, data=ca_seg.LabelData(num_workers=0)
    )
    ca_seg.label(images, WORDS, settings, formats=["png"], out=out, device="cpu")
    return out


def test_the_importer_agrees_with_the_files_pixel_for_pixel(labels):
    dataset = load_labels(labels, field="labels")
    run = LabelRun.open(labels)
    entries = {str((run.images / entry.image).resolve()): entry for entry in run.entries()}
    assert len(dataset) == len(entries) == 2
    assert dataset.mask_targets["labels"] == {1: "dog", 2: "grass", 3: "sky"}
    ignored, kept = 0, 0
    for sample in dataset:
        entry = entries[sample.filepath]
        stored = np.array(Image.open(labels / "png" / "masks" / f"{entry.key}.png"))
        expected = np.where(stored == 255, 0, stored.astype(int) + 1)
        ignored, kept = ignored + (stored == 255).sum(), kept + (stored != 255).sum()
        assert (sample["labels"].mask == expected).all()
        heatmap = fo.Sample(filepath=sample.filepath, map=sample["labels_confidence"])["map"]
        confidence = np.array(Image.open(heatmap.map_path))
        assert (confidence == np.array(Image.open(labels / "confidence" / f"{entry.key}.png"))).all()
        classes = sample["labels_classes"].classifications
        assert {c.label: c.confidence for c in classes} == {name: entry.confidence[name] for name in entry.area}
        inside = stored != 255
        if inside.any():
            assert sample["labels_mean"] == pytest.approx(confidence[inside].mean() / 255, abs=0.005)
        assert sample["labels_presence"] == entry.presence
    assert ignored > 0
    assert kept > 0
    dataset.delete()


def test_a_run_that_cannot_be_imported_is_one_error(labels, tmp_path):
    with pytest.raises(UserError):
        load_labels(tmp_path)
    taken = fo.Dataset("ca_seg_taken", overwrite=True)
    with pytest.raises(UserError, match="ca_seg_taken"):
        load_labels(labels, "ca_seg_taken")
    taken.delete()
    copy = tmp_path / "labels"
    shutil.copytree(labels, copy)
    (mask, *_) = sorted((copy / "png" / "masks").rglob("*.png"))
    before = fo.list_datasets()
    Image.new("L", (3, 3)).save(mask)
    with pytest.raises(BadMask):
        load_labels(copy)
    mask.unlink()
    with pytest.raises(UserError, match="png"):
        load_labels(copy)
    assert fo.list_datasets() == before
