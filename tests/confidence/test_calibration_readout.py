"""A calibration is for the readout and the refinement that it was fitted with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ca_seg.confidence.calibration import read_calibration
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError
from ca_seg.jobs.calibrate import CalibrationSettings, calibrate
from ca_seg.labelling.confidence import confidence_config
from ca_seg.labelling.settings import LabelSettings
from ca_seg.predictors.settings import BackboneSettings, MethodSettings
from ca_seg.refine.steps import Refinement
from ca_seg.vocabulary import Vocabulary
from tests.labelling.example_run import mini

DATA = EvaluationData(split="val", limit=2)
WORDS = Vocabulary.from_names(open_dataset("scenes").class_list.names)
READ = {"backbone": "mini", "resolution": 64}
STEPS = Refinement(steps=["balance"], balance_power=0.2)


def fitted(out, backbone, refine=STEPS):
    settings = CalibrationSettings(refine=refine, pixels=2000, min_pixels=10)
    result = calibrate(backbone, DATA, settings, precision=0.3, out=out)
    assert read_calibration(out) == result.calibration
    assert read_calibration(out).readout == result.calibration.readout
    return LabelSettings(model=MethodSettings(**READ), refine=refine, calibration=str(out))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Of a labelling run that is read as its calibration was."""
    return fitted(tmp_path_factory.mktemp("readout") / "c.json", BackboneSettings(**READ))


def test_the_same_readout_is_taken(settings):
    assert confidence_config(settings, WORDS).measure == "margin"
    others = replace(settings.refine, guided_radius=5)  # of a step that does not run
    assert confidence_config(replace(settings, refine=others), WORDS).measure == "margin"
    precise = replace(settings, model=replace(settings.model, precision="fp32"))
    assert confidence_config(precise, WORDS).measure == "margin"


@pytest.mark.parametrize(
    ("option", "value", "was"),
    [
        ("resolution", 128, "64"),
        ("resolution", None, "64"),
        ("phrase_pooling", "first", "mean"),
        ("noise_samples", 3, "1"),
        ("layers", (1,), "2, 3"),
        ("window", 32, "null"),
        ("weights", "a folder", "null"),
    ],
)
def test_another_readout_is_refused_by_name(settings, option, value, was):
    changed = replace(settings, model=replace(settings.model, **{option: value}))
    with pytest.raises(UserError, match=rf"c\.json.*{option}.*{was}"):
        confidence_config(changed, WORDS)


def test_another_refinement_and_a_head_are_refused(settings):
    for refine, name in (
        (replace(STEPS, balance_power=0.3), "balance_power"),
        (Refinement(steps=["none"]), "balance"),
    ):
        with pytest.raises(UserError, match=name):
            confidence_config(replace(settings, refine=refine), WORDS)
    head = replace(settings, model=replace(settings.model, head="mini-scenes-linear"))
    with pytest.raises(UserError, match=r"c\.json.*head"):
        confidence_config(head, WORDS)


def test_a_file_without_a_readout_is_compared_by_backbone_and_words_alone(settings, tmp_path):
    content = json.loads(Path(settings.calibration).read_text())
    former = {name: value for name, value in content.items() if name != "readout"}
    (tmp_path / "c.json").write_text(json.dumps(former))
    changed = replace(settings, calibration=str(tmp_path / "c.json"), model=MethodSettings(backbone="mini"))
    assert confidence_config(changed, WORDS).measure == "margin"
    (tmp_path / "c.json").write_text(json.dumps(former | {"readout": {"noise_samples": 1}}))
    assert confidence_config(changed, WORDS).measure == "margin"
    (tmp_path / "c.json").write_text(json.dumps(former | {"readout": [1]}))
    with pytest.raises(UserError, match="readout"):
        confidence_config(changed, WORDS)


def test_default_settings_agree_with_a_loaded_backbone_too(tmp_path):
    for number, backbone in enumerate(("mini", mini())):
        settings = fitted(tmp_path / f"{number}.json", backbone, Refinement())
        settings = replace(settings, model=MethodSettings(backbone="mini"))
        assert confidence_config(settings, WORDS).measure == "margin"
