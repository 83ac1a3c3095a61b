"""Our calls against the stock pipelines' own: tiny encoders and models of the real classes, one real generation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ca_seg import Vocabulary
from ca_seg.backbones.families.flux import unpack
from ca_seg.backbones.generate import generate
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.record import record_streams
from ca_seg.concept.recording import Recording
from ca_seg.errors import UserError
from tests.stock_run import stock_run
from tests.tiny_pipelines import LENGTH, MAKERS, tiny_cogvideox, tiny_flux

PROMPT = "a photo of a cat"
WORDS = Vocabulary.from_names(["cat", "traffic light", "grass"])


PACKED = ("flux", "chroma")  # the pipeline packs the latents, and gives the moment as 0..1


class Run:
    """One generation of two steps by the stock pipeline from text, with the transformer's calls noted."""

    def __init__(self, maker, traced=False):
        self.pipeline, name, settings = maker()
        self.pipeline.set_progress_bar_config(disable=True)
        self.backbone = backbone_of(self.pipeline, name, resolution=48)
        self.backbone.text.length = LENGTH
        trace = GenerationTrace(self.backbone, WORDS, layers=[0, 2])
        with trace if traced else torch.no_grad():
            made, self.calls = stock_run(self.pipeline, prompt=PROMPT, max_sequence_length=LENGTH, **settings)
        self.made, self.trace = made, trace


@pytest.fixture(params=MAKERS, ids=str)
def maker(request):
    return MAKERS[request.param]


@torch.no_grad()
def test_our_call_is_the_stock_pipelines(maker):
    """For the latents and the moment of a stock step, our arguments equal the pipeline's, one by one."""
    run = Run(maker)
    family, backbone = run.backbone.family, run.backbone
    call = run.calls[0]
    hidden = call["hidden_states"][-1:]
    if family.name in PACKED:
        latents = unpack(hidden, family.grid(backbone.transformer, call))
    else:
        latents = hidden.transpose(1, 2) if family.video else hidden
    scale = 1.0 if family.name in PACKED else 1000.0
    moment = call["timestep"][-1:].float() / scale
    text = backbone.text.prompt([PROMPT])
    ours = family.inputs(backbone.transformer, latents, text, moment, 3.5)
    for name, value in ours.items():
        if value is None:
            assert call.get(name) is None
            continue
        parts = zip(value, call[name], strict=True) if isinstance(value, tuple) else [(value, call[name])]
        for mine, theirs in parts:
            rows = len(mine) != len(theirs)  # the pipeline put the negative prompt before
            torch.testing.assert_close(mine, theirs[-1:] if rows else theirs, atol=1e-5, rtol=1e-5, check_dtype=False)
    assert set(ours) >= {k for k, v in call.items() if isinstance(v, torch.Tensor)}


def test_a_trace_leaves_what_is_generated_bit_identical(maker):
    plain, traced = Run(maker), Run(maker, traced=True)
    assert torch.equal(plain.made, traced.made)
    assert traced.trace.steps == 2
    frames = (2,) if traced.backbone.family.video else ()
    assert traced.trace.maps().shape == (1, 3, *frames, 3, 5)
    torch.testing.assert_close(traced.trace.maps().sum(dim=1), torch.ones(1, *frames, 3, 5))


@torch.no_grad()
def test_traced_maps_are_those_of_the_prompts_rows_recorded_again(maker):
    """The mean over the stock steps, each step's call repeated without the negative prompt's rows."""
    run = Run(maker, traced=True)
    backbone, total = run.backbone, 0
    for call in run.calls[:: len(run.calls) // 2]:
        family, transformer = backbone.family, backbone.transformer
        per_row = {k: v[-1:] if isinstance(v, torch.Tensor) and k[-3:] != "ids" else v for k, v in call.items()}
        grid = family.grid(transformer, per_row)
        streams, _ = record_streams(
            transformer,
            family.attentions(transformer),
            per_row,
            image_tokens=grid.tokens,
            text_first=family.text_first,
            last_layer=2,
        )
        concept_inputs = family.concept_inputs(transformer, per_row)
        total = total + Recording(grid, 1, (0, 2), tuple(streams), concept_inputs, None, backbone.ask).ask(WORDS).maps()
    torch.testing.assert_close(run.trace.maps(), total / 2, atol=1e-5, rtol=1e-5)


def test_own_tokens_are_the_words(maker):
    pipeline, name, _ = maker()
    text = backbone_of(pipeline, name).text
    text.length = LENGTH
    [encoded] = text.family.encode_text(pipeline, ["red traffic light"], LENGTH)
    assert encoded.is_word.shape == encoded.hidden.shape[:1]
    places = encoded.is_word.nonzero().flatten().tolist()
    length = 3 if text.family.name == "cogview4" else LENGTH  # padded on the left; T5's on the right, CLIP's before
    assert places == [len(encoded.hidden) - length + i for i in range(3)]
    words = {
        pooling: text.concepts(["red traffic light"], pooling).hidden[0, 0] for pooling in ("first", "last", "mean")
    }
    torch.testing.assert_close(words["first"], encoded.hidden[places[0]])
    torch.testing.assert_close(words["last"], encoded.hidden[places[2]])
    torch.testing.assert_close(words["mean"], encoded.hidden[places].mean(dim=0))


def test_a_text_that_is_too_long_is_named(maker):
    pipeline, name, _ = maker()
    text = backbone_of(pipeline, name).text
    text.length = LENGTH
    with pytest.raises(UserError, match=r"'red red .*8 tokens.*at most 7"):
        text.concepts(["cat", "red " * 7], "first")


@torch.no_grad()
def test_clean_latents_decode_as_the_pipeline_decodes(maker):
    """The pipeline's own decoding of our clean latents is the autoencoder's decoding of its own code."""
    pipeline, name, _ = maker()
    backbone = backbone_of(pipeline, name, resolution=48)
    image = torch.rand(1, 3, 48, 80)
    latents = backbone.encode(image)
    code = pipeline.vae.encode(
        (2 * image - 1)[:, :, None] if backbone.family.video else 2 * image - 1
    ).latent_dist.mode()
    if backbone.family.video:
        ours = pipeline.decode_latents(latents.transpose(1, 2))
        torch.testing.assert_close(ours, pipeline.vae.decode(code).sample, atol=1e-4, rtol=1e-4)
    else:
        config = pipeline.vae.config
        torch.testing.assert_close(latents / config.scaling_factor + config.shift_factor, code, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_image_is_recorded_and_asked(maker):
    pipeline, name, _ = maker()
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    recording = backbone.record(torch.rand(2, 3, 30, 50), timesteps=[0.2, 0.8], noise_samples=2, layers=[0, 2])
    maps = recording.ask(WORDS).maps()
    assert maps.shape == (2, 3, 3, 5)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(2, 3, 5))
    alone = recording.select(1).ask(WORDS).maps()
    torch.testing.assert_close(alone[0], maps[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_clip_gives_maps_of_its_frames():
    pipeline, name, _ = tiny_cogvideox()
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    clip = torch.rand(1, 3, 6, 48, 80)  # lengthened to 9 frames: 3 latent frames
    backbone.card = replace(backbone.card, layers=(0, 2))
    maps = backbone.maps(clip, WORDS)
    assert maps.shape == (1, 3, 6, 48, 80)
    assert torch.equal(maps[:, :, 1], maps[:, :, 4])  # frames 1 to 4 share a latent frame
    assert not torch.equal(maps[:, :, 0], maps[:, :, 1])
    assert backbone.record(clip, layers=[0]).grid.frames == 3


def test_a_clip_is_refused_by_a_image_family():
    pipeline, name, _ = tiny_flux()
    with pytest.raises(UserError, match="images, not videos"):
        backbone_of(pipeline, name).encode(torch.rand(1, 3, 5, 48, 80))


def test_a_pipeline_of_another_family_is_refused():
    pipeline, _, _ = tiny_flux()
    with pytest.raises(UserError, match=r"SD3Transformer2DModel.*FluxTransformer2DModel"):
        backbone_of(pipeline, "sd3.5-large")


@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_generating_gives_what_the_stock_pipeline_gives_and_maps_of_its_size(maker, guidance):
    pipeline, name, _ = maker()
    pipeline.set_progress_bar_config(disable=True)
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    frames = 5 if backbone.family.video else None
    settings = {"height": 48, "width": 80}
    made = generate(
        backbone, PROMPT, WORDS, frames=frames, steps=2, guidance=guidance, seed=5, layers=[0, 2], **settings
    )
    text = backbone.text.prompt([PROMPT])
    stock = pipeline(
        **backbone.family.prompt_arguments(text),
        **settings,
        **({"num_frames": frames} if frames else {}),
        num_inference_steps=2,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(5),
    )
    images = stock.frames[0] if frames else stock.images
    assert [i.tobytes() for i in made.images] == [i.tobytes() for i in images]
    size = (1, 3, len(images), 48, 80) if frames else (1, 3, 48, 80)
    assert made.maps.shape == size
