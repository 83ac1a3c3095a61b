"""AuraFlow against its stock pipeline: tiny encoder, autoencoder and transformer of the real classes."""

from __future__ import annotations

import pytest
import torch
from diffusers import AuraFlowPipeline, FlowMatchEulerDiscreteScheduler
from transformers import UMT5Config, UMT5EncoderModel

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.errors import UserError
from tests.small_models import small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_parts import tiny_autoencoder
from tests.tiny_text import tiny_tokenizer

FAMILY = find_family("auraflow")
LENGTH = 8
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])


def tiny_auraflow(padding_side="right"):
    words = tiny_tokenizer(length=LENGTH)
    words.padding_side = padding_side
    torch.manual_seed(0)
    encoder = UMT5EncoderModel(UMT5Config(vocab_size=40, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2))
    vae = tiny_autoencoder(scaling_factor=0.13025, shift_factor=None)
    pipeline = AuraFlowPipeline(
        words, encoder.eval(), vae, small_transformer(FAMILY), FlowMatchEulerDiscreteScheduler(shift=1.73)
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def backbone_with(pipeline):
    backbone = backbone_of(pipeline, "auraflow-v0.3", resolution=48)
    backbone.text.length = LENGTH
    return backbone


def generate(pipeline, **changes):
    """Two steps of the stock pipeline, with the arguments of its transformer's calls."""
    return stock_run(pipeline, **{"prompt": PROMPT, "guidance_scale": 4.0, "max_sequence_length": LENGTH} | changes)


@torch.no_grad()
def test_our_arguments_are_those_of_the_stock_pipeline():
    """Of the rows of the prompt; those of the negative prompt stand before them."""
    pipeline = tiny_auraflow()
    backbone = backbone_with(pipeline)
    _, calls = generate(pipeline)
    text = backbone.text.prompt([PROMPT])
    assert pipeline.scheduler.sigmas[1] not in (0.5, 0.0)  # a step in between
    for call, sigma in zip(calls, pipeline.scheduler.sigmas[:2], strict=True):
        ours = FAMILY.inputs(pipeline.transformer, call["hidden_states"][1:], text, sigma[None], 4.0)
        assert set(ours) == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
        for name, value in ours.items():
            torch.testing.assert_close(value, call[name][1:], msg=lambda text, name=name: f"{name}: {text}")
        assert FAMILY.grid(pipeline.transformer, call) == small_model(FAMILY).grid
        assert set(FAMILY.concept_inputs(pipeline.transformer, call)) == {"timestep", "hidden_states"}


@torch.no_grad()
def test_prompt_arguments_generate_what_the_prompt_does():
    pipeline = tiny_auraflow()
    arguments = FAMILY.prompt_arguments(backbone_with(pipeline).text.prompt([PROMPT]))
    ours, _ = generate(pipeline, prompt=None, guidance_scale=1.0, **arguments)
    assert torch.equal(ours, generate(pipeline, guidance_scale=1.0)[0])
    guided, calls = generate(pipeline, prompt=None, **arguments)
    assert len(calls[0]["hidden_states"]) == 2
    assert not torch.equal(guided, ours)


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_own_tokens_are_the_words_on_whichever_side_the_padding_is(side):
    pipeline = tiny_auraflow(side)
    texts = ["red traffic light", "cat"]
    ids = pipeline.tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
    for text, row, encoded in zip(texts, ids, FAMILY.encode_text(pipeline, texts, LENGTH), strict=True):
        assert pipeline.tokenizer.decode(row[encoded.is_word]).split() == text.split()
        padding = row == pipeline.tokenizer.pad_token_id
        assert bool((encoded.hidden[padding] == 0).all())
        assert bool((encoded.hidden[~padding] != 0).any(dim=1).all())


def test_a_text_that_is_too_long_is_named():
    with pytest.raises(UserError, match=r"'red red .*9 tokens.*at most 8"):
        FAMILY.encode_text(tiny_auraflow(), ["red " * 7 + "cat"], LENGTH)


@torch.no_grad()
def test_the_pipeline_decodes_our_clean_latents_to_the_autoencoders_own_image():
    pipeline = tiny_auraflow()
    image = torch.rand(1, 3, 48, 80)
    latents = backbone_with(pipeline).encode(image)
    assert latents.shape[1:] == small_model(FAMILY).latents
    made, _ = generate(pipeline, callback_on_step_end=lambda *_: {"latents": latents})
    code = pipeline.vae.encode(2 * image - 1).latent_dist.mode()
    torch.testing.assert_close(made, (pipeline.vae.decode(code).sample / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_image_is_recorded_and_asked_and_concepts_do_not_look_at_registers():
    backbone = backbone_with(tiny_auraflow())
    assert FAMILY.registers(backbone.transformer) == 8
    recording = backbone.record(torch.rand(2, 3, 30, 50), layers=[1, 3])
    maps = recording.ask(VOCABULARY).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
    backbone.transformer.register_tokens.data.normal_()  # other registers, the same recorded image
    torch.testing.assert_close(recording.ask(VOCABULARY).maps(), maps)
