"""A head is used at the resolution and the phrase pooling that it was trained with, wherever it is used."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.backbones.load import load_backbone
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UnknownName, UserError
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.trained import TrainedHead, load_head
from ca_seg.jobs.evaluate import EvaluationSettings
from ca_seg.jobs.train_head import train_head
from ca_seg.predictors.settings import MethodSettings
from tests.jobs.small_training import QUIET, settings, two_classes

READ = {"resolution": 64, "phrase_pooling": "first"}  # the card of mini says 256 and mean


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of images, that of the head, and the masks of a validation image by hand, by image id."""
    root = two_classes(tmp_path_factory.mktemp("reading") / "data")
    words = {"cat": ["green cat"], "grass": ["green grass"]}
    options = {"backbone": "mini", "options": {}, "synonyms": words, "max_epochs": 1}
    out = root.parent / "out"
    train_head(settings=settings(root, out, **options, **READ))
    head = load_head(out / "head")
    source = FrozenFeatures(load_backbone("mini", **READ), head.vocabulary, parts=head.parts)
    dataset = open_dataset("folder", str(root), "val")
    masks = {}
    for index, name in enumerate(dataset.image_ids):
        image = dataset.read_image(index)[None]
        with torch.no_grad():
            masks[name] = head(source(image, [image_seed(0, name)]), (48, 48)).argmax(dim=1)[0].numpy()
    return root, out / "head", masks


def test_a_head_is_saved_with_its_reading(trained):
    config = json.loads((trained[1] / "config.json").read_text())
    assert {name: config[name] for name in READ} == READ


def test_evaluation_and_segment_read_at_the_heads_resolution(trained, tmp_path):
    root, folder, masks = trained
    data = EvaluationData("folder", str(root), splits=["val"])
    options = EvaluationSettings(data=data, save_predictions=True, report=False, trainer=QUIET)
    results = ca_seg.evaluate(None, None, options, head=folder, out=tmp_path)
    dataset, head, backbone = open_dataset("folder", str(root), "val"), load_head(folder), load_backbone("mini")
    for index, name in enumerate(dataset.image_ids):
        image = dataset.read_image(index)[None]
        assert (head.segment(backbone, image, seed=image_seed(0, name))[0].numpy() == masks[name]).all()
        written = np.asarray(Image.open(tmp_path / "predictions" / "full-vocabulary" / f"{name}.png"))
        assert (written == masks[name]).all()
    assert {name: results.content["readout"][name] for name in READ} == READ
    assert backbone.card.resolution == 256


def test_labels_are_read_at_the_heads_resolution(trained, tmp_path):
    root, folder, masks = trained
    model = MethodSettings(head=str(folder))
    ca_seg.label(root / "images", ["cat", "grass"], backbone=model, out=tmp_path / "out", device="cpu")
    for name, mask in masks.items():
        assert (np.asarray(Image.open(next((tmp_path / "out").rglob(f"masks/{name}.png")))) == mask).all()


def test_another_reading_beside_a_head_is_refused_with_both_values(trained, tmp_path):
    root, folder, _ = trained
    head = load_head(folder)
    plain = MethodSettings(backbone="mini", head=str(folder))
    plain.check(head)
    replace(plain, **READ).check(head)
    replace(plain, precision="bf16", weights="a folder", offload="group").check(head)
    for name, value, fitted in (
        ("resolution", 128, "64"),
        ("phrase_pooling", "mean", "first"),
        ("noise_samples", 3, "card"),
        ("normalise", "token", "none"),
        ("synonyms", {"cat": ["kitten"]}, "card"),
        ("window", 32, "card"),
    ):
        with pytest.raises(UserError, match=f"{name}.*{value if isinstance(value, int) else ''}.*{fitted}"):
            replace(plain, **{name: value}).check(head)
    with pytest.raises(UserError, match=r"128.*64"):
        ca_seg.label(root / "images", ["cat"], backbone=replace(plain, resolution=128), out=tmp_path, device="cpu")
    given = EvaluationSettings(data=EvaluationData("folder", str(root), splits=["val"]), report=False, trainer=QUIET)
    with pytest.raises(UserError, match=r"128.*64"):
        ca_seg.evaluate(replace(plain, head=None, resolution=128), None, given, head=head)


def test_a_head_of_a_former_version_is_read_as_the_backbone_is_loaded(tmp_path):
    words = {"classes": ["cat", "grass"], "phrases": [["cat"], ["grass"]]}
    head = TrainedHead(kind="linear", backbone="mini", channels=4, parts=["contrasts"], **words)
    head.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("phrase_pooling", None)
    (tmp_path / "config.json").write_text(json.dumps(config))
    head, image = load_head(tmp_path), torch.rand(1, 3, 32, 32)
    MethodSettings(backbone="mini", resolution=64, phrase_pooling="last").check(head)
    for reading in ({}, READ):
        backbone = load_backbone("mini", **reading)
        by_hand = FrozenFeatures(backbone, head.vocabulary, parts=["contrasts"])(image, [0])
        assert torch.equal(head.features_of(backbone)(image, [0]), by_hand)
    with pytest.raises(UnknownName, match="middle"):
        TrainedHead(kind="linear", backbone="mini", channels=4, phrase_pooling="middle", **words)
