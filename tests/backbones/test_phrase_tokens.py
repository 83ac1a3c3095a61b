"""Which tokens of a prompt belong to which phrase, and prompts of the word table."""

from __future__ import annotations

import re

import pytest
import torch

from ca_seg.backbones.families.base import EncodedText
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.backbones.text.phrase_tokens import phrase_tokens
from ca_seg.backbones.text.pipeline_text import PipelineText
from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import UserError


@pytest.fixture
def text():
    words = ["cat", "hot", "dog", "hot dog", "red"]
    return WordTableText(WordTable(words, torch.randn(5, 4, generator=torch.Generator().manual_seed(0))))


def test_tokens_with_and_without_tokens_between():
    phrases = ["cat", "traffic light", "sky"]
    tokens = phrase_tokens("cat, traffic light, sky", phrases, [1, 2, 1], [1, 2, 3, 4, 5, 6])
    assert tokens == {"cat": (1,), "traffic light": (3, 4), "sky": (6,)}
    tokens = phrase_tokens("cat, traffic light, sky", phrases, [1, 2, 1], [0, 1, 2, 3])
    assert tokens == {"cat": (0,), "traffic light": (1, 2), "sky": (3,)}


@pytest.mark.parametrize(
    ("prompt", "phrases", "counts", "words"),
    [
        ("cat, sky", ["cat", "sky"], [2, 2], range(3)),  # merged
        ("cat, sky, sea", ["cat", "sky", "sea"], [1, 1, 1], range(4)),  # one between, none between
        ("a cat", ["cat"], [1], range(2)),
        ("cat", ["cat"], [1], range(2)),
    ],
)
def test_tokens_that_do_not_add_up_are_refused(prompt, phrases, counts, words):
    with pytest.raises(UserError, match="one after the other"):
        phrase_tokens(prompt, phrases, counts, list(words))


def test_the_word_table_keeps_phrases_apart(text):
    assert text.table.tokens("hot dog") == ("hot dog",)
    assert text.table.tokens("hot, dog") == ("hot", "dog")
    assert text.table.tokens("the, cat") == ("cat",)
    tokens = text.phrase_tokens("hot, dog, red cat", ["hot", "dog", "red cat"])
    assert tokens == {"hot": (0,), "dog": (1,), "red cat": (2, 3)}
    hidden = text.prompt(["hot, dog, red cat"]).hidden[0]
    torch.testing.assert_close(hidden, text.table.vectors[[1, 2, 4, 0]])


class CommasAreTokens:
    """A family whose text encoder starts a text with one mark, ends it with another, and makes commas tokens."""

    def encode_text(self, pipeline, texts, length):
        (text,) = texts
        tokens = ["<s>", *re.findall(r"\w+|,", text), "</s>"]
        hidden = torch.tensor([[float(len(token))] for token in tokens])
        is_word = torch.tensor([token[0] != "<" for token in tokens])
        if not text:
            is_word[0] = True
        return [EncodedText(hidden, is_word)]


def test_the_tokens_of_a_stock_pipeline():
    text = PipelineText(CommasAreTokens(), lambda: None, 20)
    tokens = text.phrase_tokens("cat, traffic light, sky", ["cat", "traffic light", "sky"])
    assert tokens == {"cat": (1,), "traffic light": (3, 4), "sky": (6,)}
    assert text.phrase_tokens("sky", ["sky"]) == {"sky": (1,)}


def test_a_prompt_that_is_too_long_is_refused(text):
    with pytest.raises(UserError, match="513 tokens"):
        text.prompt(["cat " * 513])
    assert text.prompt(["cat " * 512]).hidden.shape[1] == 512
