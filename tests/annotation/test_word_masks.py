"""Masks of kept recordings equal those of `ca_seg.segment`, and the number of recordings is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import ca_seg
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.data.inputs import open_images
from ca_seg.errors import OutOfRange, UnknownName
from tests.annotation.conftest import WORDS


def image(path):
    return next(open_images(path))


SETTINGS = {
    "as they are": {},
    "background": {"background": ("water", "tree")},
    "threshold": {"threshold": 0.6},
    "refined": {"refine": ("attention", "pamr")},
    "scales": {"scales": (0.5,)},
    "prompt": {"prompt": "all"},
    "noise": {"timesteps": (0.4,), "seed": 5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_equal_to_segment_when_recorded_and_when_kept(backbone, folder, name):
    settings = ca_seg.SegmentSettings(backbone="mini", **SETTINGS[name])
    masks = WordMasks(settings, backbone=backbone)
    masks(image(folder / "a.jpg"), ["cat"])  # the recording is kept from here on
    for words in ({"animal": ["dog", "cat"], "ground": "grass"}, ["dog"])[: 1 if SETTINGS[name] else 2]:
        result = masks(image(folder / "a.jpg"), words)
        expected = ca_seg.segment(folder / "a.jpg", words, backbone=backbone, settings=settings)
        assert (result.mask == expected.mask).all()
        assert np.array_equal(result.confidence, expected.confidence)
        assert result.presence == expected.presence
    assert masks.kept == 1


def test_a_second_question_does_not_record_again(backbone, folder, monkeypatch):
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone)
    masks(image(folder / "a.jpg"), WORDS)
    monkeypatch.setattr(type(backbone), "record", None)
    again = masks(image(folder / "a.jpg"), ["tree", "water"])
    assert again.classes == ("tree", "water")
    with pytest.raises(TypeError):
        masks(image(folder / "dogs" / "b c.png"), WORDS)


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 1), (2, 2)])
def test_only_the_last_recordings_are_kept(backbone, folder, limit, kept):
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone, recordings=limit)
    for path in (folder / "a.jpg", folder / "dogs" / "b c.png", folder / "a.jpg"):
        masks(image(path), WORDS)
        assert masks.kept <= limit
    assert masks.kept == kept


def test_an_image_that_changed_is_recorded_again(backbone, folder, tmp_path):
    path = tmp_path / "a.jpg"
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone)
    for content in ((folder / "a.jpg").read_bytes(), (folder / "dogs" / "b c.png").read_bytes()):
        path.write_bytes(content)
        result = masks(image(path), WORDS)
    assert (result.mask == ca_seg.segment(path, WORDS, backbone=backbone).mask).all()


def test_threads_get_the_masks_of_their_images(backbone, folder):
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone, recordings=1)
    paths = [folder / "a.jpg", folder / "dogs" / "b c.png"] * 3
    expected = {path: ca_seg.segment(path, WORDS, backbone=backbone).mask for path in paths[:2]}
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda path: masks(image(path), WORDS).mask, paths))
    assert all((result == expected[path]).all() for path, result in zip(paths, results, strict=True))


def test_unknown_words_are_refused_before_the_image_is_read(backbone, folder):
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone)
    with pytest.raises(UnknownName, match="qwzx"):
        masks(image(folder / "broken.jpg"), ["dog", "qwzx"])
    with pytest.raises(OutOfRange):
        WordMasks(backbone=backbone, recordings=-1)
