"""Methods in an evaluation: by name beside backbones, and open ones; what cannot be compared is refused at once."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.errors import UnknownName, UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.compared import check_card, check_compared, check_compared_objects
from ca_seg.methods.foreground import with_background
from ca_seg.methods.registry import list_methods
from ca_seg.vocabulary import Vocabulary
from tests.docs.blocks import ROOT
from tests.methods.small_vit import CLASSES, small_vit

AGNOSTIC = MethodCard("outline", "One map.", "Nobody (nowhere)", "check", "none", "model")


@pytest.fixture
def pictures(tmp_path):
    """Two pictures of 64 x 64 pixels, with masks of a cat and a background."""
    numbers = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(numbers.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "images" / name)
        Image.fromarray(numbers.integers(0, 2, (64, 64), dtype=np.uint8)).save(tmp_path / "masks" / name)
    (tmp_path / "classes.json").write_text(json.dumps({"classes": {"0": "background", "1": "cat"}}))
    return str(tmp_path)


def test_a_name_and_an_open_method_are_rows_of_one_table(pictures):
    """The open method reads the evaluated backbone, so its row equals that of the backbone."""
    backbone = ca_seg.load_backbone("mini", resolution=64)
    open_method = ca_seg.method("concept-attention", backbone=backbone)
    settings = ca_seg.EvaluationSettings(compare=["random-maps"], report=False, unrefined=False)
    results = ca_seg.evaluate(backbone, pictures, settings, methods=[open_method], device="cpu")
    rows = results.to_pandas().set_index(["method", "protocol"])
    assert list(results.content["methods"]) == ["mini", "random-maps", "concept-attention"]
    for protocol in ("oracle-presence", "full-vocabulary"):
        assert rows.loc[("concept-attention", protocol), "miou"] == rows.loc[("mini", protocol), "miou"]


def test_the_papers_protocol_scores_methods_that_do_not_see_any_word(pictures):
    """With one class, argmax against the background is the threshold at the mean: both decisions agree."""
    dino = ca_seg.method("dino", model=small_vit(num_classes=0))
    gradcam = ca_seg.method("gradcam", model=small_vit(), class_names=CLASSES)
    backbone = ca_seg.load_backbone("mini", resolution=64)
    settings = ca_seg.TwoClassSettings(compare=["random-maps"])
    results = ca_seg.two_class(
        backbone, pictures, settings, methods=[dino, gradcam], background_words=["grass", "sky"], device="cpu"
    )
    assert list(results.compared) == ["random-maps", "dino", "gradcam"]
    for name in ("dino", "gradcam"):
        decisions = results.compared[name]
        assert decisions["argmax"] == decisions["threshold"]
        assert 0 < decisions["argmax"]["accuracy"] < 1


def test_words_that_an_open_method_does_not_know_are_refused_before_the_first_image(pictures):
    """The scenes show a cat, and this network knows none."""
    network = ca_seg.method("gradcam", model=small_vit(), class_names=["ant", "bee", "fly", "wasp", "moth"])
    with pytest.raises(UserError, match="'cat'"):
        ca_seg.two_class("mini", pictures, methods=[network], background_words=["grass"], device="cpu")


def test_the_cards_are_listed_without_timm():
    code = (
        "import sys; from tests.hidden_packages import hide; hide(['timm']); from ca_seg.cli.main import main; "
        "assert main(['methods']) == 0; import ca_seg, torch\n"
        "try: ca_seg.method('rollout')\n"
        "except ca_seg.UserError as problem: assert 'ca-seg[methods]' in str(problem), problem\n"
        "else: sys.exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_what_the_papers_protocol_cannot_compare_is_refused():
    check_compared_objects(["rollout", "gradcam"], ["goldfish", "tabby"], ["grass"])
    with pytest.raises(UserError, match="colour-clusters"):
        check_compared_objects(["colour-clusters"], ["cat"], ["grass"])
    with pytest.raises(UserError, match="'cat'"):
        check_compared_objects(["gradcam"], ["cat"], ["grass"])


def test_a_name_that_is_neither_method_nor_backbone_is_refused():
    with pytest.raises(UnknownName, match="concept-attention"):
        check_compared(["concept-atention"], Vocabulary.from_names(["cat"]))


def test_a_class_agnostic_method_is_refused_on_several_classes():
    check_card(AGNOSTIC, Vocabulary.from_names(["cat", "background"]))
    check_card(AGNOSTIC, Vocabulary.from_names(["cat", "rest"], background="rest"))
    with pytest.raises(UserError, match=r"outline.*'cat', 'dog'"):
        check_card(AGNOSTIC, Vocabulary.from_names(["cat", "background", "dog"]))


def test_words_that_the_real_weights_do_not_know_are_refused_before_they_are_read():
    check_compared(["gradcam"], Vocabulary.from_names(["goldfish", "background", "tench"]))
    with pytest.raises(UserError, match="'grass'"):
        check_compared(["mini", "gradcam"], Vocabulary.from_names(["goldfish", "grass"]))


@pytest.mark.parametrize("names", [["cat", "background"], ["background", "cat"]])
def test_argmax_against_the_background_is_the_threshold_at_the_mean(names):
    maps = torch.rand(2, 1, 5, 7)
    both = with_background(maps, Vocabulary.from_names(names))
    above = maps[:, 0] > maps[:, 0].mean(dim=(1, 2), keepdim=True)
    assert torch.equal(both.argmax(dim=1) == names.index("cat"), above)


def test_a_constant_map_is_background():
    maps = with_background(torch.zeros(1, 1, 2, 2), Vocabulary.from_names(["cat", "background"]))
    assert maps.argmax(dim=1).eq(1).all()


def test_the_command_lists_every_method(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list_methods()
