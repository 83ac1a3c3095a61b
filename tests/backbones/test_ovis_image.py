"""Details of Ovis-Image: the tokens of the encoder's input, and a diffusers with one text length."""

from __future__ import annotations

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import find_family
from ca_seg.errors import UserError
from tests.stock_run import recorded_calls
from tests.tiny_families import Run

FAMILY = find_family("ovis-image")
LENGTH = 14
PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])


@pytest.fixture
def pipeline():
    return Run("ovis-image").pipeline


@torch.no_grad()
@pytest.mark.parametrize("text", ["red traffic light", "cat", "user Describe cat"])
def test_word_tokens_are_the_words_in_the_encoder_input(pipeline, text):
    with recorded_calls(pipeline.text_encoder) as calls:
        [encoded] = FAMILY.encode_text(pipeline, [text], LENGTH)
    input_ids = calls[0]["input_ids"][0][pipeline.user_prompt_begin_id :]
    expected = pipeline.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(calls) == 1  # no negative prompt is encoded along
    assert input_ids[encoded.is_word].tolist() == expected
    assert encoded.is_word.nonzero()[0] == 1
    padding = input_ids == pipeline.tokenizer.pad_token_id
    assert padding.any()
    assert not encoded.hidden[padding].any()
    assert encoded.hidden[~padding].any(dim=1).all()


def test_a_pipeline_without_a_length_argument_is_named(pipeline, monkeypatch):
    monkeypatch.setattr(type(pipeline), "encode_prompt", lambda self, prompt, device=None: None)
    with pytest.raises(UserError, match="Ovis-Image"):
        FAMILY.encode_text(pipeline, ["cat"], LENGTH)
