"""`ca_seg.segment` against the method written out by hand, for each kind of image, words and background."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torch.nn.functional import interpolate

import ca_seg
from ca_seg.data.read import read_image
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UnreadableImage
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.resources import resource_path
from ca_seg.vocabulary import REST

SCENES = resource_path("datasets", "scenes", "images")
WORDS = ["dog", "grass", "sky"]


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini")


@pytest.fixture(scope="module")
def photo(tmp_path_factory) -> Path:
    """A scene as a photograph: not square, JPEG."""
    file = tmp_path_factory.mktemp("photo") / "my photo.jpg"
    Image.open(SCENES / "scene_0006.png").resize((230, 170)).save(file)
    return file


def by_hand(backbone, file: Path, vocabulary: ca_seg.Vocabulary) -> torch.Tensor:
    """Probabilities [K, H, W] from the three steps of the method, resized by torch."""
    image = read_image(file)
    recording = backbone.record(image[None], seed=image_seed(0, file.stem))
    maps = recording.ask(vocabulary).maps()
    return interpolate(maps, image.shape[1:], mode="bilinear", align_corners=False)[0]


def test_equal_to_the_steps_by_hand(backbone, photo):
    probabilities = by_hand(backbone, photo, ca_seg.Vocabulary.from_names(WORDS))
    result = ca_seg.segment(photo, WORDS, backbone=backbone)
    assert result.classes == tuple(WORDS)
    assert result.background is None
    assert np.allclose(result.probabilities, probabilities, atol=1e-6)
    assert (result.mask == probabilities.argmax(0).numpy()).mean() > 0.9999  # rounding on ties
    assert np.allclose(result.confidence, probabilities.amax(0), atol=1e-6)
    assert result.fractions()["dog"] == pytest.approx((result.mask == 0).mean())


def test_a_backbone_by_name_gives_the_same_mask(backbone, photo):
    by_name = ca_seg.segment(photo, WORDS, backbone="mini")
    assert (by_name.mask == ca_seg.segment(photo, WORDS, backbone=backbone).mask).all()


def test_one_word_is_compared_with_background_words(backbone, photo):
    result = ca_seg.segment(photo, "dog", backbone=backbone)
    vocabulary = ca_seg.Vocabulary(("dog", "background"), (("dog",), REST), background=1)
    probabilities = by_hand(backbone, photo, vocabulary)
    assert result.classes == ("dog", "background")
    assert (result.mask == probabilities.argmax(0).numpy()).mean() > 0.9999
    assert 0.02 < result.fractions()["dog"] < 0.6


def test_stated_background_words_are_one_class(backbone, photo):
    result = ca_seg.segment(photo, ["dog", "sky"], background=["grass", "tree"], backbone=backbone)
    vocabulary = ca_seg.Vocabulary(("dog", "sky", "background"), (("dog",), ("sky",), ("grass", "tree")), background=2)
    assert (result.mask == by_hand(backbone, photo, vocabulary).argmax(0).numpy()).mean() > 0.9999
    assert result.classes[result.background] == "background"


@pytest.mark.parametrize("background", [None, "grass"])
def test_a_threshold_makes_uncertain_pixels_background(backbone, photo, background):
    words = ["dog", "sky"]
    plain = ca_seg.segment(photo, words, background=background, backbone=backbone)
    result = ca_seg.segment(photo, words, background=background, threshold=0.8, backbone=backbone)
    index = result.classes.index("background")
    best, winner = plain.probabilities.max(0), plain.mask
    expected = np.where(best < 0.8, index, winner)
    assert (result.mask == expected).all()
    assert 0 < (result.mask == index).mean() < 1
    assert result.probabilities.shape == (len(result.classes), 170, 230)


def test_classes_in_each_form(backbone, photo):
    expected = ca_seg.segment(photo, ["dog", "grass"], backbone=backbone)
    as_dict = ca_seg.segment(photo, {"dog": ["dog"], "grass": "grass"}, backbone=backbone)
    as_vocabulary = ca_seg.segment(photo, ca_seg.Vocabulary.from_names(["dog", "grass"]), backbone=backbone)
    assert (as_dict.mask == expected.mask).all()
    assert (as_vocabulary.mask == expected.mask).all()


def test_images_in_each_form(backbone, tmp_path):
    file = tmp_path / "image.png"
    Image.open(SCENES / "scene_0002.png").convert("RGB").save(file)
    expected = ca_seg.segment(str(file), WORDS, backbone=backbone)
    pil_image = Image.open(file)
    for image in (pil_image, np.asarray(pil_image), read_image(file)):  # without a file, its image_id is "image"
        assert (ca_seg.segment(image, WORDS, backbone=backbone).mask == expected.mask).all()


def test_several_images_give_a_list(backbone, tmp_path):
    for name in ("a", "b"):
        Image.open(SCENES / "scene_0002.png").convert("RGB").save(tmp_path / f"{name}.png")
    expected = [ca_seg.segment(tmp_path / f"{name}.png", WORDS, backbone=backbone).mask for name in ("a", "b")]
    for source in ([tmp_path / "a.png", tmp_path / "b.png"], tmp_path, str(tmp_path / "*.png")):
        results = ca_seg.segment(source, WORDS, backbone=backbone)
        assert [result.image_id for result in results] == ["a", "b"]
        assert all((result.mask == mask).all() for result, mask in zip(results, expected, strict=True))


@pytest.mark.parametrize(
    "words", [[], "", ["dog", "dog"], ["dog", "Dog"], ["dog", "dog "], "dog,grass", ["dog", 1], {"dog": []}]
)
def test_words_that_cannot_be_used(backbone, photo, words):
    with pytest.raises(ca_seg.UserError):
        ca_seg.segment(photo, words, backbone=backbone)


def test_options_that_cannot_be_used(backbone, photo):
    for options in ({"threshold": 1.5}, {"refine": "pammr"}, {"device": "tpu"}, {"background": ["dog"]}):
        with pytest.raises(ca_seg.UserError):
            ca_seg.segment(photo, ["dog", "sky"], **options)
    with pytest.raises(ca_seg.UserError, match="zebra"):
        ca_seg.segment(photo, ["zebr"], backbone=backbone)


def test_refinement_follows_the_edges(backbone, photo):
    plain = ca_seg.segment(photo, WORDS, backbone=backbone)
    refined = ca_seg.segment(photo, WORDS, refine="pamr", backbone=backbone)
    assert refined.mask.shape == plain.mask.shape
    assert 0.5 < (refined.mask == plain.mask).mean() < 1


def test_maps_that_are_not_finite_are_refused(photo):
    broken = ca_seg.load_backbone("mini")
    next(broken.transformer.parameters()).fill_(float("nan"))
    with pytest.raises(ca_seg.UserError, match="my photo"):
        ca_seg.segment(photo, WORDS, backbone=broken)


def test_a_notebook_shows_the_overlay(backbone, photo):
    result = ca_seg.segment(photo, WORDS, backbone=backbone)
    displayed = Image.open(io.BytesIO(result._repr_png_()))
    assert displayed.size == result.overlay().size
    assert np.abs(np.asarray(displayed, int) - np.asarray(result.overlay(), int)).max() == 0
    assert "dog" in repr(result)


def test_a_cutout_is_transparent_outside_the_class(backbone, photo):
    result = ca_seg.segment(photo, WORDS, backbone=backbone)
    cutout = np.asarray(result.cutout("dog"))
    assert ((cutout[..., 3] == 255) == (result.mask == 0)).all()
    assert (cutout[..., :3] == result.pixels).all()
    with pytest.raises(ca_seg.UserError, match="dog"):
        result.cutout("dgo")


def test_files(backbone, photo, tmp_path):
    result = ca_seg.segment(photo, "dog", backbone=backbone)
    paths = result.save(tmp_path, ["overlay", "mask", "heatmaps", "json", "coco", "yolo"])
    assert all(path.is_file() for path in paths)
    mask = Image.open(tmp_path / "my photo_mask.png")
    assert mask.size == (230, 170)
    assert mask.mode == "P"
    ids = np.asarray(mask)
    assert ((ids == 1) == (result.mask == 0)).all()
    assert set(np.unique(ids)) == {0, 1}  # 0 is the background
    content = json.loads((tmp_path / "my photo_scores.json").read_text())
    assert content["concepts"]["dog"]["fraction"] == pytest.approx((ids == 1).mean(), abs=1e-6)
    coco = COCO(str(tmp_path / "coco" / "annotations.json"))
    annotation = next(a for a in coco.loadAnns(coco.getAnnIds()) if coco.cats[a["category_id"]]["name"] == "dog")
    assert (coco.annToMask(annotation).astype(bool) == (result.mask == 0)).all()
    with pytest.raises(ca_seg.UserError, match="coco"):
        result.save(tmp_path, ["cocoo"])


def test_a_missing_image_is_said_before_a_backbone_is_loaded(monkeypatch):
    monkeypatch.setattr(BackboneSettings, "load", lambda *_: pytest.fail("the backbone was loaded"))
    with pytest.raises(UnreadableImage):
        ca_seg.segment("missing.jpg", ["dog", "grass"])


def test_a_comma_in_a_background_word_is_refused(backbone, photo):
    with pytest.raises(ca_seg.UserError, match="floor,wall"):
        ca_seg.segment(photo, ["dog"], background=["floor,wall"], backbone=backbone)
    with pytest.raises(ca_seg.UserError, match="floor,wall"):
        ca_seg.parts(photo, names=["floor,wall"], backbone=backbone)
