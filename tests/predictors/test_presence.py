"""Whether any of the words is in an image: against the steps by hand, and on scenes with and without the words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import ca_seg
from ca_seg.backbones.backbone import Backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.predictors.presence import NEAR, ImagePresence, WordPresence
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.vocabulary import Vocabulary

MINI = BackboneSettings("mini")
WORDS = Vocabulary.from_names(["dog", "kitten", "grass"], synonyms={"kitten": ["cat"]})


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return ca_seg.load_backbone("mini")


def test_the_steps_by_hand(backbone):
    images = torch.rand(2, 3, 128, 96)
    presence = WordPresence.beside(WORDS, ("car", "water"), 0.4)
    readout = MINI.predictor(backbone).predict(images, [3, 4])
    maps, by_class = presence.maps(readout)
    torch.testing.assert_close(maps, readout.maps(WORDS), atol=1e-6, rtol=1e-5)
    together = Vocabulary(
        ("dog", "kitten", "grass", "car", "water"), (("dog",), ("kitten", "cat"), ("grass",), ("car",), ("water",))
    )
    tokens = readout.maps(together)[:, :3].flatten(2).sort(dim=2, descending=True).values
    torch.testing.assert_close(by_class, tokens[:, :, : tokens.shape[2] // 32].mean(dim=2), atol=1e-6, rtol=1e-5)
    image = presence.of_image(by_class[1])
    assert list(image.words) == ["dog", "kitten", "grass"]
    assert image.highest == pytest.approx(float(by_class[1].max()))


def test_a_background_class_does_not_count(backbone):
    words = Vocabulary(("dog", "background"), (("dog",), ("grass", "sky")), background=1)
    presence = WordPresence.of(backbone, words)
    assert presence.of_image(torch.tensor([0.1, 0.9])).words == {"dog": pytest.approx(0.1)}
    assert presence.extended.background == 1


def test_reference_words_are_far_from_the_words(backbone):
    table = backbone.text.table
    references = WordPresence.of(backbone, Vocabulary.from_names(["automobile", "grass"])).extended.concepts[2:]
    assert len(references) > 32
    assert not {"car", "grass"} & set(references)
    assert set(references) <= set(backbone.text.taught)
    asked = torch.nn.functional.normalize(torch.stack([table.vector("automobile"), table.vector("grass")]), dim=1)
    others = torch.nn.functional.normalize(torch.stack([table.vector(word) for word in references]), dim=1)
    assert (others @ asked.T).max() < NEAR
    assert table.far_from(["automobile"], ["car", "water"], NEAR) == ("water",)


@pytest.mark.parametrize(
    ("highest", "likely", "factor"), [(0.5, True, 1.0), (0.4, True, 1.0), (0.1, False, 0.25), (0.0, False, 0.0)]
)
def test_where_no_word_is_likely_confidence_is_lower(highest, likely, factor):
    presence = ImagePresence({"dog": highest, "cat": 0.0}, 0.4)
    assert (presence.likely, presence.factor) == (likely, pytest.approx(factor))


def test_scenes_with_a_word_are_told_from_scenes_without(backbone):
    """Of 12 scenes the presence of three words, one of which is shown, or none: nearly always in this order."""
    dataset = open_dataset("scenes", split="val")
    names = dataset.class_list.names
    shown_presence, absent_presence = [], []
    for index in range(12):
        item, rng = dataset[index], np.random.default_rng(index)
        pixels = torch.bincount(item["mask"].flatten(), minlength=len(names))
        absent = rng.choice((pixels == 0).nonzero()[:, 0], 3, replace=False).tolist()
        readout = MINI.predictor(backbone).predict(item["image"][None], [image_seed(0, item["image_id"])])
        for shown, values in ((int(pixels.argmax()), shown_presence), (absent[0], absent_presence)):
            presence = WordPresence.of(backbone, Vocabulary.from_names([names[i] for i in (shown, *absent[1:])]))
            values.append(presence.of_image(presence.maps(readout)[1][0]))
    pairs = [(a.highest, b.highest) for a in shown_presence for b in absent_presence]
    assert np.mean([a > b for a, b in pairs]) > 0.9
    assert np.mean([presence.likely for presence in shown_presence]) > 0.8
    assert np.mean([presence.likely for presence in absent_presence]) < 0.4


def test_it_is_off_where_it_was_not_measured(backbone):
    assert MINI.presence(backbone, WORDS) is not None
    assert MINI.measured_presence()["threshold"] == MINI.presence(backbone, WORDS).threshold
    for changed in (
        replace(MINI, layers=(3,)),
        replace(MINI, flip=True),
        replace(MINI, window=64),
        replace(MINI, resolution=64),
        BackboneSettings("mini-plain"),
        replace(MINI, weights="folder"),
    ):
        assert changed.measured_presence() == {}
    for changed in (replace(MINI, layers=(3,)), replace(MINI, scales=(1.0, 2.0))):
        assert changed.presence(backbone, WORDS) is None
    assert MINI.presence(ca_seg.load_backbone("mini", resolution=64), WORDS) is None
    assert MINI.presence(ca_seg.load_backbone("mini", random_weights=True), WORDS) is None
