"""Transformers with compiled blocks: the same maps, and one compilation for all blocks of a kind."""

from __future__ import annotations

import threading

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.concept.compiled import uncompiled
from ca_seg.concept.known_words import KnownWords
from tests.small_flux import small_backbone

WORDS = Vocabulary.from_names(["cat", "grass"])


@pytest.fixture(autouse=True)
def _fresh_compiler():
    """torch keeps what it compiled for a class, and how often."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_blocks_are_compiled_once_and_give_the_same_maps():
    compiled = []

    def counted(graph, inputs):
        compiled.append(graph)
        return graph.forward

    backbone, image = small_backbone(), torch.rand(1, 3, 48, 80)
    expected = backbone.record(image, layers=[2]).ask(WORDS).maps()
    for block in backbone.transformer.transformer_blocks:
        block.compile(backend=counted)
    backbone.record(image, layers=[1])  # the first block, and the attention of the second
    count = len(compiled)
    assert count > 0
    assert torch.equal(backbone.record(image, layers=[2]).ask(WORDS).maps(), expected)
    assert torch.equal(backbone.record(image, layers=[2], known=KnownWords((WORDS,))).ask(WORDS).maps(), expected)
    assert len(compiled) == count


def test_passes_that_overlap_restore_the_compiler_when_the_last_one_ends():
    """Of two passes in two threads, the one that began first ends first."""
    runs = []

    def backend(graph, inputs):
        return lambda *args: runs.append(1) or graph.forward(*args)

    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    model[0].compile(backend=backend)
    x, began, ended = torch.ones(1, 2), threading.Event(), threading.Event()

    def second():
        with uncompiled(model):
            began.set()
            ended.wait(10)
            model(x)

    thread = threading.Thread(target=second)
    with uncompiled(model):
        thread.start()
        began.wait(10)
        model(x)
    ended.set()
    thread.join()
    assert runs == []
    model(x)
    assert runs == [1]
