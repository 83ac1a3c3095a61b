"""Texts in chat templates (Qwen-Image, FLUX.2, FLUX.2-klein), and the positions of Qwen-Image's concepts."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.text.template_tokens import words_by_difference
from tests.small_models import small_model, small_transformer
from tests.tiny_families import Run

LENGTH = 60
PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
TINY = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}


@torch.no_grad()
@pytest.mark.parametrize("name", ["qwen-image", "flux2", "flux2-klein"])
def test_words_before_another_word_stay_the_same(name):
    """The encoders are causal. The template continues after the text, except in FLUX.2."""
    run = Run(name)
    encoded, changed = (
        run.family.encode_text(run.pipeline, [text], run.tiny.length)[0]
        for text in ("red traffic light", "red traffic grass")
    )
    last = int(encoded.is_word.nonzero()[-1])
    torch.testing.assert_close(encoded.hidden[:last], changed.hidden[:last])
    assert not encoded.is_word[-1] or name == "flux2"


@torch.no_grad()
def test_concepts_of_qwen_have_the_first_position_of_a_prompt_after_the_image():
    """Each concept has the rotary position of the first token of a prompt for the same image grid."""
    family = find_family("qwen-image")
    model = small_transformer(family)
    grid, rotations = small_model(family).grid, {}
    hook = model.pos_embed.register_forward_hook(lambda m, a, out: rotations.update(text=out[1]))
    latents = torch.randn(1, *small_model(family).latents)
    inputs = family.inputs(model, latents, TextTokens(torch.randn(1, 3, 24)), torch.tensor([0.5]), 0.0)
    model(**inputs)
    first = rotations["text"][:1]
    hook.remove()
    with family.asking(model, grid):
        hook = model.pos_embed.register_forward_hook(lambda m, a, out: rotations.update(text=out[1]))
        call = family.concept_inputs(model, inputs) | family.text_inputs(
            model, TextTokens(torch.randn(1, 4, 24)), concepts=True
        )
        model(**call)
        hook.remove()
    assert torch.equal(rotations["text"], first.expand(4, -1))


def test_padding_of_prompts_of_two_lengths_is_masked():
    backbone = Run("qwen-image").backbone
    both = backbone.record(torch.rand(2, 3, 48, 80), prompt=["red traffic light", "cat"], layers=[2])
    alone = backbone.record(torch.rand(2, 3, 48, 80), prompt=["red traffic light", "cat"], layers=[2])
    assert both.streams[2].output.shape == alone.streams[2].output.shape
    image = torch.rand(1, 3, 48, 80)
    pair = backbone.record(image.repeat(2, 1, 1, 1), prompt=["red traffic light", "cat"], layers=[2])
    single = backbone.record(image, prompt="cat", layers=[2])
    torch.testing.assert_close(pair.streams[2].output[1:], single.streams[2].output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("filled", "empty", "word_indices"),
    [
        ([1, 2, 7, 8, 3, 4], [1, 2, 3, 4], [2, 3]),
        ([1, 7], [1], [1]),
        ([7, 1], [1], [0]),
        ([1, 2], [1, 2], [1]),
        ([1, 3, 3, 4], [1, 3, 4], [2]),
    ],
)
def test_words_by_difference(filled, empty, word_indices):
    is_word = words_by_difference(torch.tensor(filled), torch.tensor(empty))
    assert is_word.nonzero().flatten().tolist() == word_indices
