"""The memory of `PipelineText` is bounded, and what it forgot it encodes again."""

from __future__ import annotations

import torch

from ca_seg.backbones.families.base import EncodedText
from ca_seg.backbones.text import pipeline_text
from ca_seg.backbones.text.pipeline_text import PipelineText


class CountingFamily:
    """Encodes a text as its length, and remembers what it encoded."""

    def __init__(self):
        self.encoded = []

    def encode_text(self, pipeline, texts, length):
        self.encoded += texts
        return [EncodedText(torch.full((2, 3), float(len(text))), torch.tensor([True, False])) for text in texts]


def test_concepts_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(pipeline_text, "MAX_CONCEPTS", 3)
    family = CountingFamily()
    text = PipelineText(family, lambda: None, 2)
    phrases = ["a", "bb", "ccc", "dddd", "eeeee"]
    expected = torch.tensor([[1.0, 2, 3, 4, 5]])[..., None].expand(1, 5, 3)
    assert torch.equal(text.concepts(phrases, "mean").hidden, expected)  # more at once than stay in memory
    assert len(text._concepts) == 3
    assert torch.equal(text.concepts(["ccc"], "mean").hidden, expected[:, 2:3])
    assert family.encoded == phrases  # "ccc" was still there
    text.concepts(["a"], "mean")  # "dddd" was not asked for longest
    assert family.encoded[len(phrases) :] == ["a"]
    text.concepts(["ccc", "eeeee", "a"], "mean")
    assert family.encoded[len(phrases) :] == ["a"]
    text.concepts(["dddd"], "mean")
    assert family.encoded[len(phrases) :] == ["a", "dddd"]
