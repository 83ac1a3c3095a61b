"""HunyuanImage against its stock pipeline: tiny encoders, autoencoder and transformer of the real classes."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from diffusers import AutoencoderKLHunyuanImage, FlowMatchEulerDiscreteScheduler, HunyuanImagePipeline
from transformers import (
    ByT5Tokenizer,
    T5Config,
    T5EncoderModel,
)

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_models import small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_parts import tiny_qwen_vl
from tests.tiny_text import chat_tokenizer

FAMILY = find_family("hunyuan-image")
PADDED = 1000  # by the stock pipeline
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])


@cache
def template():
    return HunyuanImagePipeline(*[None] * 7).prompt_template_encode


def tiny_hunyuan_image():
    words = chat_tokenizer(template().split("{}")[0], 34)
    qwen = tiny_qwen_vl(words, layers=3)
    letters = T5EncoderModel(T5Config(vocab_size=384, d_model=1472, d_kv=8, d_ff=8, num_layers=1, num_heads=2)).eval()
    vae = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32,) * 6,
        layers_per_block=1,
        spatial_compression_ratio=32,
        sample_size=384,
        scaling_factor=0.75289,
    ).eval()
    pipeline = HunyuanImagePipeline(
        FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae,
        qwen,
        words,
        letters,
        ByT5Tokenizer(),
        small_transformer(FAMILY),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def backbone_with(pipeline):
    return backbone_of(pipeline, "hunyuan-image-2.1", resolution=96)


def generate(pipeline, **changes):
    """Two steps of the stock pipeline, with the arguments of its transformer's calls."""
    usual = {"prompt": PROMPT, "height": 96, "width": 160, "distilled_guidance_scale": 3.0}
    return stock_run(pipeline, **usual | changes)


@torch.no_grad()
def test_our_arguments_are_those_of_the_stock_pipeline():
    """The small model is distilled: its step's end is 0 in the pipeline's last step alone."""
    pipeline = tiny_hunyuan_image()
    backbone = backbone_with(pipeline)
    _, calls = generate(pipeline)
    text = backbone.text.prompt([PROMPT])
    assert text.hidden.shape == (1, PADDED, 24)
    for step, (call, sigma) in enumerate(zip(calls, pipeline.scheduler.sigmas[:2], strict=True)):
        ours = FAMILY.inputs(pipeline.transformer, call["hidden_states"], text, sigma[None], 3.0)
        assert set(ours) == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
        for name, value in ours.items():
            if name != "timestep_r" or step == 1:
                torch.testing.assert_close(value, call[name], msg=lambda text, name=name: f"{name}: {text}")
        assert FAMILY.grid(pipeline.transformer, call) == small_model(FAMILY).grid
        concept_inputs = FAMILY.concept_inputs(pipeline.transformer, call)
        assert set(concept_inputs) - {"attention_kwargs"} == {"timestep", "timestep_r", "guidance", "hidden_states"}


@torch.no_grad()
def test_a_model_that_is_not_distilled_is_given_neither_guidance_nor_the_steps_end():
    pipeline = tiny_hunyuan_image()
    pipeline.transformer = type(pipeline.transformer)(
        **small_model(FAMILY).config | {"guidance_embeds": False, "use_meanflow": False}
    ).eval()
    _, [call, _] = generate(pipeline)
    text = backbone_with(pipeline).text.prompt([PROMPT])
    ours = FAMILY.inputs(pipeline.transformer, call["hidden_states"], text, call["timestep"] / 1000, 3.0)
    given = {name for name, value in ours.items() if value is not None}
    assert given == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
    assert not given & {"guidance", "timestep_r"}


@torch.no_grad()
def test_prompt_arguments_generate_what_the_prompt_does():
    pipeline = tiny_hunyuan_image()
    arguments = FAMILY.prompt_arguments(backbone_with(pipeline).text.prompt([PROMPT]))
    assert torch.equal(generate(pipeline, prompt=None, **arguments)[0], generate(pipeline)[0])


@torch.no_grad()
def test_own_tokens_are_the_words_and_nothing_of_the_template():
    pipeline, length = tiny_hunyuan_image(), 8
    texts = ["red traffic light", "cat", "the system"]  # a word of the template itself
    ids = pipeline.tokenizer(
        [template().format(text) for text in texts], padding="max_length", max_length=34 + length, return_tensors="pt"
    ).input_ids[:, 34:]
    long = FAMILY.encode_text(pipeline, texts, PADDED)
    for text, row, short, whole in zip(texts, ids, FAMILY.encode_text(pipeline, texts, length), long, strict=True):
        assert pipeline.tokenizer.decode(row[short.is_word]).split() == text.split()
        assert short.mask.sum() == whole.mask.sum() == len(text.split()) + 1  # and the end of the user's turn
        assert torch.equal(short.hidden, whole.hidden[:length])


def test_a_text_that_is_too_long_or_in_quotes_is_named():
    pipeline = tiny_hunyuan_image()
    with pytest.raises(UserError, match=r"'red red .*9 tokens.*at most 8"):
        FAMILY.encode_text(pipeline, ["red " * 7 + "cat"], 8)
    with pytest.raises(UserError, match="without quotes"):
        FAMILY.encode_text(pipeline, ['a cat on "the grass"'], 8)


@torch.no_grad()
def test_the_pipeline_decodes_our_clean_latents_to_the_autoencoders_own_image():
    pipeline = tiny_hunyuan_image()
    image = torch.rand(1, 3, 96, 160)
    latents = backbone_with(pipeline).encode(image)
    assert latents.shape[1:] == small_model(FAMILY).latents
    made, _ = generate(pipeline, callback_on_step_end=lambda *_: {"latents": latents})
    code = pipeline.vae.encode(2 * image - 1).latent_dist.mode()
    torch.testing.assert_close(made, (pipeline.vae.decode(code).sample / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_and_the_second_encoders_zeros_are_not_seen():
    """The same recording from a prompt without its padding, and with noise in its place."""
    backbone = backbone_with(tiny_hunyuan_image())
    latents, when = torch.randn(1, *small_model(FAMILY).latents), torch.tensor([0.4])
    text = backbone.text.prompt([PROMPT])
    used = int(text.mask.sum())
    assert 0 < used < PADDED
    noise = torch.where(text.mask[..., None], text.hidden, torch.randn(text.hidden.shape))
    whole, short, other = (
        backbone.record_latents(latents, t, when, layers=[3]).streams
        for t in (text, TextTokens(text.hidden[:, :used]), TextTokens(noise, mask=text.mask))
    )
    for a, b, c in zip(whole, short, other, strict=True):
        torch.testing.assert_close(a.output, b.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.output, c.output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_trace_leaves_what_is_generated_bit_identical():
    pipeline = tiny_hunyuan_image()
    plain, _ = generate(pipeline)
    with GenerationTrace(backbone_with(pipeline), VOCABULARY, layers=[0, 3]) as trace:
        traced, _ = generate(pipeline)
    assert torch.equal(plain, traced)
    assert trace.steps == 2
    torch.testing.assert_close(trace.maps().sum(dim=1), torch.ones(1, 3, 5))


@torch.no_grad()
def test_a_image_is_recorded_and_asked():
    maps = backbone_with(tiny_hunyuan_image()).record(torch.rand(2, 3, 60, 100), layers=[1, 3]).ask(VOCABULARY).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
