"""What an ask does not compute: every family's asks stay the same to the last bit, and read fewer weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from benchmarks.ask_before import ask_before, ideal_ask, modulation_of
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import FAMILIES
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.linears import Modulation
from tests.backbones.test_families import CONCEPTS, Case
from tests.small_flux import small_backbone
from tests.small_models import random_text, small_model

SINGLE_STREAM = (
    "cogvideox",
    "cogview4",
    "z-image",
    "ernie-image",
    "krea2",
    "lumina2",
)  # one set of weights for text and image
every_family = pytest.mark.parametrize("name", FAMILIES)


class ComputedLinears(TorchFunctionMode):
    """The weights and input shapes of the linear layers that are computed."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is linear:
            self.calls.append((args[1], args[0].shape))
        return func(*args, **(kwargs or {}))


def ask(case, streams, call, concepts, known):
    """An ask with `AskLinears`, and the linear layers that it computes."""
    family, model = case.family, case.model
    layout = Layout(concepts.hidden.shape[1], family.text_first, family.registers(model))
    inputs = family.joined(call, family.text_inputs(model, concepts, concepts=True))
    linears = family.ask_linears(model).reading(known)
    with ComputedLinears() as computed, torch.no_grad(), family.asking(model, small_model(family).grid):
        asked = ask_streams(model, family.attentions(model), inputs, streams, layout, linears=linears)
    return asked, computed.calls


def parts(streams):
    return [getattr(stream, part) for stream in streams for part in ("query", "key", "value", "output")]


def assert_same_bits(ours, theirs):
    for a, b in zip(parts(ours), parts(theirs), strict=True):
        assert torch.equal(a, b)


@every_family
def test_asks_equal_those_of_the_whole_model_to_the_last_bit(name):
    case, known = Case(name), Modulation()
    streams, _, call = case.record()
    other = TextTokens(random_text(case.family, 2, 6, 9).hidden, case.concepts.pooled)
    for concepts in (case.concepts, other, case.concepts):
        asked, _ = ask(case, streams, call, concepts, known)
        assert_same_bits(asked, case.ask(streams, call, concepts))


@every_family
def test_weights_that_only_the_dummy_token_uses_are_not_read(name):
    case = Case(name)
    streams, _, call = case.record()
    expected = case.ask(streams, call)
    _, computed = ask(case, streams, call, case.concepts, Modulation())
    used = {id(weight) for weight, _ in computed}
    linears = [m for block in case.family.blocks(case.model) for m in block.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        for layer in linears:
            if id(layer.weight) not in used:
                layer.weight.fill_(torch.nan)
    asked, _ = ask(case, streams, call, case.concepts, Modulation())
    assert_same_bits(asked, expected)
    if name not in SINGLE_STREAM:
        weights = {id(m.weight) for m in linears}
        assert not [shape for weight, shape in computed if id(weight) in weights and len(shape) == 3 and shape[1] == 1]
    unread = sum(m.weight.numel() for m in linears if id(m.weight) not in used) / sum(m.weight.numel() for m in linears)
    assert unread > (0 if name in SINGLE_STREAM else 0.2)


@every_family
def test_the_second_ask_computes_no_modulation(name):
    case, known = Case(name), Modulation()
    streams, _, call = case.record()
    _, first = ask(case, streams, call, case.concepts, known)
    _, second = ask(case, streams, call, case.concepts, known)
    blocks = {id(p) for block in case.family.blocks(case.model) for p in block.parameters()}
    assert not [shape for weight, shape in second if id(weight) in blocks and len(shape) == 2]
    assert len(second) < len(first)


def test_another_pooled_vector_is_other_modulation():
    case, known = Case("flux"), Modulation()
    streams, _, call = case.record()
    for scale in (1.0, 2.0, 1.0):
        pooled = scale * case.concepts.pooled
        concepts = TextTokens(case.concepts.hidden, pooled)
        asked, _ = ask(case, streams, call, concepts, known.of(pooled))
        assert_same_bits(asked, case.ask(streams, call, concepts))


def test_a_recording_keeps_its_modulation_and_a_part_of_it_does_not():
    recording = small_backbone().record(torch.rand(2, 3, 48, 80), layers=[1, 4], timesteps=[0.3, 0.6])
    first = recording.ask(["cat", "grass"]).maps()
    kept = dict(recording.modulation.outputs)
    assert torch.equal(recording.ask(["cat", "grass"]).maps(), first)
    assert kept
    assert all(recording.modulation.outputs[key] is value for key, value in kept.items())
    assert not recording.select(0).modulation.outputs
    torch.testing.assert_close(recording.select(1).ask(["cat", "grass"]).maps(), first[1:], atol=1e-6, rtol=1e-6)


def test_autocast_is_respected():
    """A skipped layer gives the type that the computed one would give."""
    case = Case("flux")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        streams, _, call = case.record()
        asked, _ = ask(case, streams, call, case.concepts, Modulation())
        assert_same_bits(asked, case.ask(streams, call))
        assert asked[0].key.dtype == case.ask(streams, call)[0].key.dtype


def test_asks_equal_the_text_branch_by_hand():
    """And the way of version 0.2: the two that benchmarks/overhead.py times beside it."""
    case, family = Case("flux"), Case("flux").family
    double = len(case.model.transformer_blocks)
    streams, _, call = case.record(last=double - 1)
    with torch.no_grad():
        guidance = case.timesteps.new_full((2,), 3500.0)
        temb = case.model.time_text_embed(1000 * case.timesteps, guidance, case.concepts.pooled)
        modulation = modulation_of(case.model, temb)
        by_hand = ideal_ask(case.model, case.concepts.hidden, streams, modulation)
        inputs = family.joined(call, family.text_inputs(case.model, case.concepts, concepts=True))
        before = ask_before(case.model, family.attentions(case.model), inputs, streams, CONCEPTS)
    asked, _ = ask(case, streams, call, case.concepts, Modulation())
    assert len(asked) == len(by_hand) == len(before) == double
    for ours, theirs, former in zip(asked, by_hand, before, strict=True):
        torch.testing.assert_close(ours.output, theirs, atol=1e-6, rtol=1e-6)
        assert torch.equal(ours.output, former)
