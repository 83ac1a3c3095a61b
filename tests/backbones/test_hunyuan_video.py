"""HunyuanVideo against its stock pipeline: tiny encoders, autoencoder and transformer of the real classes."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.errors import UserError
from tests.small_models import small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_text import WORDS, tiny_tokenizer

FAMILY = find_family("hunyuan-video")
LENGTH = 8
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])
MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def chat_tokenizer():
    """Words and marks are tokens; as many start tokens as make the template's head 95 tokens, as Llama's is."""
    head = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0]
    words = re.sub(r"<\|.*?\|>", " ", head).split()
    special = ["<pad>", "<unk>", "<s>", *MARKS]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys([*words, *WORDS])])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in special])
    missing = DEFAULT_PROMPT_TEMPLATE["crop_start"] - len(tokenizer.encode(head).ids)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(["<s>"] * missing + ["$A"]), special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="<|eot_id|>"
    )


def tiny_hunyuan_video():
    words = chat_tokenizer()
    torch.manual_seed(0)
    llama = LlamaModel(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=256,
            pad_token_id=words.pad_token_id,
        )
    ).eval()
    clip_words = tiny_tokenizer(length=77, start="<s>", end="</s>")
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=40,
            hidden_size=20,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            eos_token_id=clip_words.eos_token_id,
        )
    ).eval()
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4
    ).eval()
    pipeline = HunyuanVideoPipeline(
        llama, words, small_transformer(FAMILY), vae, FlowMatchEulerDiscreteScheduler(), clip, clip_words
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def backbone_with(pipeline):
    backbone = backbone_of(pipeline, "hunyuan-video", resolution=48)
    backbone.text.length = LENGTH
    return backbone


def generate(pipeline, **changes):
    """Two steps of the stock pipeline on a clip of 5 frames; with the arguments of its transformer's calls."""
    usual = {"prompt": PROMPT, "num_frames": 5, "guidance_scale": 6.0, "max_sequence_length": LENGTH}
    return stock_run(pipeline, **usual | changes)


@torch.no_grad()
def test_our_arguments_are_those_of_the_stock_pipeline():
    pipeline = tiny_hunyuan_video()
    backbone = backbone_with(pipeline)
    _, calls = generate(pipeline)
    text = backbone.text.prompt([PROMPT])
    for call, sigma in zip(calls, pipeline.scheduler.sigmas[:2], strict=True):
        ours = FAMILY.inputs(pipeline.transformer, call["hidden_states"], text, sigma[None], 6.0)
        assert set(ours) == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
        for name, value in ours.items():
            torch.testing.assert_close(value, call[name], msg=lambda text, name=name: f"{name}: {text}")
        assert FAMILY.grid(pipeline.transformer, call) == small_model(FAMILY).grid
        assert set(FAMILY.concept_inputs(pipeline.transformer, call)) == {"timestep", "guidance", "hidden_states"}


@torch.no_grad()
def test_prompt_arguments_generate_what_the_prompt_does():
    pipeline = tiny_hunyuan_video()
    arguments = FAMILY.prompt_arguments(backbone_with(pipeline).text.prompt([PROMPT]))
    assert torch.equal(generate(pipeline, prompt=None, **arguments)[0], generate(pipeline)[0])


@torch.no_grad()
def test_own_tokens_are_the_words_and_nothing_of_the_template():
    pipeline = tiny_hunyuan_video()
    texts = ["red traffic light", "cat", "the user"]  # a word of the template itself
    ids = pipeline.tokenizer(
        [DEFAULT_PROMPT_TEMPLATE["template"].format(text) for text in texts],
        padding="max_length",
        max_length=95 + LENGTH,
        return_tensors="pt",
    ).input_ids[:, 95:]
    for text, row, encoded in zip(texts, ids, FAMILY.encode_text(pipeline, texts, LENGTH), strict=True):
        assert pipeline.tokenizer.decode(row[encoded.is_word]).split() == text.split()
        assert encoded.mask.sum() == len(text.split()) + 1  # and the end of the user's turn
        assert encoded.hidden.shape == (LENGTH, 24)
        assert encoded.pooled.shape == (20,)
    [empty] = FAMILY.encode_text(pipeline, [""], LENGTH)
    assert empty.is_word.nonzero().flatten().tolist() == [0]


def test_a_text_that_is_too_long_is_named():
    pipeline = tiny_hunyuan_video()
    assert FAMILY.encode_text(pipeline, ["red " * 6 + "cat"], LENGTH)[0].is_word.sum() == 7
    with pytest.raises(UserError, match=r"'red red .*9 tokens.*at most 8"):
        FAMILY.encode_text(pipeline, ["red " * 7 + "cat"], LENGTH)


@torch.no_grad()
def test_the_pipeline_decodes_our_clean_latents_to_the_autoencoders_own_image():
    pipeline = tiny_hunyuan_video()
    clip = torch.rand(1, 3, 5, 48, 80)
    latents = backbone_with(pipeline).encode(clip)
    assert latents.shape[1:] == small_model(FAMILY).latents
    made, _ = generate(pipeline, callback_on_step_end=lambda *_: {"latents": latents})
    code = pipeline.vae.encode(2 * clip - 1).latent_dist.mode()
    expected = (pipeline.vae.decode(code).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(made.transpose(1, 2), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_padding_of_the_prompt_is_not_seen():
    """The same recording from a prompt without its padding."""
    backbone = backbone_with(tiny_hunyuan_video())
    latents, when = torch.randn(1, *small_model(FAMILY).latents), torch.tensor([0.4])
    text = backbone.text.prompt([PROMPT])
    used = int(text.mask.sum())
    assert 0 < used < LENGTH
    bare = TextTokens(text.hidden[:, :used], text.pooled)
    noise = torch.where(text.mask[..., None], text.hidden, torch.randn(text.hidden.shape))
    whole, short, other = (
        backbone.record_latents(latents, t, when, layers=[3]).streams
        for t in (text, bare, TextTokens(noise, text.pooled, text.mask))
    )
    for a, b, c in zip(whole, short, other, strict=True):
        torch.testing.assert_close(a.output, b.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.output, c.output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_images_and_clips_are_recorded_and_asked():
    backbone = backbone_with(tiny_hunyuan_video())
    image = backbone.record(torch.rand(2, 3, 30, 50), layers=[1, 3])
    maps = image.ask(VOCABULARY).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
    clip = backbone.record(torch.rand(1, 3, 6, 48, 80), layers=[1, 3])  # lengthened to 9 frames
    assert clip.grid.frames == 3
    assert clip.ask(VOCABULARY).maps().shape == (1, 3, 3, 3, 5)


@torch.no_grad()
def test_a_trace_leaves_what_is_generated_bit_identical():
    pipeline = tiny_hunyuan_video()
    plain, _ = generate(pipeline)
    with GenerationTrace(backbone_with(pipeline), VOCABULARY, layers=[0, 3]) as trace:
        traced, _ = generate(pipeline)
    assert torch.equal(plain, traced)
    assert trace.steps == 2
    torch.testing.assert_close(trace.maps().sum(dim=1), torch.ones(1, 2, 3, 5))
