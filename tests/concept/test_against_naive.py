"""Record and ask, against the concept stream in a plain loop (benchmarks/naive_flux.py), on a non-square grid."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.naive_flux import naive_flux, plain_attention
from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.flux import Flux, pack, unpack
from ca_seg.concept.ask import Layout, ask_streams
from ca_seg.concept.grid import Grid
from ca_seg.concept.record import record_streams
from tests.small_flux import POOLED, TEXT, small_flux

FLUX = Flux()
ROWS, COLUMNS, WORDS = 3, 5, 4


def _case(guidance: bool):
    model = small_flux(guidance=guidance)
    torch.manual_seed(2)
    latents, timesteps = torch.randn(2, 4, 2 * ROWS, 2 * COLUMNS), torch.tensor([0.3, 0.7])
    prompt = TextTokens(torch.randn(2, 7, TEXT), torch.randn(2, POOLED))
    concepts = TextTokens(torch.randn(2, WORDS, TEXT), torch.zeros(2, POOLED))
    return model, latents, timesteps, prompt, concepts


def _record_and_ask(model, latents, timesteps, prompt, concepts, *, stop_early=True, last=4):
    attentions, inputs = FLUX.attentions(model), FLUX.inputs(model, latents, prompt, timesteps, 3.5)
    with torch.no_grad():
        image, prediction = record_streams(
            model,
            attentions,
            inputs,
            image_tokens=ROWS * COLUMNS,
            text_first=True,
            last_layer=last,
            stop_early=stop_early,
        )
        call = FLUX.concept_inputs(model, inputs) | FLUX.text_inputs(model, concepts, concepts=True)
        concept = ask_streams(model, attentions, call, image, Layout(WORDS, text_first=True))
    return image, concept, prediction


def _naive(model, latents, timesteps, prompt, concepts, guidance, attention):
    inputs = FLUX.inputs(model, latents, prompt, timesteps, 3.5)
    return naive_flux(
        model,
        pack(latents),
        prompt.hidden,
        prompt.pooled,
        concepts.hidden,
        concepts.pooled,
        timesteps,
        inputs["img_ids"],
        torch.full((2,), 3.5) if guidance else None,
        attention,
    )


@pytest.fixture
def one_thread():
    """Several threads split a matrix product by its address in memory, and so round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("guidance", [False, True])
@pytest.mark.parametrize(("attention", "tolerance"), [(plain_attention, 1e-5), (scaled_dot_product_attention, 0.0)])
def test_every_layer_equals_the_naive_loop(guidance, attention, tolerance):
    """With plain attention, up to rounding; with the same attention kernel, bit for bit."""
    case = _case(guidance)
    image, concept, _ = _record_and_ask(*case)
    expected = _naive(*case, guidance, attention)
    assert len(image) == len(concept) == len(expected) == 5
    for image_stream, concept_stream, layer in zip(image, concept, expected, strict=True):
        for part in ("query", "key", "value", "output"):
            for stream, side in ((image_stream, "image"), (concept_stream, "concept")):
                if (part, side) == ("query", "image"):
                    assert stream.query is None
                    continue
                joined = getattr(stream, part).transpose(1, 2).flatten(2)
                torch.testing.assert_close(joined, layer[f"{side}_{part}"], atol=tolerance, rtol=tolerance)


def test_packing_is_that_of_the_pipeline():
    from diffusers import FluxPipeline

    latents = torch.randn(2, 4, 6, 10)
    assert torch.equal(pack(latents), FluxPipeline._pack_latents(latents, 2, 4, 6, 10))
    assert torch.equal(unpack(pack(latents), Grid(3, 5)), latents)
