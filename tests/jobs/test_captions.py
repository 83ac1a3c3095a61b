"""Words from captions: BLIP and Florence-2, the classes of transformers with small random weights and a tokenizer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import ca_seg
import ca_seg.captioner
from ca_seg import Captioner
from ca_seg.backbones.text.caption_words import words_of_caption
from ca_seg.backbones.text.word_list import shipped_table
from ca_seg.cli.main import main
from ca_seg.errors import UserError, WeightsUnavailable
from tests.small_captioners import SMALL

PIXELS = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def short_captions(monkeypatch):
    monkeypatch.setattr("ca_seg.captioner.MAX_NEW_TOKENS", 8)


@pytest.fixture(scope="module", params=SMALL)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    for part in SMALL[request.param]():
        part.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def captioner(folder):
    return Captioner.load(str(folder))


def test_a_caption_is_that_of_the_stock_calls(captioner):
    picture = Image.fromarray((PIXELS.permute(1, 2, 0) * 255).round().byte().numpy())
    task = ["<DETAILED_CAPTION>"] if "Florence" in type(captioner.model).__name__ else []
    inputs = captioner.processor(picture, *task, return_tensors="pt")
    tokens = captioner.model.generate(
        **inputs, max_new_tokens=ca_seg.captioner.MAX_NEW_TOKENS, num_beams=3, do_sample=False
    )
    expected = captioner.processor.decode(tokens[0], skip_special_tokens=True)
    assert captioner(PIXELS).split() == expected.split()
    assert captioner(PIXELS) == captioner(PIXELS)
    assert captioner(PIXELS) != captioner(1 - PIXELS)


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini")


def test_the_words_are_those_of_the_caption(captioner, backbone):
    result = ca_seg.segment(PIXELS, "auto", backbone=backbone, captioner=captioner)
    caption = captioner(PIXELS)
    words = words_of_caption(caption, shipped_table())
    assert words
    assert result.classes[: len(words)] == words
    assert (result.caption, result.captioner) == (caption, captioner.name)
    content = result.as_dict()
    again = ca_seg.segment(PIXELS, list(words), backbone=backbone)  # a run is repeated by its words
    assert np.array_equal(again.mask, result.mask)
    assert content["caption"] == caption
    assert "caption" not in again.as_dict()


def test_the_command_captions_each_image(folder, tmp_path, capsys):
    for index, pixels in enumerate((PIXELS, 1 - PIXELS)):
        array = (pixels.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(array).save(tmp_path / f"{index}.png")
    options = ["--captioner", str(folder), "--backbone", "mini", "--json", "--out", str(tmp_path / "out")]
    status = main(["segment", str(tmp_path / "0.png"), str(tmp_path / "1.png"), "--concepts", "auto", *options])
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert status == (0 if len(lines) == 2 else 1)
    for line in lines:
        assert line["captioner"] == str(folder)
        assert set(words_of_caption(line["caption"], shipped_table())) <= set(line["concepts"])


class Says:
    """Stands in for a captioner."""

    name = "says"

    def __init__(self, caption):
        self.caption = caption

    def __call__(self, pixels):
        return self.caption


def test_background_words_are_not_looked_for(backbone):
    result = ca_seg.segment(PIXELS, "auto", backbone=backbone, captioner=Says("a cat on grass"), background="grass")
    assert result.classes == ("cat", "background")


def test_a_caption_that_names_nothing_is_one_error(backbone):
    with pytest.raises(UserError, match="names nothing"):
        ca_seg.segment(PIXELS, ["auto"], backbone=backbone, captioner=Says("a photo of two"))


def test_what_is_no_captioner_is_refused_before_a_backbone_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(ca_seg.SegmentSettings, "load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UserError, match="captioner"):
        ca_seg.segment(PIXELS, "auto")
    with pytest.raises(WeightsUnavailable, match="nowhere"):
        ca_seg.segment(PIXELS, "auto", captioner=str(tmp_path / "nowhere"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match=r"clip.*BlipForConditionalGeneration"):
        ca_seg.segment(PIXELS, "auto", captioner=str(tmp_path))
    with pytest.raises(UserError, match="Linear"):
        Captioner(torch.nn.Linear(2, 2), None)


def test_a_class_cannot_be_cut_out_of_unknown_words(folder, tmp_path):
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(image)
    arguments = ["segment", str(image), "--concepts", "auto", "--captioner", str(folder), "--backbone", "mini"]
    assert main([*arguments, "--cutout", "cat"]) == 2
