"""The viewer's masks are those of `segment`, byte for byte, and words follow from one recording."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ca_seg
from ca_seg.cli.main import main
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.refine.steps import Refinement
from ca_seg.viewer.answer import answer
from ca_seg.viewer.command import changed_options, command_line, python_block
from ca_seg.viewer.controls import Controls
from ca_seg.viewer.export import export
from tests.viewer.conftest import START

WORDS = ("dog", "grass", "sky")
CHOICES = {
    "as on the card": {},
    "threshold": {"threshold": 0.45},
    "background": {"background": "tree, water"},
    "one layer": {"layers": (1,)},
    "two layers": {"layers": (0, 2)},
    "beyond the card's layers": {"layers": (3, 5)},
    "timestep": {"timestep": 0.4},
    "value": {"space": "value"},
    "cross-attention": {"space": "cross-attention"},
    "raw products": {"softmax": False},
    "guided filter": {"refine": ("guided-filter",)},
    "attention": {"refine": ("attention",)},
    "several steps": {"refine": ("absence", "guided-filter"), "threshold": 0.3},
    "a reader with queries": {"reader": "gramcol"},
    "a reader of the prompt": {"reader": "seg4diff"},
}


def chosen(**choice) -> SegmentSettings:
    return replace(Controls.of(START), **choice).settings(START, 20)


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES.keys())
def test_masks_are_those_of_segment(tab, backbones, mini, photo, choice):
    picture, settings = tab.session.picture(photo), chosen(**choice)
    answer(tab.session, backbones, picture, ("cat", "water"), settings)  # whatever was asked before
    shown = answer(tab.session, backbones, picture, WORDS, settings).segmentation
    alone = ca_seg.segment(photo, list(WORDS), settings=settings, backbone=mini)
    assert shown.mask.tobytes() == alone.mask.tobytes()
    assert torch.equal(shown.maps, alone.maps)
    assert shown.presence == alone.presence
    assert shown.as_dict() == alone.as_dict()


def test_masks_are_those_of_segment_for_each_option_of_the_start(tab, backbones, mini, photo):
    for option in ({"flip": True}, {"window": 128}, {"noise_samples": 2}, {"seed": 3}, {"template": "{}"}):
        settings = replace(chosen(), **option)
        shown = answer(tab.session, backbones, tab.session.picture(photo), WORDS, settings)
        alone = ca_seg.segment(photo, list(WORDS), settings=settings, backbone=mini)
        assert shown.segmentation.mask.tobytes() == alone.mask.tobytes(), option
        assert torch.equal(shown.segmentation.maps, alone.maps), option


def test_one_pass_serves_words_layers_spaces_and_thresholds(tab, backbones, mini, photo, monkeypatch):
    passes = []
    record = type(mini).record
    monkeypatch.setattr(type(mini), "record", lambda *a, **k: passes.append(1) or record(*a, **k))
    picture = tab.session.picture(photo)
    for words, choice in ((WORDS, {}), (("cat",), {}), (WORDS, {"layers": (2,)}), (WORDS, {"space": "value"})):
        answer(tab.session, backbones, picture, words, chosen(**choice, threshold=0.2))
    assert len(passes) == 1
    second = answer(tab.session, backbones, picture, WORDS, chosen(timestep=0.5))
    assert len(passes) == 2
    assert second.record_seconds > 0
    again = answer(tab.session, backbones, picture, WORDS, chosen(timestep=0.5))
    assert len(passes) == 2
    assert again.record_seconds == 0


def test_the_same_photograph_under_another_name_has_its_own_noise(tab, backbones, mini, photo, tmp_path):
    other = tmp_path / "another.jpg"
    other.write_bytes(photo.read_bytes())
    first, second = (answer(tab.session, backbones, tab.session.picture(p), WORDS, chosen()) for p in (photo, other))
    assert not torch.equal(first.segmentation.maps, second.segmentation.maps)
    alone = ca_seg.segment(other, list(WORDS), settings=chosen(), backbone=mini)
    assert torch.equal(second.segmentation.maps, alone.maps)


@pytest.mark.parametrize("words", [(), ("dgo",), ("dog", "Dog")])
def test_words_are_refused_as_by_segment(tab, backbones, photo, words):
    with pytest.raises(UserError):
        answer(tab.session, backbones, tab.session.picture(photo), words, chosen())


def test_a_layer_that_is_not_there_is_refused(tab, backbones, photo):
    with pytest.raises(OutOfRange, match="0 to 5"):
        answer(tab.session, backbones, tab.session.picture(photo), WORDS, chosen(layers=(6,)))


@pytest.mark.parametrize("words", [WORDS, ("polar bear", "sky")], ids=["words", "a phrase"])
@pytest.mark.parametrize(
    "choice",
    [{}, {"threshold": 0.45, "refine": ("coarse-pamr",)}, {"layers": (1, 2), "space": "value", "softmax": False},
     {"background": "tree, water", "timestep": 0.4}, {"reader": "seg4diff"}],
    ids=["card", "threshold", "layers", "background", "reader"],
)  # fmt: skip
def test_the_command_and_the_python_block_give_the_same_mask(
    tab, backbones, photo, tmp_path, monkeypatch, words, choice
):
    start = replace(START, refinement=Refinement(pamr_iterations=3, coarse_pamr_side=48))
    settings = replace(Controls.of(start), **choice).settings(start, 20)
    shown = answer(tab.session, backbones, tab.session.picture(photo), words, settings)
    files = export(shown, tmp_path / "page", ("mask",))
    line = command_line(str(photo), words, settings)
    name, *arguments = shlex.split(line)
    assert name == "ca-seg"
    assert main([*arguments, "--out", str(tmp_path / "command"), "--formats", "mask"]) == 0
    assert (tmp_path / "command" / files[0].name).read_bytes() == files[0].read_bytes()
    namespace: dict = {}
    exec(python_block(str(photo), words, settings), namespace)
    assert np.array_equal(namespace["result"].mask, shown.segmentation.mask)


@pytest.mark.parametrize(
    "settings",
    [
        SegmentSettings(),
        SegmentSettings(
            backbone="mini", synonyms={"dog": ["puppy"]}, colors={"dog": "red"}, template="a photo of a {}"
        ),
        SegmentSettings(layers=(2,), timesteps=(0.1, 0.5), layer_weights=(0.5,), scales=(1.0, 1.5), flip=True),
        SegmentSettings(background=("-5", "null"), threshold=0.25, softmax=False, prompt="a dog's life", seed=7),
        SegmentSettings(refinement=Refinement(pamr_iterations=3, guided_epsilon=1e-5, sam="a/b", background="dog")),
    ],
)
def test_the_command_line_holds_every_option(settings, monkeypatch):
    """Parsed by the command itself, the line gives the same settings back."""
    from ca_seg.cli.parser import JobParser, settings_of
    from ca_seg.cli.segment import SegmentCommand

    words = ("5", "dog's", "ice cream")
    _, _, *arguments = shlex.split(command_line("-odd name.jpg", words, settings))
    command, positional = JobParser("ca-seg segment", "", SegmentCommand).parse_with_positional(arguments)
    assert positional == ["./-odd name.jpg"]
    assert command.concepts == words
    assert settings_of(command, SegmentSettings) == settings


def test_a_word_that_is_a_file_has_no_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="Python"):
        command_line("photo.jpg", WORDS, SegmentSettings())


def test_only_what_differs_is_written():
    assert changed_options(SegmentSettings()) == {}
    assert Controls.of(START).settings(START, 20) == SegmentSettings(backbone="mini")


def test_steps_that_the_start_names_in_its_refinement_can_be_left_out_on_the_page():
    start = replace(START, refinement=Refinement(steps=["pamr"], pamr_iterations=2))
    shown = Controls.of(start)
    assert shown.settings(start, 20).refinement_steps().steps == ["pamr"]
    without = replace(shown, refine=()).settings(start, 20)
    assert without.refinement_steps().steps == []
    assert without.refinement.pamr_iterations == 2


def test_the_controls_of_a_preset_are_its_options():
    start = replace(START, backbone="photo", preset="recommended")
    settings = Controls.of(start.with_preset()).settings(start, 20)
    assert settings.preset is None
    assert settings == replace(settings, **{k: v for k, v in changed_options(settings).items()})


def test_files_are_those_of_segment(tab, backbones, mini, photo, tmp_path):
    shown = answer(tab.session, backbones, tab.session.picture(photo), WORDS, chosen())
    alone = ca_seg.segment(photo, list(WORDS), settings=chosen(), backbone=mini)
    written = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in export(shown, tmp_path / "a", cutout="grass")}
    alone.save(tmp_path / "b", ["mask", "overlay", "heatmaps", "json", "coco"])
    alone.save_cutout("grass", tmp_path / "b")
    for name, content in written.items():
        assert Path(tmp_path / "b" / name).read_bytes() == content, name
    assert {p.suffix for p in written} == {".png", ".json"}
