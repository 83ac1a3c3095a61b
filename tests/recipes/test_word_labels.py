"""Labels from words: only words of the image, uncertain pixels ignored, confidence fitted on a few masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.catalogue import open_dataset
from ca_seg.vocabulary import IGNORE_INDEX
from recipes.photo_jobs.msrc import write_folder
from recipes.student.word_labels import WordLabeller
from tests.function_predictor import FunctionPredictor
from tests.recipes.small_msrc import ByColour, write_small_msrc


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msrc")
    write_folder(write_small_msrc(folder / "release"), folder / "data")
    return open_dataset("folder", str(folder / "data"), "train")


@pytest.fixture
def labeller():
    return WordLabeller(FunctionPredictor(lambda images, seeds: ByColour(images)))


def test_only_words_of_the_image_have_maps(train, labeller):
    for labelled in labeller.read(train.first(8)):
        shown = {c for c in labelled.mask.unique().tolist() if c != IGNORE_INDEX}
        assert labelled.maps.shape[1] == 3
        assert {c for c in range(3) if labelled.maps[0, c].any()} == shown


def test_confidence_fitted_on_a_few_masks_holds_on_others(train, labeller):
    fitted = labeller.fit(train.first(8), 0.98)
    figures = labeller.quality(train.only(range(8, 40)), fitted.temperature, fitted.thresholds)
    assert figures["accuracy"] < 0.95
    assert figures["kept_precision"] >= 0.98
    assert figures["kept_coverage"] > 0.5


def test_uncertain_pixels_are_ignored_in_the_files(train, labeller, tmp_path):
    fitted = labeller.fit(train.first(8), 0.98)
    labeller.write(train.first(8), tmp_path / "all")
    labeller.write(train.first(8), tmp_path / "sure", temperature=fitted.temperature, threshold=fitted.thresholds)
    everything, sure = (open_dataset("folder", str(tmp_path / name), "train") for name in ("all", "sure"))
    assert everything.class_list.names == train.class_list.names
    assert everything.image_ids == train.image_ids[:8]
    for index in range(8):
        labels, kept, mask = (dataset[index]["mask"] for dataset in (everything, sure, train))
        assert (labels != IGNORE_INDEX).all()
        assert torch.equal(kept[kept != IGNORE_INDEX], labels[kept != IGNORE_INDEX])
        counted = (kept != IGNORE_INDEX) & (mask != IGNORE_INDEX)
        assert (kept[counted] == mask[counted]).float().mean() > 0.95
        two_words = len(labels.unique()) == 2  # with one word there is nothing to be unsure of
        assert not two_words or (kept[-2:] == IGNORE_INDEX).float().mean() > 0.5


def test_a_finished_folder_is_not_labelled_again(train, labeller, tmp_path):
    labeller.write(train.first(2), tmp_path)
    file = tmp_path / "masks" / f"{train.image_ids[0]}.png"
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(file)
    before = file.read_bytes()
    labeller.write(train.first(2), tmp_path)
    assert file.read_bytes() == before
