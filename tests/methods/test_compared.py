"""Methods in an evaluation: by name beside backbones, and open ones; what cannot be compared is refused at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.errors import UnknownName, UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.compared import check_card, check_compared
from ca_seg.methods.foreground import with_background
from ca_seg.methods.registry import list_methods
from ca_seg.vocabulary import Vocabulary

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


def test_a_name_that_is_neither_method_nor_backbone_is_refused():
    with pytest.raises(UnknownName, match="concept-attention"):
        check_compared(["concept-atention"], Vocabulary.from_names(["cat"]))


def test_a_class_agnostic_method_is_refused_on_several_classes():
    check_card(AGNOSTIC, Vocabulary.from_names(["cat", "background"]))
    check_card(AGNOSTIC, Vocabulary.from_names(["cat", "rest"], background="rest"))
    with pytest.raises(UserError, match=r"outline.*'cat', 'dog'"):
        check_card(AGNOSTIC, Vocabulary.from_names(["cat", "background", "dog"]))


@pytest.mark.parametrize("names", [["cat", "background"], ["background", "cat"]])
def test_argmax_against_the_background_is_the_threshold_at_the_mean(names):
    maps = torch.rand(2, 1, 5, 7)
    both = with_background(maps, Vocabulary.from_names(names))
    above = maps[:, 0] > maps[:, 0].mean(dim=(1, 2), keepdim=True)
    assert torch.equal(both.argmax(dim=1) == names.index("cat"), above)


def test_the_command_lists_every_method(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list_methods()
