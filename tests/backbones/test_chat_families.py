"""Qwen-Image, FLUX.2 and FLUX.2-klein, whose words go through a chat template, against their stock pipelines."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    QwenImagePipeline,
)
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import unpack
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.text.template_tokens import words_by_difference
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_models import small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_parts import tiny_flux2_autoencoder, tiny_qwen_vl
from tests.tiny_text import CHAT, chat_tokenizer

LENGTH = 60
PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
TINY = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}


def tiny_qwen_image():
    template = QwenImagePipeline(None, None, None, None, None).prompt_template_encode
    words = chat_tokenizer(template.split("{}")[0], 34)
    text = tiny_qwen_vl(words, layers=2)
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[1.7] * 4
    ).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = QwenImagePipeline(scheduler, vae, text, words, small_transformer(find_family("qwen-image")))
    return pipeline, "qwen-image", {"true_cfg_scale": 4.0, "negative_prompt": "grass"}


def _flux2(kind, family, text, **more):
    words = chat_tokenizer("user system", 0)
    words.chat_template = CHAT
    torch.manual_seed(0)
    encoder = text(len(words)).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return kind(scheduler, tiny_flux2_autoencoder(), encoder, words, small_transformer(find_family(family)), **more)


def tiny_flux2():
    mistral = lambda size: MistralForCausalLM(MistralConfig(vocab_size=size, num_hidden_layers=31, **TINY))  # noqa: E731
    return _flux2(Flux2Pipeline, "flux2", mistral), "flux2-dev", {"guidance_scale": 3.0}


def tiny_flux2_klein():
    qwen = lambda size: Qwen3ForCausalLM(Qwen3Config(vocab_size=size, num_hidden_layers=28, **TINY))  # noqa: E731
    return _flux2(Flux2KleinPipeline, "flux2-klein", qwen), "flux2-klein-4b", {"guidance_scale": 4.0}


@pytest.fixture(params=[tiny_qwen_image, tiny_flux2, tiny_flux2_klein], ids=["qwen-image", "flux2", "flux2-klein"])
def made(request):
    pipeline, name, settings = request.param()
    pipeline.set_progress_bar_config(disable=True)
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    return pipeline, backbone, settings


def _generate(pipeline, settings):
    return stock_run(pipeline, prompt=PROMPT, max_sequence_length=LENGTH, **settings)


@torch.no_grad()
def test_our_call_is_the_stock_pipelines(made):
    pipeline, backbone, settings = made
    family = backbone.family
    _, calls = _generate(pipeline, settings)
    call = calls[0]
    grid = family.grid(pipeline.transformer, call)
    assert (grid.height, grid.width) == (3, 5)
    tokens = call["hidden_states"]
    latents = unpack(tokens, grid) if family.name == "qwen-image" else tokens.transpose(1, 2).unflatten(2, (3, 5))
    text = backbone.text.prompt([PROMPT])
    ours = family.inputs(pipeline.transformer, latents, text, call["timestep"].float(), 3.0)
    for name, value in ours.items():
        theirs = call.get(name)
        if isinstance(value, torch.Tensor):
            theirs = theirs[0] if name.endswith("ids") and theirs.ndim == 3 else theirs
            torch.testing.assert_close(value, theirs, check_dtype=False, msg=lambda t, n=name: f"{n}: {t}")
        else:
            assert value == theirs, name
    assert {k for k, v in call.items() if isinstance(v, torch.Tensor)} <= set(ours)


def test_a_trace_leaves_what_is_generated_bit_identical_and_leaves_the_negative_prompt_out(made):
    pipeline, backbone, settings = made
    plain, calls = _generate(pipeline, settings)
    with GenerationTrace(backbone, WORDS, layers=[0, 2]) as trace:
        traced, _ = _generate(pipeline, settings)
    assert torch.equal(plain, traced)
    assert len(calls) == (2 if backbone.family.name == "flux2" else 4)
    assert trace.steps == 2
    torch.testing.assert_close(trace.maps().sum(dim=1), torch.ones(1, 3, 5))


@torch.no_grad()
def test_own_tokens_are_the_words(made):
    pipeline, backbone, _ = made
    family = backbone.family
    [encoded] = family.encode_text(pipeline, ["red traffic light"], LENGTH)
    assert encoded.is_word.shape == encoded.hidden.shape[:1]
    places = encoded.is_word.nonzero().flatten()
    assert places.tolist() == list(range(places[0], places[0] + 3))
    assert not encoded.is_word[-1] or family.name == "flux2"
    [other] = family.encode_text(pipeline, ["red traffic grass"], LENGTH)
    last = places[-1]
    torch.testing.assert_close(encoded.hidden[:last], other.hidden[:last])  # a causal encoder: the words before
    assert not torch.allclose(encoded.hidden[last], other.hidden[last])
    [empty] = family.encode_text(pipeline, [""], LENGTH)
    assert int(empty.is_word.sum()) == 1


def test_a_text_that_is_too_long_is_named(made):
    pipeline, backbone, _ = made
    with pytest.raises(UserError, match=r"red red .*at most 60"):
        backbone.family.encode_text(pipeline, ["red " * 70], LENGTH)


@torch.no_grad()
def test_clean_latents_are_undone_by_the_pipelines_decoding(made):
    pipeline, backbone, _ = made
    image = torch.rand(1, 3, 48, 80)
    latents, vae = backbone.encode(image), pipeline.vae
    code = vae.encode((2 * image - 1)[:, :, None] if latents.shape[1] == 4 else 2 * image - 1).latent_dist.mode()
    if backbone.family.name == "qwen-image":
        mean, std = (torch.tensor(x).view(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std))
        undone = latents[:, :, None] * std + mean
    else:
        std = (vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).sqrt()
        undone = pipeline._unpatchify_latents(latents * std + vae.bn.running_mean.view(1, -1, 1, 1))
    torch.testing.assert_close(undone, code, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_images_are_recorded_and_asked(made):
    _, backbone, _ = made
    recording = backbone.record(torch.rand(2, 3, 30, 50), timesteps=[0.2, 0.8], layers=[0, 2])
    maps = recording.ask(WORDS).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(recording.select(1).ask(WORDS).maps()[0], maps[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_qwens_concepts_stand_at_the_first_place_of_a_prompt_behind_the_real_image():
    """A concept alone, asked at once, equals the first token of a one-token prompt that looks at the same image."""
    family = find_family("qwen-image")
    model = small_transformer(family)
    grid, places = small_model(family).grid, {}
    hook = model.pos_embed.register_forward_hook(lambda m, a, out: places.update(text=out[1]))
    latents = torch.randn(1, *small_model(family).latents)
    inputs = family.inputs(model, latents, TextTokens(torch.randn(1, 3, 24)), torch.tensor([0.5]), 0.0)
    model(**inputs)
    first = places["text"][:1]
    hook.remove()
    with family.asking(model, grid):
        hook = model.pos_embed.register_forward_hook(lambda m, a, out: places.update(text=out[1]))
        call = family.concept_inputs(model, inputs) | family.text_inputs(
            model, TextTokens(torch.randn(1, 4, 24)), concepts=True
        )
        model(**call)
        hook.remove()
    assert torch.equal(places["text"], first.expand(4, -1))


def test_padding_of_prompts_of_two_lengths_is_masked():
    pipeline, name, _ = tiny_qwen_image()
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    both = backbone.record(torch.rand(2, 3, 48, 80), prompt=["red traffic light", "cat"], layers=[2])
    alone = backbone.record(torch.rand(2, 3, 48, 80), prompt=["red traffic light", "cat"], layers=[2])
    assert both.streams[2].output.shape == alone.streams[2].output.shape
    image = torch.rand(1, 3, 48, 80)
    pair = backbone.record(image.repeat(2, 1, 1, 1), prompt=["red traffic light", "cat"], layers=[2])
    single = backbone.record(image, prompt="cat", layers=[2])
    torch.testing.assert_close(pair.streams[2].output[1:], single.streams[2].output, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("filled", "empty", "own"),
    [
        ([1, 2, 7, 8, 3, 4], [1, 2, 3, 4], [2, 3]),
        ([1, 7], [1], [1]),
        ([7, 1], [1], [0]),
        ([1, 2], [1, 2], [1]),
        ([1, 3, 3, 4], [1, 3, 4], [2]),
    ],
)
def test_words_by_difference(filled, empty, own):
    found = words_by_difference(torch.tensor(filled), torch.tensor(empty))
    assert found.nonzero().flatten().tolist() == own
