"""Asking in turns with recording: the same bits as recording first, in every family, and less memory."""

from __future__ import annotations

import threading

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import FAMILIES
from ca_seg.backbones.loading.plan import recording_bytes
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.known_words import KnownWords, record_and_ask
from ca_seg.concept.record import Kept
from ca_seg.concept.suspended import SuspendedPass
from ca_seg.errors import OutOfRange, UserError
from tests.backbones.test_families import CONCEPTS, Case
from tests.small_flux import small_backbone
from tests.small_models import small_model

PARTS = ("query", "key", "value", "output")
PETS, SKY = Vocabulary.from_names(["cat", "grass"]), Vocabulary.from_names(["cat", "sky", "dog"])
every_family = pytest.mark.parametrize("name", FAMILIES)


def in_turns(case, last, *, stop_early=True, concepts=None):
    family, model = case.family, case.model
    inputs = family.inputs(model, case.latents, case.prompt, case.timesteps, 3.5)
    concepts = case.concepts if concepts is None else concepts
    call = family.concept_inputs(model, inputs) | family.text_inputs(model, concepts, concepts=True)
    layout = Layout(CONCEPTS, family.text_first, family.registers(model))
    attentions = family.attentions(model)

    def ask(image):
        with family.asking(model, small_model(family).grid):
            return ask_streams(model, attentions, call, image, layout, last_layer=last)

    with torch.no_grad():
        return record_and_ask(
            model,
            attentions,
            family.blocks(model),
            inputs,
            ask,
            image_tokens=case.tokens,
            text_first=family.text_first,
            last_layer=last,
            kept=Kept((1,), ("output",)),
            stop_early=stop_early,
        )


@every_family
@pytest.mark.parametrize("stop_early", [True, False])
def test_turns_equal_record_then_ask_to_the_last_bit(name, stop_early):
    case = Case(name)
    last = len(case.family.blocks(case.model)) - (1 if stop_early else 2)
    streams, _, call = case.record(last=last)
    expected = case.ask(streams, call)
    image, concept, prediction = in_turns(case, last, stop_early=stop_early)
    assert len(image) == len(concept) == last + 1
    for ours, theirs in zip(concept, expected, strict=True):
        assert all(torch.equal(getattr(ours, part), getattr(theirs, part)) for part in PARTS)
    assert torch.equal(image[1].output, streams[1].output)
    assert [part for stream in image for part in PARTS if getattr(stream, part) is not None] == ["output"]
    if not stop_early:
        assert torch.equal(torch.stack(tuple(prediction[0])), case.stock())


def test_no_thread_and_no_hook_is_left_after_an_exception():
    case, threads = Case("z-image"), threading.active_count()
    wrong = type(case.concepts)(torch.randn(2, CONCEPTS, small_model(case.family).text + 1))
    with pytest.raises(RuntimeError):
        in_turns(case, 2, concepts=wrong)
    original = case.model.layers[1].feed_forward.forward
    case.model.layers[1].feed_forward.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        in_turns(case, 2)
    case.model.layers[1].feed_forward.forward = original
    assert threading.active_count() == threads
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.model.modules()) == 0
    in_turns(case, 2)


def test_a_suspended_pass_has_the_settings_of_its_caller():
    seen = []

    def run():
        settings = (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        seen.append((*settings, torch.get_autocast_dtype("cpu")))

    with torch.autocast("cpu", dtype=torch.float16), torch.no_grad():
        SuspendedPass(run).resume()
    with torch.inference_mode():
        SuspendedPass(run).resume()
    SuspendedPass(run).resume()
    assert seen[0] == (False, False, True, torch.float16)
    assert seen[1][:3] == (False, True, False)
    assert seen[2][:3] == (True, False, False)


@pytest.fixture(scope="module")
def backbone():
    return small_backbone()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("space", ["output", "value", "cross-attention"])
@pytest.mark.parametrize("attention", ["both", "cross", "none"])
def test_maps_of_known_words_equal_those_of_a_full_recording(backbone, images, space, attention):
    options = {"layers": [1, 4], "timesteps": [0.3, 0.6]}
    full = backbone.record(images, **options).ask_each([PETS, SKY], concept_attention=attention)
    known = backbone.record(images, **options, known=KnownWords((PETS, SKY), space, attention))
    for ours, theirs in zip(known.ask_each([PETS, SKY], concept_attention=attention), full, strict=True):
        assert torch.equal(ours.maps(space=space), theirs.maps(space=space))
    one = known.select(1).ask(SKY, concept_attention=attention)
    torch.testing.assert_close(one.maps(space=space), full[1].maps(space=space)[1:], atol=1e-6, rtol=1e-6)
    copies = zip(
        full[0].noised_copy(1).maps(space=space),
        known.ask(PETS, concept_attention=attention).noised_copy(1).maps(space=space),
        strict=True,
    )
    assert all(torch.equal(a, b) for a, b in copies)


def test_other_words_or_options_are_refused(backbone, images):
    known = backbone.record(images, layers=[1, 4], known=KnownWords((PETS,)))
    with pytest.raises(UserError, match="dog"):
        known.ask(["dog"])
    for options in ({"concept_attention": "self"}, {"image_output": "concepts"}):
        with pytest.raises(UserError):
            known.ask(PETS, **options)
    with pytest.raises(OutOfRange, match="value"):
        known.ask(PETS).maps(space="value")
    with pytest.raises(OutOfRange, match="output"):
        known.ask(PETS).maps(layers=[3])


@pytest.mark.parametrize("other", [{"queries": True}, {"prompt": "cat", "prompt_phrases": [["cat"]] * 2}])
def test_what_needs_everything_is_refused_with_known_words(backbone, images, other):
    backbone.record(images, layers=[1, 4], **other)
    with pytest.raises(UserError, match="known"):
        backbone.record(images, layers=[1, 4], known=KnownWords((PETS,)), **other)


def stored_bytes(recording):
    """Bytes that the recording keeps alive, whole storages."""
    streams = [*recording.streams, *(s for answer in recording.answers for s in answer)]
    parts = [getattr(stream, part) for stream in streams for part in PARTS]
    return sum({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in parts if p is not None}.values())


def test_a_recording_keeps_nothing_that_maps_do_not_read(backbone, images):
    full = backbone.record(images, layers=[4])
    tokens = 15 * 64 * 4  # image tokens, width, bytes
    assert stored_bytes(full) == 2 * (2 * 5 + 1) * tokens  # keys and values of five layers, outputs of one
    assert stored_bytes(full.select(0)) == (2 * 5 + 1) * tokens
    assert recording_bytes(15, 64, layers=5, read=1, size=4) == (2 * 5 + 1) * tokens  # what `zoo plan` says
    known = backbone.record(images, layers=[4], known=KnownWords((PETS,)))
    assert stored_bytes(known) == 2 * (tokens + 2 * 64 * 4)  # and two concepts
    with pytest.raises(OutOfRange, match="output"):
        full.ask(PETS).maps(layers=[1])
