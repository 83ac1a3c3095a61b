"""Refinement steps: named by the user or the backbone's card, in order, and checked before a run."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary, list_backbones, load_backbone, segment
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.errors import UnknownName, UserError
from ca_seg.refine.attention import propagate
from ca_seg.refine.balance import balanced
from ca_seg.refine.pamr import coarse_pamr, pamr
from ca_seg.refine.promptable import PromptableSegmenter
from ca_seg.refine.steps import Refinement, list_refinements, refinement
from tests.refine.small_sam import small_sam2

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
    ready = PromptableSegmenter(*small_sam2()) if step == "sam" else None
    settings = Refinement([step], background="sky", coarse_pamr_side=32)
    refined = refinement(settings, NAMES, segmenter=ready)(maps, IMAGE, read)
    assert refined.shape[:2] == (1, len(NAMES))
    assert refined.isfinite().all()
    assert (refined.shape[-2:] == IMAGE.shape[-2:]) == Refinement([step]).full_size


@pytest.mark.parametrize("step", list_refinements())
def test_steps_that_say_so_keep_probabilities(step):
    if not Refinement([step]).keeps_probabilities:
        assert step not in ("pamr", "coarse-pamr")
        return
    read, maps = _recorded(queries=True)
    refined = refinement(Refinement([step], coarse_pamr_side=32), NAMES)(maps, IMAGE, read)
    torch.testing.assert_close(refined.sum(dim=1), torch.ones_like(refined[:, 0]))
    assert refined.min() >= 0


def test_the_card_names_the_steps_unless_the_user_does():
    card = find_card("photo").refine
    assert card == ("balance", "coarse-pamr")
    assert Refinement(pamr_iterations=3).of_backbone("photo") == Refinement(list(card), pamr_iterations=3)
    assert Refinement(["none"]).of_backbone("photo").steps == []
    assert Refinement([]).of_backbone("photo").steps == []
    assert Refinement(["pamr"]).of_backbone("photo").steps == ["pamr"]
    assert Refinement().of_backbone("photo", head=True).steps == []
    assert Refinement().of_backbone("mini").steps == []


def test_balance_acts_on_words_that_are_known_to_be_there():
    read, maps = _recorded()
    refine = refinement(Refinement(["balance"], balance_power=0.8, balance_least=0.01), NAMES)
    assert torch.equal(refine(maps, IMAGE, read), maps)
    torch.testing.assert_close(refine(maps, IMAGE, read, known=True), balanced(maps, power=0.8, least=0.01))


def test_every_card_names_known_steps():
    for name in list_backbones():
        assert set(find_card(name).refine) <= set(list_refinements())


def test_segment_refines_as_the_card_says():
    image = (IMAGE[0].permute(1, 2, 0) * 255).byte().numpy()
    by_card, plain, named = (
        segment(image, list(NAMES), backbone="photo", refine=refine)
        for refine in (None, "none", ("balance", "coarse-pamr"))
    )
    assert torch.equal(by_card.maps, named.maps)
    assert by_card.maps.shape != plain.maps.shape or not torch.equal(by_card.maps, plain.maps)
    expected = coarse_pamr(balanced(plain.maps), torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(by_card.maps, expected)


def test_words_are_not_balanced_against_background_words():
    image = (IMAGE[0].permute(1, 2, 0) * 255).byte().numpy()
    alone, both = (segment(image, ["cat"], backbone="mini", refine=refine) for refine in ("none", "balance"))
    assert torch.equal(alone.maps, both.maps)
    words, balance = (segment(image, list(NAMES), backbone="mini", refine=refine) for refine in ("none", "balance"))
    torch.testing.assert_close(balance.maps, balanced(words.maps))


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
