"""Details of HunyuanImage: models that are not distilled, its template, quotes, and masked padding."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.errors import UserError
from tests.small_models import small_model
from tests.tiny_chat_pipelines import hunyuan_image_template
from tests.tiny_families import Run

FAMILY = find_family("hunyuan-image")
PADDED = 1000  # by the stock pipeline
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])


@torch.no_grad()
def test_a_model_that_is_not_distilled_gets_neither_guidance_nor_timestep_r():
    run = Run("hunyuan-image")
    pipeline = run.pipeline
    pipeline.transformer = type(pipeline.transformer)(
        **small_model(FAMILY).config | {"guidance_embeds": False, "use_meanflow": False}
    ).eval()
    _, [call, _] = run.generate(prompt=PROMPT)
    text = backbone_of(pipeline, "hunyuan-image-2.1", resolution=96).text.prompt([PROMPT])
    ours = FAMILY.inputs(pipeline.transformer, call["hidden_states"], text, call["timestep"] / 1000, 3.0)
    argument_names = {name for name, value in ours.items() if value is not None}
    assert argument_names == {name for name, value in call.items() if isinstance(value, torch.Tensor)}
    assert not argument_names & {"guidance", "timestep_r"}


@torch.no_grad()
def test_word_tokens_are_the_words_and_nothing_of_the_template():
    pipeline, length = Run("hunyuan-image").pipeline, 8
    texts = ["red traffic light", "cat", "the system"]  # a word of the template itself
    ids = pipeline.tokenizer(
        [hunyuan_image_template().format(text) for text in texts],
        padding="max_length",
        max_length=34 + length,
        return_tensors="pt",
    ).input_ids[:, 34:]
    long = FAMILY.encode_text(pipeline, texts, PADDED)
    for text, row, short, whole in zip(texts, ids, FAMILY.encode_text(pipeline, texts, length), long, strict=True):
        assert pipeline.tokenizer.decode(row[short.is_word]).split() == text.split()
        assert short.mask.sum() == whole.mask.sum() == len(text.split()) + 1  # and the end of the user's turn
        assert torch.equal(short.hidden, whole.hidden[:length])


def test_a_text_in_quotes_is_named():
    pipeline = Run("hunyuan-image").pipeline
    with pytest.raises(UserError, match="the grass"):
        FAMILY.encode_text(pipeline, ['a cat on "the grass"'], 8)


@torch.no_grad()
def test_padding_and_the_zeros_of_the_second_encoder_have_no_effect():
    """The same recording from a prompt without its padding, and with noise instead."""
    backbone = Run("hunyuan-image").backbone
    latents, timestep = torch.randn(1, *small_model(FAMILY).latents), torch.tensor([0.4])
    text = backbone.text.prompt([PROMPT])
    assert text.hidden.shape == (1, PADDED, 24)
    used = int(text.mask.sum())
    assert 0 < used < PADDED
    noise = torch.where(text.mask[..., None], text.hidden, torch.randn(text.hidden.shape))
    whole, short, noisy = (
        backbone.record_latents(latents, t, timestep, layers=[3]).streams
        for t in (text, TextTokens(text.hidden[:, :used]), TextTokens(noise, mask=text.mask))
    )
    for a, b, c in zip(whole, short, noisy, strict=True):
        torch.testing.assert_close(a.output, b.output, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a.output, c.output, atol=1e-5, rtol=1e-5)
