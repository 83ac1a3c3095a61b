"""Details of Mochi: rows of a batch with different padding, the prompt's pooled vector, clips of 6k + 1 frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import find_family
from ca_seg.concept.known_words import KnownWords
from tests.tiny_families import Run

FAMILY = find_family("mochi")
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
PHRASES = [["red traffic light"], ["grass"]]
PROMPTS = [phrase for [phrase] in PHRASES]  # of 4 and 2 tokens, of the 7 that the encoder pads to
close = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def backbone():
    return Run("mochi").backbone


@torch.no_grad()
def test_prompts_of_different_lengths_in_one_pass_equal_a_pass_each(backbone):
    images = torch.rand(2, 3, 48, 80)
    options = {"layers": [0, 2], "timesteps": [0.3, 0.8]}
    both = backbone.record(images, prompt=PROMPTS, prompt_phrases=PHRASES, seed=[3, 4], **options)
    asked = both.ask_images({0: WORDS, 1: WORDS})
    for index in range(2):
        alone = backbone.record(
            images[index : index + 1],
            prompt=PROMPTS[index],
            prompt_phrases=PHRASES[index : index + 1],
            seed=3 + index,
            **options,
        )
        maps = alone.ask(WORDS).maps()
        torch.testing.assert_close(both.ask(WORDS).maps()[index : index + 1], maps, **close)
        torch.testing.assert_close(asked[index].maps(), maps, **close)
        word = PHRASES[index][-1]
        together, single = both.select(index).prompt, alone.prompt
        for ours, theirs in zip(together.words, single.words, strict=True):
            torch.testing.assert_close(together.of_phrases(ours, [word]), single.of_phrases(theirs, [word]), **close)


@torch.no_grad()
def test_a_word_does_not_depend_on_those_that_are_asked_with_it(backbone):
    """The logits of a class, before the softmax: alone, with others in one pass, and after others."""
    recording = backbone.record(torch.rand(2, 3, 48, 80), prompt=PROMPTS, layers=[1])
    alone = recording.ask(["cat"]).maps(softmax=False)
    apart, _ = recording.ask_each([["cat"], WORDS])
    torch.testing.assert_close(apart.maps(softmax=False), alone, **close)
    again = backbone.record(torch.rand(2, 3, 48, 80), prompt=PROMPTS, layers=[1])
    with_others, cat = again.ask(WORDS), again.ask(["cat"])
    fresh = replace(again, modulation=type(again.modulation)())
    assert torch.equal(cat.maps(softmax=False), fresh.ask(["cat"]).maps(softmax=False))
    assert not torch.equal(with_others.maps(softmax=False)[:, :1], cat.maps(softmax=False))  # they attend to each other


@torch.no_grad()
def test_known_words_give_the_maps_of_any_words(backbone):
    images, options = torch.rand(2, 3, 48, 80), {"prompt": PROMPTS, "layers": [0, 2], "noise_samples": 2}
    known = backbone.record(images, known=KnownWords((WORDS,)), **options)
    torch.testing.assert_close(known.ask(WORDS).maps(), backbone.record(images, **options).ask(WORDS).maps(), **close)


@torch.no_grad()
def test_a_clip_of_another_length_is_extended_to_whole_latent_frames(backbone):
    clip = torch.rand(1, 3, 9, 48, 80)  # 13 frames: 3 latent frames
    backbone.card = replace(backbone.card, layers=(0, 2))
    maps = backbone.maps(clip, WORDS)
    assert maps.shape == (1, 3, 9, 48, 80)
    assert torch.equal(maps[:, :, 1], maps[:, :, 6])  # frames 1 to 6 share a latent frame
    assert not torch.equal(maps[:, :, 0], maps[:, :, 1])
    assert not torch.equal(maps[:, :, 6], maps[:, :, 7])


@torch.no_grad()
def test_a_pipeline_that_zeroes_empty_prompts_keeps_the_others():
    pipeline = Run("mochi").pipeline
    pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    cat, empty = FAMILY.encode_text(pipeline, ["cat", ""], 7)
    assert cat.mask.tolist() == [True, True, *[False] * 5]
    assert not empty.mask.any()
