"""The prompt `captioner` in every job: BLIP and Florence-2 with small random weights, and captions that are given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.backbones.caption_prompt import caption_prompt
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.text.caption_words import phrases_of_caption, words_of_caption
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.captioner import Captioner, captioner_named
from ca_seg.data.settings import EvaluationData
from ca_seg.errors import UserError, WeightsUnavailable
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.jobs.label import LabelSettings
from ca_seg.jobs.plain import plain
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.settings import LabelData
from ca_seg.predictors.settings import BackboneSettings, MethodSettings
from ca_seg.predictors.zero_shot import ZeroShotPredictor
from ca_seg.tasks.head_settings import HeadSettings
from ca_seg.vocabulary import Vocabulary
from tests.small_captioners import SMALL

NAMES = ("cat", "grass", "sky")
WORDS = Vocabulary.from_names(NAMES)
PIXELS = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def short_captions(monkeypatch):
    monkeypatch.setattr("ca_seg.captioner.MAX_NEW_TOKENS", 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two images with masks."""
    folder = tmp_path_factory.mktemp("captioned")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number, pixels in enumerate((PIXELS, 1 - PIXELS)):
        array = (pixels.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(array).save(folder / "images" / f"{number:05d}.png")
        mask = np.arange(64 * 64).reshape(64, 64) % (3 - number)
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{number:05d}.png")
    (folder / "classes.json").write_text(json.dumps({"classes": dict(enumerate(NAMES))}))
    (folder / "splits.json").write_text(json.dumps({"train": ["00000"], "val": ["00001"]}))
    return folder


@pytest.fixture(scope="module")
def blip(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("blip")
    for part in SMALL["blip"]():
        part.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini", resolution=64)


@pytest.fixture
def says(monkeypatch):
    """Sets the caption of every image."""

    def say(caption: str) -> None:
        captions = lambda name, images, device: [caption] * len(images)  # noqa: E731
        monkeypatch.setattr("ca_seg.backbones.caption_prompt.captions_of", captions)

    return say


@pytest.mark.parametrize("kind", SMALL)
def test_the_nouns_of_the_caption_are_the_prompt(kind, backbone, tmp_path):
    for part in SMALL[kind]():
        part.save_pretrained(tmp_path)
    images = torch.stack([PIXELS, 1 - PIXELS])
    config = ReadoutConfig(prompt="captioner", captioner=str(tmp_path))
    maps = ZeroShotPredictor(backbone, config).predict(images, [4, 5]).maps(WORDS)
    for image, seed, row in zip(images, (4, 5), maps, strict=True):
        nouns = ", ".join(words_of_caption(Captioner.load(str(tmp_path))(image), shipped_table()))
        assert nouns
        alone = backbone.record(image, prompt=nouns, seed=seed).ask(WORDS).maps()[0]
        torch.testing.assert_close(row, alone, atol=1e-6, rtol=1e-4)


class Encoder:
    """Any text encoder that is no word table."""


def test_other_text_encoders_read_the_whole_caption(backbone):
    assert caption_prompt("Two kittens on a couch.", Encoder(), None).text == "Two kittens on a couch."
    assert caption_prompt("Two kittens on a couch.", backbone.text, None).text == "kitten, couch"
    assert caption_prompt("a photo of two", backbone.text, None).text == ""


@pytest.mark.parametrize(
    ("caption", "phrases", "named"),
    [
        ("Two kittens sleep on a couch.", ["dog", "cat", "sofa"], ["cat", "sofa"]),
        ("a man rides a bike", ["bicycle", "motorbike", "person"], ["bicycle", "person"]),
        ("traffic lights over a road", ["light", "traffic light", "sky"], ["traffic light"]),
        ("an aeroplane flies over trees", ["tree", "aeroplane", "boat"], ["tree", "aeroplane"]),
        ("a dog", ["hot dog", "cat"], []),
        ("a photo of two", ["cat"], []),
        ("a xyzzy", ["xyzzy", "zzy"], ["xyzzy"]),
    ],
)
def test_which_phrases_a_caption_names(caption, phrases, named):
    assert list(phrases_of_caption(caption, phrases, shipped_table())) == named


def test_readers_of_the_prompt_read_the_classes_that_the_caption_names(backbone, says):
    def maps(caption: str) -> torch.Tensor:
        says(caption)
        config = ReadoutConfig(prompt="captioner", captioner="x", reader="seg4diff")
        return config.record(backbone, PIXELS, [4], vocabulary=WORDS).maps(WORDS)

    def expected(names: tuple[str, ...]) -> torch.Tensor:
        config = ReadoutConfig(prompt="present", reader="seg4diff")
        return config.record(backbone, PIXELS, [4], vocabulary=WORDS, present=[names]).maps(WORDS)

    assert torch.equal(maps("kittens under the sky"), expected(("cat", "sky")))
    assert torch.equal(maps("a piano"), expected(NAMES)), "it names no class, so that all are read"


def test_an_evaluation_and_its_compared_methods_read_the_caption(root, blip, backbone):
    settings = ca_seg.EvaluationSettings(
        MethodSettings(prompt="captioner", captioner=blip),
        EvaluationData(name="folder", root=str(root)),
        compare=["seg4diff"],
        unrefined=False,
        report=False,
    )
    content = ca_seg.evaluate(backbone, settings=settings).content
    assert content["readout"]["captioner"] == blip
    assert content["readouts"]["seg4diff"]["captioner"] == blip


def test_a_compared_method_with_the_oracle_prompt_says_so(root, backbone):
    settings = ca_seg.EvaluationSettings(
        MethodSettings(prompt="present"),
        EvaluationData(name="folder", root=str(root)),
        compare=["seg4diff"],
        unrefined=False,
        report=False,
    )
    content = ca_seg.evaluate(backbone, settings=settings).content
    assert "seg4diff, oracle prompt" in content["methods"]
    assert "seg4diff" not in content["methods"]


def test_segment_and_label_read_the_caption(root, blip, backbone):
    image = root / "images" / "00000.png"
    caption = caption_prompt(Captioner.load(blip)(PIXELS), backbone.text, None).text
    settings = ca_seg.SegmentSettings(prompt="captioner", captioner=blip)
    result = ca_seg.segment(image, NAMES, backbone=backbone, settings=settings)
    expected = ca_seg.segment(image, NAMES, backbone=backbone, settings=ca_seg.SegmentSettings(prompt=caption))
    assert np.array_equal(result.probabilities, expected.probabilities)

    model = MethodSettings(backbone="mini", resolution=64, prompt="captioner", captioner=blip)
    options = LabelSettings(model, LabelData(num_workers=0), trainer={"enable_progress_bar": False})
    labels = ca_seg.label(root / "images", NAMES, options, out=root / "labels", device="cpu")
    assert labels.labelled == 2


def test_fingerprints_hold_the_captioner(root, blip, backbone, tmp_path):
    def labels(**model) -> dict:
        settings = LabelSettings(MethodSettings(**model), LabelData(root=str(root / "images"), num_workers=0))
        return Labelling.of(settings, NAMES).depends_on(plain(settings))

    assert labels(prompt="captioner", captioner=blip) != labels()
    config = ReadoutConfig(prompt="captioner", captioner=blip)
    assert ReadoutConfig.from_plain(config.plain()) == config
    assert ReadoutConfig(captioner=blip).plain() == {}, "it makes no prompt"

    source = FrozenFeatures(backbone, WORDS, readout=config)
    images = torch.stack([PIXELS, 1 - PIXELS])
    torch.testing.assert_close(source(images, [4, 5])[1:], source(images[1:], [5]), atol=1e-6, rtol=1e-4)
    other = tmp_path / "other"
    model, processor = SMALL["blip"]()
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias.add_(1)
    model.save_pretrained(other)
    processor.save_pretrained(other)
    before = source.identity()
    changed = FrozenFeatures(backbone, WORDS, readout=ReadoutConfig(prompt="captioner", captioner=str(other)))
    assert before["captioner"] != changed.identity()["captioner"], "the weights count, not their name"
    captioner_named.cache_clear()


BEFORE_ANYTHING_IS_LOADED = {
    "segment": lambda root, model: ca_seg.segment(root / "images", NAMES, settings=ca_seg.SegmentSettings(**model)),
    "eval": lambda root, model: ca_seg.evaluate(MethodSettings(**model), root),
    "label": lambda root, model: ca_seg.label(
        root / "images", NAMES, LabelSettings(MethodSettings(**model), LabelData(num_workers=0)), out=root / "none"
    ),
    "train": lambda root, model: ca_seg.train_head(HeadSettings(**model), root, train_split="train", val_split="val"),
    "calibrate": lambda root, model: ca_seg.calibrate(BackboneSettings(**model), root),
    "video": lambda root, model: ca_seg.video(root / "images", NAMES, ca_seg.VideoSettings(BackboneSettings(**model))),
    "two-class": lambda root, model: ca_seg.two_class(BackboneSettings(**model), root, background_words="tree"),
    "method": lambda root, model: ca_seg.method("seg4diff", **model),
}


@pytest.mark.parametrize("job", BEFORE_ANYTHING_IS_LOADED)
def test_a_captioner_that_is_not_there(root, job, monkeypatch, tmp_path):
    for module in ("predictors.settings", "tasks.head_settings"):
        monkeypatch.setattr(f"ca_seg.{module}.load_backbone", None)
    run = BEFORE_ANYTHING_IS_LOADED[job]
    with pytest.raises(UserError, match="no captioner"):
        run(root, {"prompt": "captioner"})
    with pytest.raises(WeightsUnavailable, match="nowhere"):
        run(root, {"prompt": "captioner", "captioner": str(tmp_path / "nowhere")})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match="clip"):
        run(root, {"prompt": "captioner", "captioner": str(tmp_path)})
    assert not (root / "none").exists()


def test_a_readout_without_a_captioner_is_refused(backbone):
    with pytest.raises(UserError, match="no captioner"):
        ReadoutConfig(prompt="captioner").record(backbone, PIXELS, [0])
    with pytest.raises(UserError, match="no prompt"):
        ca_seg.method("seg4diff", backbone=backbone, captioner="x")


def test_an_ablation_has_the_caption_among_its_prompts(root, blip, backbone):
    from ca_seg.evaluation.ablation import AblationGrid

    off = {name: False for name in ("layers", "spaces", "concept_attention", "normalise", "readers")}
    grid = AblationGrid(timesteps=[], noise_samples=[], resolutions=[], **off)
    settings = ca_seg.AblationSettings(BackboneSettings(captioner=blip), grid=grid)
    tables = ca_seg.ablate(backbone, root, settings).tables
    assert list(tables["prompt"]) == ["none", "all", "present (oracle)", "captioner"]
