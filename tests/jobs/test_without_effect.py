"""Options that a job does not read are refused, also those of loading beside a backbone that is loaded."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import ca_seg
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import UserError
from ca_seg.jobs.without_effect import refuse_without_effect
from ca_seg.predictors.settings import BackboneSettings

VALUES = {
    "timesteps": (0.3,), "noise_samples": 2, "space": "value", "softmax": False, "concept_attention": "self",
    "image_output": "concepts", "normalise": "token", "per_head": True, "layer_weights": (1.0,), "flip": True,
    "reader": "goca", "reader_options": {}, "templates": ("a {}",), "blur": True, "window": 64,
    "scales": (1.0, 2.0), "template": "a {}", "synonyms": {"cat": ["kitten"]}, "preset": "recommended",
}  # fmt: skip


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini")


def test_a_value_that_would_be_ignored_is_named():
    refuse_without_effect(BackboneSettings(flip=True), ["blur"], "this job")
    with pytest.raises(UserError, match=r"model\.flip is True.*this job"):
        refuse_without_effect(BackboneSettings(flip=True), ["blur", "flip"], "this job")


@pytest.mark.parametrize("name", VALUES)
def test_an_ablation_takes_no_option_that_its_grid_replaces(name, backbone):
    options = {name: VALUES[name]} | ({"prompt": "all"} if name == "reader" else {})
    settings = ca_seg.AblationSettings(BackboneSettings(backbone="mini", **options))
    with pytest.raises(UserError, match=rf"model\.{name}"):
        ca_seg.ablate(data="scenes", settings=settings)


def test_every_readout_option_of_an_ablation_is_tried_here():
    read = {"layers", "prompt", "captioner", "timestep_choice"}  # the last one needs several timesteps
    assert {field.name for field in fields(ReadoutConfig)} - VALUES.keys() == read


@pytest.mark.parametrize(
    "options", [{"resolution": 64}, {"phrase_pooling": "first"}, {"precision": "bf16"}, {"weights": "x"}, {"gguf": "x"}]
)
def test_options_of_loading_beside_a_loaded_backbone_are_refused(options, backbone):
    model = BackboneSettings(backbone="mini", **options)
    with pytest.raises(UserError, match=rf"model\.{next(iter(options))}"):
        model.load("cpu", backbone)
    same = {"resolution": backbone.card.resolution, "phrase_pooling": backbone.card.phrase_pooling}
    assert BackboneSettings(backbone="mini", precision="fp32", **same).load("cpu", backbone) is backbone


IMAGE = np.zeros((64, 64, 3), np.uint8)
MODEL = BackboneSettings(backbone="mini", resolution=64)
JOBS = {
    "segment": lambda b: ca_seg.segment(
        IMAGE, ["cat", "sky"], backbone=b, settings=ca_seg.SegmentSettings(resolution=64)
    ),
    "parts": lambda b: ca_seg.parts(IMAGE, backbone=b, settings=ca_seg.PartsSettings(resolution=64)),
    "evaluate": lambda b: ca_seg.evaluate(
        b, "scenes", ca_seg.EvaluationSettings(ca_seg.MethodSettings(resolution=64), report=False), device="cpu"
    ),
    "two-class": lambda b: ca_seg.two_class(
        b, "scenes", ca_seg.TwoClassSettings(MODEL), background_words=["sky"], device="cpu"
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_no_job_shows_settings_that_the_loaded_backbone_does_not_have(name, backbone):
    with pytest.raises(UserError, match=r"model\.resolution"):
        JOBS[name](backbone)
