"""Maps gathered while the stock pipeline generates, against the naive loop at every step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from benchmarks.naive_flux import naive_flux
from ca_seg import Vocabulary
from ca_seg.backbones.generate import generate
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.loading.partial import skip_later_blocks
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_flux import small_backbone

WORDS = Vocabulary.from_names(["cat", "grass", "sky"])
SIZE = {"height": 48, "width": 80}


def _stock_run(backbone, calls):
    text = backbone.text.prompt(["a cat"])
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=backbone.autoencoder,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        transformer=backbone.transformer,
    )
    pipeline.set_progress_bar_config(disable=True)
    hook = backbone.transformer.register_forward_pre_hook(lambda m, a, k: calls.append(k), with_kwargs=True)
    output = pipeline(
        prompt_embeds=text.hidden,
        pooled_prompt_embeds=text.pooled,
        num_inference_steps=3,
        guidance_scale=0.0,
        generator=torch.Generator().manual_seed(4),
        **SIZE,
    )
    hook.remove()
    return output.images


@torch.no_grad()
def test_generated_maps_equal_the_naive_loop_over_the_stock_steps():
    backbone, calls = small_backbone(), []
    stock = _stock_run(backbone, calls)
    result = generate(backbone, "a cat", WORDS, steps=3, seed=4, layers=[0, 2], **SIZE)
    assert result.images[0].tobytes() == stock[0].tobytes()
    concepts = backbone.text.concepts(WORDS.concepts, "first")
    total = torch.zeros(1, 3, 15)
    for call in calls:
        layers = naive_flux(
            backbone.transformer,
            call["hidden_states"],
            call["encoder_hidden_states"],
            call["pooled_projections"],
            concepts.hidden,
            concepts.pooled,
            call["timestep"],
            call["img_ids"],
        )
        for layer in (0, 2):
            raw = layers[layer]["concept_output"] @ layers[layer]["image_output"].transpose(1, 2)
            total += raw.softmax(dim=1) / (2 * len(calls))
    small = torch.nn.functional.interpolate(total.unflatten(2, (3, 5)), (48, 80), mode="bilinear")
    torch.testing.assert_close(result.maps, small, atol=1e-5, rtol=1e-4)


def test_hooks_are_removed_after_an_exception():
    backbone = small_backbone()
    with pytest.raises(RuntimeError), GenerationTrace(backbone, WORDS, layers=[0]):
        backbone.transformer(
            hidden_states=torch.randn(1, 15, 3),
            encoder_hidden_states=torch.randn(1, 2, 24),
            pooled_projections=torch.randn(1, 20),
            timestep=torch.tensor([0.5]),
            img_ids=torch.zeros(15, 3),
            txt_ids=torch.zeros(2, 3),
        )
    blocks = backbone.family.blocks(backbone.transformer)
    assert not backbone.transformer._forward_pre_hooks
    assert not backbone.transformer._forward_hooks
    assert not any(b._forward_hooks or b._forward_pre_hooks for b in blocks)


def test_a_backbone_without_its_last_blocks_names_the_option():
    backbone = small_backbone()
    skip_later_blocks(backbone.family, backbone.transformer, 3)
    with pytest.raises(UserError, match="last_layer=4"):
        generate(backbone, "a cat", WORDS, steps=1, **SIZE)


def test_a_name_a_prompt_and_words_are_enough():
    result = generate("mini", "a cat on grass", ["cat", "grass"], steps=1)
    side = find_card("mini").resolution
    assert result.images[0].size == (side, side)
    assert result.maps.shape == (1, 2, side, side)
    torch.testing.assert_close(result.maps.sum(dim=1), torch.ones(1, side, side))


def test_words_are_accepted_where_a_vocabulary_is():
    backbone, image = small_backbone(), torch.rand(1, 3, 48, 80)
    backbone.card = replace(backbone.card, layers=(0, 2))
    expected = backbone.maps(image, Vocabulary.from_names(["cat", "grass"]))
    assert torch.equal(backbone.maps(image, ["cat", "grass"]), expected)
    assert torch.equal(backbone.maps(image, {"cat": "cat", "grass": ["grass"]}), expected)
    features = backbone.record(image).ask("cat")
    assert features.vocabulary.classes == ("cat",)
    with GenerationTrace(backbone, ["cat", "grass"]) as trace:
        assert trace.vocabulary.classes == ("cat", "grass")
