"""What the tap refuses."""

from __future__ import annotations

import pytest
import torch
from diffusers import FirstBlockCacheConfig, ModelMixin

from ca_seg import Vocabulary
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.trace import GenerationTrace
from ca_seg.concept.known_words import KnownWords
from ca_seg.concept.tap import check_whole
from ca_seg.errors import UserError
from tests.small_flux import small_backbone
from tests.tiny_pipelines import MAKERS


def test_a_transformer_split_over_devices_is_refused(monkeypatch):
    """diffusers' context and tensor parallelism: every device sees some heads, and would record them as if all."""
    assert hasattr(ModelMixin, "_parallel_config")  # what `enable_parallelism` sets
    backbone, image = small_backbone(), torch.rand(1, 3, 48, 80)
    recording = backbone.record(image, layers=[1])
    monkeypatch.setattr(backbone.transformer, "_parallel_config", object())
    with pytest.raises(UserError, match="enable_parallelism"):
        backbone.record(image, layers=[1])
    with pytest.raises(UserError, match="enable_parallelism"):
        backbone.record(image, layers=[1], known=KnownWords((Vocabulary.from_names(["cat"]),)))
    with pytest.raises(UserError, match="enable_parallelism"):
        recording.ask(["cat"])
    with pytest.raises(UserError, match="enable_parallelism"), GenerationTrace(backbone, ["cat"], layers=[1]):
        pass


def test_a_cached_transformer_is_refused_and_a_restored_one_is_not():
    backbone = small_backbone()
    backbone.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    with pytest.raises(UserError, match="enable_cache"):
        check_whole(backbone.transformer)
    backbone.transformer.disable_cache()
    check_whole(backbone.transformer)


def test_a_trace_of_a_transformer_that_is_compiled_as_a_whole_is_refused():
    backbone = small_backbone()
    backbone.transformer.compile(backend="eager")
    with pytest.raises(UserError, match="compile"), GenerationTrace(backbone, ["cat"], layers=[1]):
        pass


def test_weights_that_are_stored_smaller_compute_in_their_own_type():
    backbone, image = small_backbone(), torch.rand(1, 3, 48, 80)
    plain = backbone.record(image, layers=[1]).ask(["cat", "grass"]).maps()
    backbone.transformer.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert backbone.dtype == torch.float32
    maps = backbone.record(image, layers=[1]).ask(["cat", "grass"]).maps()
    assert (maps - plain).abs().max() < 0.02


@pytest.mark.parametrize("steps", [1, 2])
def test_a_second_prompt_in_one_trace_is_refused(steps):
    pipeline, card, more = MAKERS["flux"]()
    pipeline.set_progress_bar_config(disable=True)
    backbone = backbone_of(pipeline, card)
    options = {"num_inference_steps": steps, "output_type": "latent", "height": 48, "width": 80, **more}
    with GenerationTrace(backbone, ["cat"], layers=[1]) as trace:
        pipeline("a cat on grass", **options)
        assert trace.steps == steps
        with pytest.raises(UserError, match="second prompt"):
            pipeline("sky", **options)


def test_a_step_without_some_layers_is_no_second_prompt():
    """SD3's skip-layer guidance: after the batch of both prompts, the prompt alone is asked of the same latents."""
    pipeline, card, more = MAKERS["sd3"]()
    pipeline.set_progress_bar_config(disable=True)
    backbone, text = backbone_of(pipeline, card), {"prompt": "a cat", "negative_prompt": "grass"}
    skipping = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 0.5}
    calls, maps = [], []
    pipeline.transformer.register_forward_pre_hook(lambda *_: calls.append(1) if not trace._asking else None)
    for options in ({}, skipping):
        torch.manual_seed(0)
        with GenerationTrace(backbone, ["cat"], layers=[1], on_step=lambda _, step: maps.append(step)) as trace:
            pipeline(**text, num_inference_steps=3, output_type="latent", height=48, width=80, **more, **options)
        assert trace.steps == 3
    assert len(calls) == 3 + 4  # one of three steps is asked without a layer as well
    assert torch.equal(maps[0], maps[3])  # the first step of both
