"""Painting by every family of images: against the stock pipelines' own calls, and against their own blending."""

from __future__ import annotations

import inspect

import diffusers
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

from ca_seg.backbones.families.registry import FAMILIES, find_family
from ca_seg.backbones.generate import encoded_prompt, generate, stock_pipeline
from ca_seg.backbones.load import backbone_of, load_backbone
from ca_seg.editing.blended_latents import BlendedLatents
from ca_seg.editing.inpainting import BLENDED, BY_FAMILY, Painting, inpainting_of, paint
from ca_seg.editing.region import Region
from ca_seg.errors import UserError
from tests.stock_run import recorded_calls
from tests.tiny_families import Run
from tests.tiny_pipelines import tiny_flux_fill

PROMPT = "a photo of a cat"
IMAGES = [name for name in FAMILIES if not find_family(name).video and find_family(name).takes_encoded_prompts]
SAME_BLENDING = ["flux", "qwen-image", "z-image"]  # FLUX.2-klein also sees the photograph as reference


@pytest.fixture(scope="module")
def run_of():
    runs: dict[str, Run] = {}
    return lambda name: runs.setdefault(name, Run(name))


def _photograph(run: Run) -> tuple[torch.Tensor, Region]:
    """A photograph in the backbone's working size, and a region of whole tokens."""
    size = run.tiny.size
    photograph = torch.rand(3, size["height"], size["width"], generator=torch.Generator().manual_seed(1))
    photograph = (photograph * 255).round() / 255
    inside = np.zeros((size["height"], size["width"]), bool)
    token = size["height"] // 3
    inside[token : 2 * token, token : 3 * token] = True
    return photograph, Region(inside)


def _takes(pipeline, argument: str) -> bool:
    return argument in inspect.signature(pipeline.__call__).parameters


def _pil(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy())


def _same(ours, theirs) -> None:
    """Equal arguments, also in lists."""
    if isinstance(theirs, torch.Tensor):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    elif isinstance(theirs, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            _same(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("name", BY_FAMILY)
def test_the_familys_inpainting_pipeline_is_called_as_with_a_text(name, run_of):
    run = run_of(name)
    photograph, region = _photograph(run)
    known = inpainting_of(run.backbone.card)
    assert known == BY_FAMILY[name]
    painting = Painting(PROMPT, strength=0.7, steps=4, guidance=None if name == "flux2-klein" else 4.0, seed=3)
    with recorded_calls(run.pipeline.transformer) as ours:
        painted = paint(run.backbone, photograph, region, painting)
    distilled = {"is_distilled": True} if name == "flux2-klein" else {}
    stock = getattr(diffusers, known)(**run.pipeline.components, **distilled)
    stock.set_progress_bar_config(disable=True)
    guided = {} if painting.guidance is None else {run.family.guidance_argument: 4.0}
    negative = {"negative_prompt": ""} if _takes(stock, "negative_prompt") else {}
    with recorded_calls(run.pipeline.transformer) as theirs:
        expected = stock(
            prompt=PROMPT,
            image=_pil(photograph),
            mask_image=Image.fromarray(region.inside).convert("L"),
            strength=0.7,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(3),
            max_sequence_length=run.tiny.length,
            **run.tiny.size,
            **guided,
            **negative,
        ).images[0]
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for argument in other:
            _same(mine[argument], other[argument])
    assert painted.tobytes() == expected.tobytes()


def test_kontext_edits_with_its_own_inpainting_pipeline_at_the_size_of_the_photograph(run_of):
    run = run_of("flux")
    backbone = backbone_of(run.pipeline, "flux1-kontext-dev", resolution=48)
    backbone.text.length = run.tiny.length
    photograph, region = _photograph(run)
    with recorded_calls(run.pipeline.transformer) as ours:
        painted = paint(backbone, photograph, region, Painting(PROMPT, strength=0.7, steps=2, seed=3))
    stock = diffusers.FluxKontextInpaintPipeline(**run.pipeline.components)
    stock.set_progress_bar_config(disable=True)
    with recorded_calls(run.pipeline.transformer) as theirs:
        expected = stock(
            prompt=PROMPT,
            image=_pil(photograph),
            mask_image=Image.fromarray(region.inside).convert("L"),
            strength=0.7,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(3),
            max_sequence_length=run.tiny.length,
            max_area=48 * 80,
            _auto_resize=False,
            **run.tiny.size,
        ).images[0]
    assert ours[0]["hidden_states"].shape[1] == 2 * 15  # the photograph again, as reference
    for mine, other in zip(ours, theirs, strict=True):
        for argument in other:
            _same(mine[argument], other[argument])
    assert painted.tobytes() == expected.tobytes()


def test_fill_edits_with_its_own_pipeline_and_generates_nothing_from_text(run_of):
    pipeline, card = tiny_flux_fill()
    backbone = backbone_of(pipeline, card, resolution=48)
    backbone.text.length = 7
    photograph, region = _photograph(run_of("flux"))
    with recorded_calls(pipeline.transformer) as ours:
        painted = paint(backbone, photograph, region, Painting(PROMPT, strength=0.7, steps=2, seed=3))
    with recorded_calls(pipeline.transformer) as theirs:
        expected = pipeline(
            prompt=PROMPT,
            image=_pil(photograph),
            mask_image=Image.fromarray(region.inside).convert("L"),
            strength=0.7,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(3),
            max_sequence_length=7,
            height=48,
            width=80,
        ).images[0]
    for mine, other in zip(ours, theirs, strict=True):
        for argument in other:
            _same(mine[argument], other[argument])
    assert painted.tobytes() == expected.tobytes()
    with pytest.raises(UserError, match="text alone"):
        generate(backbone, PROMPT, ["cat"], steps=1)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("name", SAME_BLENDING)
def test_blended_latents_paint_what_the_inpainting_pipeline_paints(name, strength, run_of, monkeypatch):
    """The pipelines draw the photograph's latents from the autoencoder's distribution; here both take its mode."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    run = run_of(name)
    photograph, region = _photograph(run)
    painting = Painting(PROMPT, strength=strength, steps=4, guidance=4.0, seed=3)
    stock = np.asarray(paint(run.backbone, photograph, region, painting), int)
    ours = np.asarray(paint(run.backbone, photograph, region, painting, BLENDED), int)
    assert np.abs(stock - ours).max() <= 1


def test_for_sd3_they_paint_what_its_inpainting_pipeline_paints_where_the_autoencoder_has_no_shift(monkeypatch):
    """With a shift that pipeline decodes other latents than it blends, which is why it is not in the registry."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    run = Run("sd3")
    run.pipeline.vae.register_to_config(shift_factor=0.0)
    photograph, region = _photograph(run)
    stock = stock_pipeline(run.backbone, name="StableDiffusion3InpaintPipeline")
    text = run.family.prompt_arguments(encoded_prompt(run.backbone, PROMPT), encoded_prompt(run.backbone, ""))
    expected = stock(
        **text,
        **run.tiny.size,
        image=_pil(photograph),
        mask_image=Image.fromarray(region.inside).convert("L"),
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(3),
    ).images[0]
    ours = paint(run.backbone, photograph, region, Painting(PROMPT, strength=0.5, steps=4, guidance=4.0, seed=3))
    assert np.abs(np.asarray(expected, int) - np.asarray(ours, int)).max() <= 1


@pytest.mark.parametrize("name", IMAGES)
def test_blended_latents_on_every_stock_loop(name, run_of):
    """The first step is that of the stock pipeline with the text; then the outside is the noised photograph."""
    run = run_of(name)
    backbone = run.backbone
    photograph, region = _photograph(run)
    blend = BlendedLatents(backbone, photograph, region.inside, seed=5)
    assert (blend.height, blend.width) == tuple(run.tiny.size.values())
    pipeline = stock_pipeline(backbone)
    settings = {"num_inference_steps": 3} | {k: v for k, v in run.settings.items() if k != "negative_prompt"}
    text = backbone.family.prompt_arguments(encoded_prompt(backbone, PROMPT), encoded_prompt(backbone, ""))
    with recorded_calls(run.pipeline.transformer) as calls:
        pipeline(
            **text,
            **run.tiny.size,
            **settings,
            generator=torch.Generator().manual_seed(5),
            callback_on_step_end=blend,
        )
    per_step = len(calls) // 3
    negative = {"negative_prompt": ""} if _takes(run.pipeline, "negative_prompt") else {}
    _, stock = run.generate(prompt=PROMPT, num_inference_steps=3, **negative)
    assert len(stock) == len(calls)
    for mine, other in zip(calls[:per_step], stock[:per_step], strict=True):
        for argument in other:
            if name == "lumina2" and mine is not calls[0] and argument.startswith("encoder_"):
                continue  # its own empty prompt has no system prompt before it
            _same(mine[argument], other[argument])
    noise, clean = run.latents(calls[0]), backbone.encode(photograph[None])
    outside = ~torch.from_numpy(region.in_size(*clean.shape[-2:]))
    for step in (1, 2):
        level = pipeline.scheduler.sigmas[step]
        expected, latents = (1 - level) * clean + level * noise, run.latents(calls[step * per_step])
        torch.testing.assert_close(latents[..., outside], expected[..., outside], atol=1e-5, rtol=1e-5)
        assert (latents - expected)[..., ~outside].abs().max() > 1e-3


def test_below_full_strength_the_inside_starts_from_the_noised_photograph():
    backbone = load_backbone("mini")
    photograph = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(1))
    region = Region(np.ones((128, 128), bool))
    with recorded_calls(backbone.transformer) as calls:
        paint(backbone, photograph, region, Painting("cat", strength=0.5, steps=4, seed=3))
    assert len(calls) == 3  # one is thrown away
    clean = backbone.encode(photograph[None])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    expected = backbone.family.loop_latents(backbone.transformer, (clean + noise) / 2)
    torch.testing.assert_close(calls[1]["hidden_states"], expected, atol=1e-5, rtol=1e-5)
    assert calls[1]["timestep"].item() == pytest.approx(0.5)


def test_the_weights_that_ship_are_painted_with_by_blended_latents_and_have_no_guidance():
    backbone = load_backbone("mini")
    assert inpainting_of(backbone.card) is None
    region = Region(np.ones((128, 128), bool))
    with pytest.raises(UserError, match="no guidance"):
        paint(backbone, torch.rand(3, 128, 128), region, Painting("cat", guidance=3.0))


def test_a_pipeline_of_another_size_is_refused_by_the_blending(run_of):
    run = run_of("flux")
    photograph, region = _photograph(run)
    blend = BlendedLatents(run.backbone, photograph, region.inside)
    with pytest.raises(UserError, match="height=48, width=80"):
        run.pipeline(
            PROMPT, height=48, width=48, num_inference_steps=1, max_sequence_length=7, callback_on_step_end=blend
        )
