"""The prompt in every job: recorded with the image, in results and fingerprints, and `present` only in evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.prompt import image_prompt
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UnknownName, UserError
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.jobs.label import LabelSettings
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.settings import LabelData
from ca_seg.methods.attention_readers.gramcol import gramcol_config
from ca_seg.predictors.settings import BackboneSettings, MethodSettings
from ca_seg.tasks.head_settings import HeadSettings
from ca_seg.vocabulary import Vocabulary

NAMES = ("cat", "grass", "sky")
WORDS = Vocabulary.from_names(NAMES)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two images; the first shows cat and grass, the second sky."""
    folder = tmp_path_factory.mktemp("prompted")
    for part in ("images", "masks", "clip"):
        (folder / part).mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        mask = np.full((64, 64), 2, np.uint8) if number else np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 2
        for part in ("images", "clip"):
            Image.fromarray(pixels).save(folder / part / f"{number:05d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:05d}.png")
    (folder / "classes.json").write_text(json.dumps({"classes": dict(enumerate(NAMES))}))
    (folder / "splits.json").write_text(json.dumps({"train": ["00000"], "val": ["00001"]}))
    return folder


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini", resolution=64)


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def maps(backbone, image, prompt, **options):
    return ReadoutConfig(prompt=prompt).record(backbone, image, [4], vocabulary=WORDS, **options).maps(WORDS)


def test_the_prompt_is_what_the_model_reads(backbone, image):
    def recorded(text: str) -> torch.Tensor:
        return backbone.record(image, prompt=text, seed=4).ask(WORDS).maps()

    assert torch.equal(maps(backbone, image, "none"), backbone.record(image, seed=4).ask(WORDS).maps())
    assert torch.equal(maps(backbone, image, "all"), recorded("cat, grass, sky"))
    assert torch.equal(maps(backbone, image, "a cat"), recorded("a cat"))
    assert torch.equal(maps(backbone, image, "present", present=[("sky", "cat")]), recorded("sky, cat"))
    assert not torch.equal(maps(backbone, image, "all"), maps(backbone, image, "none"))


def test_every_phrase_of_a_class_is_in_the_prompt():
    words = Vocabulary.from_names(["cat", "sky"], synonyms={"cat": ["kitten"]})
    assert image_prompt("all", words, None).text == "cat, kitten, sky"
    assert image_prompt("present", words, ("sky", "road")).phrases == ("sky",)


def evaluation(backbone, root, prompt, **options):
    settings = ca_seg.EvaluationSettings(
        MethodSettings(prompt=prompt, **options), EvaluationData(name="folder", root=str(root)), report=False
    )
    return ca_seg.evaluate(backbone, settings=settings).content


def test_present_is_an_oracle_in_the_results(backbone, root):
    """Under oracle presence, the words that are asked are those of the image, so `all` and `present` are the same."""
    present, everything = evaluation(backbone, root, "present"), evaluation(backbone, root, "all")
    assert "oracle" in present["method"]
    assert "oracle" not in everything["method"]
    assert present["readout"]["prompt"] == "present"
    assert present["metrics"]["oracle-presence"] == everything["metrics"]["oracle-presence"]
    assert present["metrics"]["full-vocabulary"] != everything["metrics"]["full-vocabulary"]


def test_views_get_the_prompt_too(backbone, root):
    present = evaluation(backbone, root, "present", window=64)
    assert present["metrics"]["oracle-presence"]["miou"] > 0


def test_refinement_by_attention_says_what_it_needs(backbone, root):
    settings = ca_seg.EvaluationSettings(
        MethodSettings("mini", prompt="all"), refine=ca_seg.Refinement(steps=["attention"]), report=False
    )
    with pytest.raises(UserError, match="one recording"):
        ca_seg.evaluate(backbone, root, settings)


def test_the_object_is_the_prompt_of_a_two_class_evaluation(backbone, root):
    """The word that is asked is the one that the image shows, as in the paper's scripts."""
    settings = ca_seg.TwoClassSettings(BackboneSettings(prompt="present"))
    present = ca_seg.two_class(backbone, root, settings, background_words=["grass"]).content
    plain = ca_seg.two_class(backbone, root, background_words=["grass"]).content
    assert "oracle" in present["method"]
    assert present["figures"] != plain["figures"]


def test_readers_of_the_prompt_in_an_evaluation(backbone, root):
    results = evaluation(backbone, root, "present", reader="seg4diff")
    assert results["readout"]["reader"] == "seg4diff"
    full, oracle = (results["metrics"][protocol]["miou"] for protocol in ("full-vocabulary", "oracle-presence"))
    assert full == oracle, "a class that is not in the prompt has no map"


ELSEWHERE = {
    "segment": lambda root, prompt: ca_seg.segment(
        root / "images", NAMES, settings=ca_seg.SegmentSettings(prompt=prompt, backbone="mini")
    ),
    "label": lambda root, prompt: ca_seg.label(
        root / "images", NAMES, LabelSettings(MethodSettings(prompt=prompt), LabelData(num_workers=0)), out=root / "out"
    ),
    "video": lambda root, prompt: ca_seg.video(
        root / "clip", NAMES, ca_seg.VideoSettings(BackboneSettings(prompt=prompt), fps=8), out=root / "out"
    ),
    "calibrate": lambda root, prompt: ca_seg.calibrate(BackboneSettings(prompt=prompt), root),
    "train": lambda root, prompt: ca_seg.train_head(
        HeadSettings(prompt=prompt), root, train_split="train", val_split="val"
    ),
}


@pytest.mark.parametrize("job", ELSEWHERE)
def test_present_is_refused_outside_an_evaluation(root, job, monkeypatch):
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", None)  # it is refused before weights are read
    with pytest.raises(UserError, match="oracle"):
        ELSEWHERE[job](root, "present")


@pytest.mark.parametrize(
    ("prompt", "match"), [("", "prompt"), ("captioner", "no captioner"), ("cat " * 600, "too long")]
)
def test_prompts_that_cannot_be_used(root, prompt, match):
    with pytest.raises(UserError, match=match):
        ELSEWHERE["segment"](root, prompt)


def test_words_of_the_prompt_that_are_unknown(root):
    with pytest.raises(UnknownName, match="xyzzy"):
        ELSEWHERE["segment"](root, "a xyzzy")


def test_jobs_take_the_prompt(root, backbone):
    plain = ca_seg.segment(root / "images" / "00000.png", NAMES, backbone=backbone)
    prompted = ca_seg.segment(
        root / "images" / "00000.png", NAMES, backbone=backbone, settings=ca_seg.SegmentSettings(prompt="all")
    )
    assert not torch.equal(plain.maps, prompted.maps)
    result = ca_seg.video(
        root / "clip",
        NAMES,
        ca_seg.VideoSettings(BackboneSettings(prompt="all"), fps=8),
        backbone=backbone,
        out=root / "v",
    )
    assert result.frames == 2


def test_the_prompt_is_part_of_what_results_depend_on(backbone, root):
    def identity(prompt):
        return FrozenFeatures(backbone, WORDS, readout=ReadoutConfig(prompt=prompt)).identity()

    assert identity("none") != identity("all") != identity("a cat")

    def labels(prompt):
        settings = LabelSettings(MethodSettings(prompt=prompt), LabelData(root=str(root / "images"), num_workers=0))
        from ca_seg.jobs.plain import plain

        return Labelling.of(settings, NAMES).depends_on(plain(settings))

    assert labels("none") != labels("all")
    assert ReadoutConfig.from_plain(ReadoutConfig(prompt="all").plain()).prompt == "all"
    assert ReadoutConfig().plain() == {}


def test_features_are_recorded_with_the_prompt(backbone, image):
    def features(prompt):
        return FrozenFeatures(backbone, WORDS, readout=ReadoutConfig(prompt=prompt))(image, [4])

    assert not torch.equal(features("all"), features("none"))
    with pytest.raises(UserError, match="there are none"):
        FrozenFeatures(backbone, None, parts=("outputs",), readout=ReadoutConfig(prompt="all"))


@pytest.mark.parametrize("options", [{"reader": "seg4diff"}, {"reader": "goca", "prompt": "a cat"}])
def test_readers_of_the_prompt_need_one_of_words(options):
    with pytest.raises(UserError, match="reads the words of the prompt"):
        ReadoutConfig(**options)


@pytest.mark.parametrize("options", [{"space": "value"}, {"softmax": False}, {"per_head": True}])
def test_other_readers_refuse_options_that_they_ignore(options):
    with pytest.raises(UserError, match="has no"):
        ReadoutConfig(reader="gramcol", **options)


def test_templates_are_averaged(backbone, image):
    templates = ("a red {}", "{}")
    both = ReadoutConfig(templates=templates).record(backbone, image, [4]).maps(WORDS)
    alone = [
        backbone.record(image, seed=4).ask(Vocabulary.from_names(NAMES, template=template)).maps()
        for template in templates
    ]
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)


def test_presets():
    published = BackboneSettings(backbone="flux1-schnell", preset="paper").with_preset()
    assert (published.layers, published.timesteps) == (tuple(range(9, 19)), (0.5,))
    assert BackboneSettings(backbone="flux1-schnell", preset="paper", timesteps=(0.3,)).with_preset().timesteps == (
        0.3,
    )
    assert BackboneSettings(preset="recommended").with_preset().plain() == {}
    seg4diff = BackboneSettings(backbone="sd3-medium", preset="paper").with_preset()
    assert (seg4diff.reader, seg4diff.prompt, seg4diff.layers) == ("seg4diff", "all", (9,))
    present = BackboneSettings(backbone="sd3-medium", preset="paper", prompt="present").with_preset()
    assert (present.reader, present.prompt) == ("seg4diff", "present")


@pytest.mark.parametrize("name", ["cogvideox-2b", "cogvideox-5b", "hunyuan-video"])
def test_presets_of_videos_are_read_by_gramcol(name):
    preset = BackboneSettings(backbone=name, preset="reference").with_preset()
    assert preset.reader == "gramcol"
    assert preset.layers == gramcol_config(name).layers
    assert max(preset.layers) < find_card(name).architecture["num_layers"]


def test_unknown_presets():
    with pytest.raises(UserError, match="flux1-schnell"):
        BackboneSettings(preset="paper").with_preset()
    with pytest.raises(UnknownName, match="papr"):
        BackboneSettings(preset="papr").with_preset()
