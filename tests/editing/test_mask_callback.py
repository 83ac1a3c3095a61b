"""Masks while a pipeline generates, against GenerationTrace's own maps; and their use in the same run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ca_seg.backbones.trace import GenerationTrace
from ca_seg.cross_attention.reader import CrossAttentionReader
from ca_seg.cross_attention.trace import CrossAttentionTrace
from ca_seg.editing.blended_latents import BlendedLatents
from ca_seg.editing.mask_callback import MaskCallback
from ca_seg.errors import BadMask, UnknownName, UserError
from tests.cross_attention import tiny as cross
from tests.stock_run import recorded_calls
from tests.tiny_families import Run

WORDS = ["cat", "grass", "sky"]
PROMPT = "a photo of a cat"


@pytest.fixture(scope="module")
def run():
    return Run("flux")


def _generate(run, **changes):
    return run.generate(prompt=PROMPT, num_inference_steps=3, **changes)[0]


def test_after_each_step_the_maps_are_those_of_a_trace_that_saw_so_many_steps(run):
    seen = []

    def look(pipeline, step, timestep, tensors):
        seen.append((masks.maps(), masks.mask("grass")))
        return tensors

    with MaskCallback(GenerationTrace(run.backbone, WORDS, layers=[0, 4])).then(look) as masks:
        image = _generate(run, callback_on_step_end=masks)
    assert torch.equal(image, _generate(run))  # the image does not change
    for steps, (maps, mask) in enumerate(seen, 1):
        trace = GenerationTrace(run.backbone, WORDS, layers=[0, 4])

        def stop(pipeline, step, timestep, tensors, steps=steps):
            pipeline._interrupt = step + 1 == steps
            return tensors

        with trace:
            _generate(run, callback_on_step_end=stop)
        assert trace.steps == steps
        assert torch.equal(maps, trace.maps())
        assert torch.equal(mask, trace.maps()[0].argmax(dim=0) == 1)
    assert len(seen) == 3


def test_a_mask_of_the_run_blends_from_a_step_on(run):
    photograph = torch.rand(3, 48, 80, generator=torch.Generator().manual_seed(1))
    masks, seen = MaskCallback(GenerationTrace(run.backbone, WORDS, layers=[0, 4])), []

    def half() -> torch.Tensor:
        """The half of the tokens with the highest values of the first word so far."""
        cat = masks.maps()[0, 0]
        seen.append(cat > cat.median())
        return seen[-1]

    blend = BlendedLatents(run.backbone, photograph, half, first_step=1, seed=5)
    with masks, recorded_calls(run.pipeline.transformer) as calls:
        _generate(run, callback_on_step_end=masks.then(blend))
    calls = [call for call in calls if call["hidden_states"].shape[1] == 15]  # without those of the asks
    assert len(calls) == 3
    assert len(seen) == 2
    assert seen[0].sum() == 7
    level, latents = run.pipeline.scheduler.sigmas[2], run.latents(calls[2])
    clean, noise = run.backbone.encode(photograph[None]), run.latents(calls[0])
    outside = ~seen[0].repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    expected = (1 - level) * clean + level * noise
    torch.testing.assert_close(latents[..., outside], expected[..., outside], atol=1e-5, rtol=1e-5)
    assert (latents - expected)[..., ~outside].abs().amin(dim=1).max() > 1e-3
    first = run.latents(calls[1])
    assert (first - ((1 - run.pipeline.scheduler.sigmas[1]) * clean + run.pipeline.scheduler.sigmas[1] * noise))[
        ..., outside
    ].abs().max() > 1e-3  # before first_step nothing is exchanged


def test_models_that_attend_to_text_separately_are_traced_too():
    tiny = cross.TINY["stable-diffusion"]
    pipeline, seen = tiny.make(), []
    trace = CrossAttentionTrace(CrossAttentionReader(pipeline), "cat grass", ["cat", "grass"])
    with MaskCallback(trace).then(lambda *call: seen.append(call[1]) or call[3]) as masks:
        tiny = replace(tiny, settings=tiny.settings | {"callback_on_step_end": masks})
        cross.generate(tiny, pipeline, "cat grass")
    assert seen == [0, 1]
    assert torch.equal(masks.maps(), trace.maps())
    assert (masks.mask("cat") != masks.mask("grass")).all()


def test_a_pipeline_that_is_not_traced_is_noticed(run):
    masks = MaskCallback(GenerationTrace(run.backbone, WORDS, layers=[0]))
    with pytest.raises(UserError, match="no step"):
        _generate(run, callback_on_step_end=masks)
    with masks:
        _generate(run, callback_on_step_end=masks)
    with pytest.raises(UnknownName):
        masks.mask("dog")
    with pytest.raises(BadMask):
        BlendedLatents(run.backbone, torch.rand(3, 48, 80), torch.ones(1, 48, 80))
    with pytest.raises(UserError, match="2 photographs"):
        BlendedLatents(run.backbone, torch.rand(2, 3, 48, 80), torch.ones(48, 80))
