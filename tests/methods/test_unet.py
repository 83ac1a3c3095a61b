"""DAAM and OVAM give what their formulas give, on tiny random pipelines."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

import ca_seg
from ca_seg.errors import UserError, WeightsUnavailable
from tests.cross_attention.naive import attention_inputs, naive_attention
from tests.cross_attention.tiny import pixart_sigma, stable_diffusion, stable_diffusion_xl
from tests.methods.small import Small

SMALL = {
    "daam-sd2": Small(lambda: {"pipeline": stable_diffusion(), "resolution": 48}),
    "daam-sdxl": Small(lambda: {"pipeline": stable_diffusion_xl(), "resolution": 48}),
    "ovam-sdxl": Small(lambda: {"pipeline": stable_diffusion_xl(), "resolution": 48}),
}
WORDS = ["cat", "traffic light"]  # the prompt is <s> a cat, a traffic light </s>
TOKENS = {"cat": [2], "traffic light": [4, 5]}
UNPADDED = 7


def layers_outside_the_middle(unet):
    return {
        name: module
        for name, module in unet.named_modules()
        if name.endswith("attn2") and not name.startswith("mid_block")
    }


def naive_maps(pipeline, run, *, mode, text=None):
    """The paper's sum, token by token and head by head, over one pass of five noise samples that `run` makes.

    Args:
        pipeline: whose U-Net runs
        run: makes the pass
        mode: of resizing
        text: the embeddings of an attribution prompt; None: those of the pass
    """
    modules = layers_outside_the_middle(pipeline.unet)
    with attention_inputs(modules) as seen:
        run()
    total, heads = torch.zeros(len(WORDS), 6, 9), 0
    for name, module in modules.items():
        call = seen[name]
        assert len(call["hidden_states"]) == 5
        if text is not None:
            call = call | {"encoder_hidden_states": text.expand(5, -1, -1)}
        probabilities, _ = naive_attention(module, call)  # [5, heads, N, T]
        size = {54: (6, 9), 15: (3, 5)}[probabilities.shape[2]]
        for head in range(probabilities.shape[1]):
            heads += 1
            for index, word in enumerate(WORDS):
                for token in TOKENS[word]:
                    token_map = probabilities[:, head, :, token].mean(dim=0).reshape(1, 1, *size)
                    larger = token_map if size == (6, 9) else interpolate(token_map, (6, 9), mode=mode).clamp_min(0)
                    total[index] += larger[0, 0] / len(TOKENS[word])
    return total[None] / heads


@pytest.fixture
def image():
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize(("name", "make"), [("daam-sd2", stable_diffusion), ("daam-sdxl", stable_diffusion_xl)])
def test_daam_is_the_sum_of_the_resized_maps_of_the_prompts_words(image, name, make):
    pipeline = make()
    method = ca_seg.method(name, pipeline=pipeline, resolution=48)
    expected = naive_maps(pipeline, lambda: method.predict(image, WORDS), mode="bicubic")
    torch.testing.assert_close(method.predict(image, WORDS), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_ovam_asks_the_queries_of_an_empty_prompt_for_other_words(image):
    pipeline = stable_diffusion_xl()
    method = ca_seg.method("ovam-sdxl", pipeline=pipeline, resolution=48)
    text = pipeline.encode_prompt("a cat, a traffic light", do_classifier_free_guidance=False)[0]
    expected = naive_maps(
        pipeline, lambda: method.predictor.predict(image, [0]), mode="bilinear", text=text[:, :UNPADDED]
    )
    torch.testing.assert_close(method.predict(image, WORDS), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_vocabulary_that_does_not_fit_the_text_encoder_is_split(image):
    """12 tokens hold five words with their article; each group competes in its own softmax."""
    words = ["cat", "dog", "grass", "sky", "photo", "red", "light"]
    for name, make in (("daam-sd2", stable_diffusion), ("ovam-sdxl", stable_diffusion_xl)):
        method = ca_seg.method(name, pipeline=make(), resolution=48)
        together = method.predict(image, words)
        parts = [method.predict(image, part) for part in (words[:5], words[5:])]
        torch.testing.assert_close(together, torch.cat(parts, dim=1))


def test_the_best_phrase_counts_for_a_class(image):
    method = ca_seg.method("daam-sd2", pipeline=stable_diffusion(), resolution=48)
    apart = method.predict(image, ["cat", "dog", "grass"])
    pooled = method.predict(image, {"animal": ["cat", "dog"], "grass": "grass"})
    torch.testing.assert_close(pooled, torch.stack([apart[:, :2].amax(dim=1), apart[:, 2]], dim=1))


def test_a_phrase_that_is_too_long_is_refused_before_an_image_is_read():
    method = ca_seg.method("daam-sd2", pipeline=stable_diffusion())
    with pytest.raises(UserError, match="too long"):
        method.predict("missing.jpg", ["red " * 12 + "cat"])


def test_pipelines_of_other_kinds_are_refused():
    with pytest.raises(UserError, match=r"PixArtSigmaPipeline.*StableDiffusionPipeline"):
        ca_seg.method("daam-sd2", pipeline=pixart_sigma())
    with pytest.raises(UserError, match=r"StableDiffusionPipeline.*StableDiffusionXLPipeline"):
        ca_seg.method("ovam-sdxl", pipeline=stable_diffusion())


@pytest.mark.parametrize("name", ["daam-sd2", "daam-sdxl", "ovam-sdxl"])
def test_weights_that_cannot_be_reached_are_named(monkeypatch, name):
    def unreachable(*args, **kwargs):
        raise OSError("no route to the hub")

    monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", unreachable)
    with pytest.raises(WeightsUnavailable, match=r"stable-diffusion.*Open RAIL"):
        ca_seg.method(name)


def test_the_pipeline_is_left_as_it_was(image):
    pipeline = stable_diffusion()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules()]
    weights = [p.clone() for p in pipeline.unet.parameters()]
    processors = list(pipeline.unet.attn_processors.values())
    ca_seg.method("daam-sd2", pipeline=pipeline, resolution=48).predict(image, WORDS)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in pipeline.unet.modules()] == hooks
    assert list(pipeline.unet.attn_processors.values()) == processors
    assert all(torch.equal(a, b) for a, b in zip(pipeline.unet.parameters(), weights, strict=True))
