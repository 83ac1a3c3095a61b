"""Editing pipelines: the tokens of a reference picture follow those of the image, and are not part of its maps."""

from __future__ import annotations

import torch
from diffusers import FluxKontextPipeline
from PIL import Image

from ca_seg import Vocabulary
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.record import record_streams, stream_recorder
from ca_seg.concept.recording import Recording
from ca_seg.concept.tap import AttentionTap
from tests.small_models import random_latents, random_text, small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_pipelines import tiny_flux

WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
REFERENCE = Image.effect_noise((112, 64), 60).convert("RGB")  # 4 x 7 tokens; the image has 3 x 5


def edit(pipeline):
    size = {"max_area": 48 * 80, "_auto_resize": False, "max_sequence_length": 7}
    return stock_run(pipeline, image=REFERENCE, prompt="a photo of a cat", **size)


@torch.no_grad()
def test_kontexts_edit_stays_as_it_is_and_its_maps_leave_the_reference_out():
    pipeline = FluxKontextPipeline(**tiny_flux()[0].components)
    pipeline.set_progress_bar_config(disable=True)
    backbone = backbone_of(pipeline, "flux1-kontext-dev", resolution=48)
    backbone.text.length = 7
    plain, calls = edit(pipeline)
    with GenerationTrace(backbone, WORDS, layers=[0, 4]) as trace:  # of two streams, and of one
        traced, _ = edit(pipeline)
    assert torch.equal(plain, traced)
    assert trace.steps == len(calls) == 2
    assert trace.maps().shape == (1, 3, 3, 5)
    family, transformer, total = backbone.family, pipeline.transformer, 0
    for call in calls:
        assert family.reference_tokens(transformer, call) == 28
        streams, _ = record_streams(
            transformer, family.attentions(transformer), call, image_tokens=15 + 28, text_first=True, last_layer=4
        )
        image = tuple(stream.tokens(slice(0, 15)) for stream in streams)
        inputs, grid = family.concept_inputs(transformer, call), family.grid(transformer, call)
        recording = Recording(
            grid=grid,
            noised_copies=1,
            layers=(0, 4),
            streams=image,
            call=inputs,
            prediction=None,
            concept_pass=backbone.ask,
        )
        total = total + recording.ask(WORDS).maps()
    torch.testing.assert_close(trace.maps(), total / 2, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_qwen_image_edits_references_are_left_out_of_the_streams():
    family = find_family("qwen-image")
    transformer, grid = small_transformer(family), small_model(family).grid
    call = family.inputs(transformer, random_latents(family, 1), random_text(family, 1, 7, 1), torch.tensor([0.4]), 0.0)
    reference = torch.randn(1, 8, call["hidden_states"].shape[-1])
    call["hidden_states"] = torch.cat([call["hidden_states"], reference], dim=1)
    call["img_shapes"] = [[*call["img_shapes"][0], (1, 2, 4)]]
    assert family.grid(transformer, call) == grid
    assert family.reference_tokens(transformer, call) == 8
    attentions, streams = family.attentions(transformer), []
    attend = stream_recorder(streams, image_tokens=grid.tokens, text_first=True, last_layer=2, reference_tokens=8)
    AttentionTap(attentions, attend).run(transformer, call)
    whole, _ = record_streams(
        transformer, attentions, call, image_tokens=grid.tokens + 8, text_first=True, last_layer=2
    )
    for stream, expected in zip(streams, whole, strict=True):
        for part in ("key", "value", "output"):
            assert torch.equal(getattr(stream, part), getattr(expected.tokens(slice(0, grid.tokens)), part))
