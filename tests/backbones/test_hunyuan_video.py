"""Details of HunyuanVideo: its template, masked padding, and clips."""

from __future__ import annotations

import torch
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from tests.small_models import small_model
from tests.tiny_families import Run

FAMILY = find_family("hunyuan-video")
LENGTH = 8
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])
MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


@torch.no_grad()
def test_word_tokens_are_the_words_and_nothing_of_the_template():
    pipeline = Run("hunyuan-video").pipeline
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


@torch.no_grad()
def test_padding_of_the_prompt_has_no_effect():
    """The same recording from a prompt without its padding."""
    backbone = Run("hunyuan-video").backbone
    latents, timestep = torch.randn(1, *small_model(FAMILY).latents), torch.tensor([0.4])
    text = backbone.text.prompt([PROMPT])
    used = int(text.mask.sum())
    assert 0 < used < LENGTH
    bare = TextTokens(text.hidden[:, :used], text.pooled)
    noise = torch.where(text.mask[..., None], text.hidden, torch.randn(text.hidden.shape))
    whole, short, noisy = (
        backbone.record_latents(latents, t, timestep, layers=[3]).streams
        for t in (text, bare, TextTokens(noise, text.pooled, text.mask))
    )
    for a, b, c in zip(whole, short, noisy, strict=True):
        torch.testing.assert_close(a.output, b.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.output, c.output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_clips_are_recorded_and_asked():
    backbone = Run("hunyuan-video").backbone
    clip = backbone.record(torch.rand(1, 3, 6, 48, 80), layers=[1, 3])  # lengthened to 9 frames
    assert clip.grid.frames == 3
    assert clip.ask(VOCABULARY).maps().shape == (1, 3, 3, 3, 5)
