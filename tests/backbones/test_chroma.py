"""Chroma's mask: equal to the stock pipeline's, with the same effect, and absent for concepts."""

from __future__ import annotations

import pytest
import torch

from ca_seg.backbones.families.base import SkippedBlock, TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.loading.partial import skip_later_blocks
from ca_seg.concept.record import record_streams
from tests.small_models import random_latents, random_text, small_transformer
from tests.stock_run import stock_run
from tests.tiny_pipelines import LENGTH, tiny_chroma

FAMILY = find_family("chroma")


@pytest.fixture
def call():
    """A stock call of a prompt of two tokens and an end, padded to seven."""
    pipeline, name, settings = tiny_chroma()
    pipeline.set_progress_bar_config(disable=True)
    _, calls = stock_run(pipeline, prompt="red cat", num_inference_steps=1, max_sequence_length=LENGTH, **settings)
    return pipeline, backbone_of(pipeline, name, resolution=48), calls[0]


def test_one_padding_token_counts_as_text(call):
    pipeline, _, _ = call
    [encoded] = FAMILY.encode_text(pipeline, ["red cat"], LENGTH)
    assert encoded.is_word.tolist() == [True, True, False, False, False, False, False]
    assert encoded.mask.tolist() == [True, True, True, True, False, False, False]


def test_the_mask_is_the_stock_pipelines_with_its_dtype(call):
    """In numbers a mask is added to the logits, as booleans it leaves tokens out: the dtype must agree."""
    _, backbone, stock = call
    backbone.text.length = LENGTH
    latents = random_latents(FAMILY, 1)
    ours = FAMILY.inputs(backbone.transformer, latents, backbone.text.prompt(["red cat"]), torch.tensor([1.0]), 0.0)
    torch.testing.assert_close(ours["attention_mask"], stock["attention_mask"], rtol=0, atol=0)  # dtype and all
    assert ours["attention_mask"].shape == (1, LENGTH + 15)


@torch.no_grad()
def test_a_recording_under_a_mask_is_the_stock_pass(call):
    """Image outputs against plain attention, with the stock mask as torch documents masks."""
    _, backbone, stock = call
    model, mask = backbone.transformer, stock["attention_mask"]
    streams, prediction = record_streams(
        model,
        FAMILY.attentions(model),
        stock,
        image_tokens=15,
        text_first=True,
        last_layer=3,
        queries=True,
        stop_early=False,
    )
    assert torch.equal(prediction[0], model(**stock)[0])
    both = mask[:, None, None, :] * mask[:, None, :, None]
    kernel_calls = []
    kernel = torch.nn.functional.scaled_dot_product_attention

    def recording_kernel(query, key, value, attn_mask=None, **options):
        kernel_calls.append((query, key, value, attn_mask))
        return kernel(query, key, value, attn_mask=attn_mask, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", recording_kernel)
        model(**stock)
    assert len(kernel_calls) == len(streams) == 4
    for stream, (query, key, value, kernel_mask) in zip(streams, kernel_calls, strict=True):
        assert torch.equal(kernel_mask.expand_as(both), both)
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        logits = logits + both if both.is_floating_point() else logits.masked_fill(~both, float("-inf"))
        expected = (logits.softmax(dim=-1) @ value)[:, :, LENGTH:]
        torch.testing.assert_close(stream.output, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_concepts_are_asked_without_a_mask():
    model, text = small_transformer(FAMILY), random_text(FAMILY, 1, 7, 3)
    masked = TextTokens(text.hidden, None, torch.tensor([[True] * 4 + [False] * 3]))
    inputs = FAMILY.inputs(model, random_latents(FAMILY, 1), masked, torch.tensor([0.5]), 0.0)
    assert "attention_mask" in inputs
    asked = FAMILY.concept_inputs(model, inputs) | FAMILY.text_inputs(model, masked, concepts=True)
    assert set(asked) == {"hidden_states", "img_ids", "timestep", "encoder_hidden_states", "txt_ids"}


@torch.no_grad()
@pytest.mark.parametrize("last", [0, 2])
def test_skipped_blocks_do_not_shift_the_modulation_of_the_others(last):
    """The modulation of a block depends on the total number of blocks, so skipped blocks still count."""
    whole, lean = small_transformer(FAMILY), small_transformer(FAMILY)
    skip_later_blocks(FAMILY, lean, last + 1)
    assert sum(isinstance(module, SkippedBlock) for module in lean.modules()) == 3 - last
    inputs = FAMILY.inputs(
        whole, random_latents(FAMILY, 1), random_text(FAMILY, 1, 7, 3), torch.tensor([0.5]), guidance=0.0
    )
    settings = {"image_tokens": 15, "text_first": True, "last_layer": last}
    ours, _ = record_streams(lean, FAMILY.attentions(lean), inputs, **settings)
    full, _ = record_streams(whole, FAMILY.attentions(whole), inputs, **settings)
    assert all(torch.equal(a.output, b.output) for a, b in zip(ours, full, strict=True))
