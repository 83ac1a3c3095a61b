"""Editing pipelines: the tokens of a reference picture follow those of the image, and are not part of its maps."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxKontextPipeline, QwenImageEditPipeline
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit
from PIL import Image

from ca_seg import Vocabulary
from ca_seg.backbones.families.flux import pack, unpack
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.loading.card import find_card
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.record import record_streams, stream_recorder
from ca_seg.concept.recording import Recording
from ca_seg.concept.tap import AttentionTap
from ca_seg.errors import UserError
from tests.small_models import random_latents, random_text, small_model, small_transformer
from tests.stock_run import stock_run
from tests.tiny_chat_pipelines import tiny_qwen_image
from tests.tiny_pipelines import tiny_flux, tiny_flux_fill

WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])
REFERENCE = Image.effect_noise((112, 64), 60).convert("RGB")  # 4 x 7 tokens; the image has 3 x 5


def edit(pipeline):
    size = {"max_area": 48 * 80, "_auto_resize": False, "max_sequence_length": 7}
    return stock_run(pipeline, image=REFERENCE, prompt="a photo of a cat", **size)


def maps_of_calls(backbone, calls, *, layers, references):
    """The mean of the maps of every call, recorded with its reference picture, whose tokens are then cut off."""
    family, transformer, total = backbone.family, backbone.transformer, 0
    for call in calls:
        assert family.reference_tokens(transformer, call) == references
        streams, _ = record_streams(
            transformer,
            family.attentions(transformer),
            call,
            image_tokens=15 + references,
            text_first=True,
            last_layer=max(layers),
        )
        recording = Recording(
            grid=family.grid(transformer, call),
            noised_copies=1,
            layers=layers,
            streams=tuple(stream.tokens(slice(0, 15)) for stream in streams),
            call=family.concept_inputs(transformer, call),
            prediction=None,
            concept_pass=backbone.ask,
        )
        total = total + recording.ask(WORDS).maps()
    return total / len(calls)


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
    expected = maps_of_calls(backbone, calls, layers=(0, 4), references=28)
    torch.testing.assert_close(trace.maps(), expected, atol=1e-5, rtol=1e-5)


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


def with_timestep_of_references(transformer):
    """The same weights as in Qwen-Image-Edit-2511, whose reference pictures have a timestep of their own: 0."""
    changed = type(transformer).from_config({**transformer.config, "zero_cond_t": True}).eval()
    changed.load_state_dict(transformer.state_dict())
    return changed


@torch.no_grad()
def test_without_references_their_timestep_changes_nothing():
    pipeline, name, _ = tiny_qwen_image()
    before = backbone_of(pipeline, name, resolution=48)
    pipeline.transformer = with_timestep_of_references(pipeline.transformer)
    after = backbone_of(pipeline, "qwen-image-edit-2511", resolution=48)
    assert after.card.architecture["zero_cond_t"]
    pictures, recordings = torch.rand(2, 3, 48, 80), []
    for backbone in (before, after):
        backbone.text.length = 60
        recordings.append(backbone.record(pictures, timesteps=[0.2, 0.7], layers=[0, 2], stop_early=False))
    assert torch.equal(recordings[0].prediction, recordings[1].prediction)
    assert torch.equal(*(recording.ask(WORDS).maps() for recording in recordings))


@pytest.mark.parametrize("card", ["qwen-image-edit", "qwen-image-edit-2511"])
@torch.no_grad()
def test_qwen_image_edits_picture_stays_as_it_is_and_its_maps_leave_the_reference_out(monkeypatch, card):
    """The words of a backbone around the editing pipeline are those of the pipeline that generates from text."""
    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda area, ratio: (112, 64, None))
    generation, name, _ = tiny_qwen_image()
    parts = dict(generation.components)
    if find_card(card).architecture.get("zero_cond_t"):
        parts["transformer"] = with_timestep_of_references(parts["transformer"])
    pipeline = QwenImageEditPipeline(
        parts["scheduler"], parts["vae"], parts["text_encoder"], parts["tokenizer"], None, parts["transformer"]
    )
    pipeline.set_progress_bar_config(disable=True)
    plain, edited = (
        backbone_of(generation, name, resolution=48),
        backbone_of(pipeline, card, resolution=48),
    )
    for backbone in (plain, edited):
        backbone.text.length = 60
    assert torch.equal(
        edited.text.concepts(["red cat"], "last").hidden, plain.text.concepts(["red cat"], "last").hidden
    )
    prompt = {"prompt_embeds": torch.randn(1, 9, 24), "image": REFERENCE, "true_cfg_scale": 1.0}
    expected, calls = stock_run(pipeline, **prompt)
    with GenerationTrace(edited, WORDS, layers=[0, 2]) as trace:
        traced, _ = stock_run(pipeline, **prompt)
    assert torch.equal(expected, traced)
    maps = maps_of_calls(edited, calls, layers=(0, 2), references=28)
    torch.testing.assert_close(trace.maps(), maps, atol=1e-5, rtol=1e-5)


@pytest.fixture
def fill():
    pipeline, card = tiny_flux_fill()
    backbone = backbone_of(pipeline, card, resolution=48)
    backbone.text.length = 7
    return pipeline, backbone


@torch.no_grad()
def test_fill_reads_a_picture_as_the_pipeline_does_of_which_nothing_is_painted(fill):
    pipeline, backbone = fill
    picture = Image.effect_noise((80, 48), 60).convert("RGB")
    nothing = Image.new("L", picture.size, 0)
    run = {"prompt": "a cat", "image": picture, "mask_image": nothing, "max_sequence_length": 7, "guidance_scale": 30.0}
    expected, calls = stock_run(pipeline, **run)
    family, transformer = backbone.family, pipeline.transformer
    for call in calls:
        noised, clean = (call["hidden_states"][..., i : i + 16] for i in (0, 16))
        latents = family.with_picture(transformer, *(unpack(x, small_model(family).grid) for x in (noised, clean)))
        text = backbone.text.prompt(["a cat"])
        ours = family.inputs(transformer, latents, text, call["timestep"], 30.0)
        for argument, value in ours.items():
            stock = call[argument]
            stock = stock[0] if argument.endswith("ids") and stock.ndim == value.ndim + 1 else stock
            torch.testing.assert_close(value, stock, msg=lambda text, name=argument: f"{name}: {text}")
    with GenerationTrace(backbone, WORDS, layers=[0, 4]) as trace:
        traced, _ = stock_run(pipeline, **run)
    assert torch.equal(expected, traced)
    maps = maps_of_calls(backbone, calls, layers=(0, 4), references=0)
    torch.testing.assert_close(trace.maps(), maps, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fill_sees_the_clean_picture_beside_each_noised_copy(fill):
    _, backbone = fill
    pictures = torch.rand(2, 3, 48, 80)
    clean = pack(backbone.encode(pictures))
    hidden = []
    hook = backbone.transformer.x_embedder.register_forward_pre_hook(lambda module, args: hidden.append(args[0]))
    recording = backbone.record(pictures, timesteps=[0.2, 0.8], layers=[0, 4])
    hook.remove()
    assert torch.equal(hidden[0][..., 16:32], torch.cat([clean, clean]))
    assert not hidden[0][..., 32:].any()
    torch.testing.assert_close(recording.ask(WORDS).maps().sum(dim=1), torch.ones(2, 3, 5))


def test_fill_refuses_noised_latents_alone(fill):
    _, backbone = fill
    text = backbone.text.prompt(["a cat"])
    with pytest.raises(UserError, match="with_picture"):
        backbone.record_latents(torch.randn(1, 4, 6, 10), text, torch.tensor([0.4]))
