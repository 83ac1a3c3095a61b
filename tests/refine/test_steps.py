"""Refinement steps in an evaluation: named, in order, checked before a run, and off unless asked for."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary, load_backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import UnknownName, UserError
from ca_seg.refine.attention import propagate
from ca_seg.refine.pamr import pamr
from ca_seg.refine.steps import Refinement, list_refinements, refinement

NAMES = ("cat", "grass", "sky")
IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def _recorded(*, queries=False, **options):
    config = ReadoutConfig(**options)
    read = config.record(load_backbone("mini", resolution=64), IMAGE, [0], queries=queries)
    return read, read.maps(Vocabulary.from_names(NAMES))


def test_without_steps_there_is_no_function():
    assert refinement(Refinement(), NAMES) is None


def test_steps_run_in_their_order():
    read, maps = _recorded(queries=True)
    refine = refinement(Refinement(["attention", "pamr"], attention_layer=1, pamr_iterations=3), NAMES)
    stream = read.recording.streams[1]
    expected = pamr(propagate(maps, stream.query, stream.key), IMAGE, iterations=3)
    torch.testing.assert_close(refine(maps, IMAGE, read), expected)


@pytest.mark.parametrize("step", list_refinements())
def test_every_step_gives_maps_of_all_classes(step):
    read, maps = _recorded(queries=True)
    refined = refinement(Refinement([step], background="sky"), NAMES)(maps, IMAGE, read)
    assert refined.shape[:2] == (1, len(NAMES))
    assert refined.isfinite().all()
    assert (refined.shape[-2:] == IMAGE.shape[-2:]) == Refinement([step]).full_size


def test_a_background_threshold_needs_the_background_among_the_classes():
    read, maps = _recorded()
    refine = refinement(Refinement(["background"], background="sky", background_threshold=1.0), NAMES)
    assert refine(maps, IMAGE, read).argmax(dim=1).unique().tolist() == [2]
    assert torch.equal(refine(maps[:, :2], IMAGE, read), maps[:, :2])


def test_invalid_settings_raise_before_a_run():
    with pytest.raises(UnknownName, match="'pamr'"):
        refinement(Refinement(["pam"]), NAMES)
    with pytest.raises(UserError, match="sofa"):
        refinement(Refinement(["background"], background="sofa"), NAMES)
    read, maps = _recorded()
    with pytest.raises(UserError, match="attention"):
        refinement(Refinement(["attention"]), NAMES)(maps, IMAGE, read)


def test_flip_averages_two_views():
    words = Vocabulary.from_names(NAMES)
    plain, _ = _recorded()
    both, maps = _recorded(flip=True)
    flipped = ReadoutConfig().record(load_backbone("mini", resolution=64), IMAGE.flip(-1), [0]).maps(words).flip(-1)
    torch.testing.assert_close(maps, (plain.maps(words) + flipped) / 2)
    torch.testing.assert_close(both.select(0).maps(words), maps, atol=1e-6, rtol=1e-5)
