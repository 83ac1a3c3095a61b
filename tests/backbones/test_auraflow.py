"""Details of AuraFlow: padding on either side, registers, zeros for a negative prompt."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import find_family
from tests.tiny_chat_pipelines import tiny_auraflow
from tests.tiny_families import Run

FAMILY = find_family("auraflow")
LENGTH = 8
PROMPT = "a photo of a cat"
VOCABULARY = Vocabulary.from_names(["cat", "traffic light", "grass"])


@torch.no_grad()
@pytest.mark.parametrize("side", ["right", "left"])
def test_word_tokens_are_the_words_on_whichever_side_the_padding_is(side):
    pipeline, _, _ = tiny_auraflow(side)
    texts = ["red traffic light", "cat"]
    ids = pipeline.tokenizer(texts, padding="max_length", max_length=LENGTH, return_tensors="pt").input_ids
    for text, row, encoded in zip(texts, ids, FAMILY.encode_text(pipeline, texts, LENGTH), strict=True):
        assert pipeline.tokenizer.decode(row[encoded.is_word]).split() == text.split()
        padding = row == pipeline.tokenizer.pad_token_id
        assert bool((encoded.hidden[padding] == 0).all())
        assert bool((encoded.hidden[~padding] != 0).any(dim=1).all())


@torch.no_grad()
def test_concepts_do_not_attend_to_registers():
    backbone = Run("auraflow").backbone
    assert FAMILY.registers(backbone.transformer) == 8
    recording = backbone.record(torch.rand(2, 3, 30, 50), layers=[1, 3])
    maps = recording.ask(VOCABULARY).maps()
    backbone.transformer.register_tokens.data.normal_()  # other registers, the same recorded image
    torch.testing.assert_close(recording.ask(VOCABULARY).maps(), maps)


@torch.no_grad()
def test_guidance_without_a_negative_prompt_runs_two_rows():
    run = Run("auraflow")
    arguments = run.family.prompt_arguments(run.backbone.text.prompt(["a photo of a cat"]))
    plain, _ = run.generate(prompt=None, guidance_scale=1.0, **arguments)
    guided, calls = run.generate(prompt=None, **arguments)
    assert len(calls[0]["hidden_states"]) == 2
    assert not torch.equal(guided, plain)
