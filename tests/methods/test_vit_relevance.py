"""GradCAM, LRP, partial LRP and TransInterp: against a direct formula, and against the authors' code."""

from __future__ import annotations

import pytest
import timm
import torch

import ca_seg
from ca_seg.errors import UnknownName, UserError
from tests.methods.small import Small
from tests.methods.small_vit import CLASSES, formula_image, formula_vit, images, small_vit

INPUTS = {"class_names": CLASSES}
SMALL = {
    "gradcam": Small(lambda: {"model": small_vit(), **INPUTS}),
    "lrp": Small(lambda: {"model": small_vit(), **INPUTS}),
    "partial-lrp": Small(lambda: {"model": small_vit(reg_tokens=2), **INPUTS}),
    "transinterp": Small(lambda: {"model": small_vit(), **INPUTS}),
}
# Maps of class 2 by the authors' code (hila-chefer/Transformer-Explainability, commit c3e578f) on the same weights and
# image, min-max scaled; of LRP the mean over 8 x 8 pixels.
REFERENCE = {
    "gradcam": [
        [0.2431, 1.0, 0.04762, 0.0],
        [0.20494, 0.48548, 0.09972, 0.01215],
        [0.34274, 0.69051, 0.02566, 0.00056],
        [0.57508, 0.5579, 0.07392, 0.01477],
    ],
    "lrp": [
        [0.21751, 0.14483, 0.15477, 0.12146],
        [0.10485, 0.59605, 0.18749, 0.08159],
        [0.10426, 0.15824, 0.13834, 0.11396],
        [0.05584, 0.14242, 0.14658, 0.05109],
    ],
    "partial-lrp": [
        [0.27596, 1.0, 0.02548, 0.00064],
        [0.44775, 0.31667, 0.04269, 0.00626],
        [0.13891, 0.5852, 0.00997, 0.0],
        [0.29471, 0.42529, 0.03301, 0.01025],
    ],
    "transinterp": [
        [0.03453, 0.41171, 0.58637, 0.03415],
        [0.01926, 0.4339, 1.0, 0.07648],
        [0.00478, 0.29087, 0.41081, 0.00302],
        [0.0, 0.6714, 0.8166, 0.02113],
    ],
}


@pytest.mark.parametrize("name", REFERENCE)
def test_maps_are_those_of_the_authors_code(name):
    maps = ca_seg.method(name, model=formula_vit(), **INPUTS).predict(formula_image(), ["grass"])
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, 4)
    torch.testing.assert_close(pooled[0, 0], torch.tensor(REFERENCE[name]), atol=1e-3, rtol=0)


def logits_of_attention(model, block, x, attention):
    """The logits as a function of one block's attention [B, heads, N, N], from the tokens x at that block."""
    attn = block.attn
    values = attn.qkv(block.norm1(x)).chunk(3, dim=-1)[2].unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
    x = x + attn.proj((attention @ values).transpose(1, 2).flatten(2))
    x = x + block.mlp(block.norm2(x))
    return model.head(model.norm(x)[:, 0])


def test_gradcam_is_the_weighted_attention_of_the_last_block():
    model, batch = small_vit(reg_tokens=1), images(1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = model.blocks[:-1](model._pos_embed(model.patch_embed((batch - mean) / std))).detach()
    last = model.blocks[-1]
    queries, keys, _ = last.attn.qkv(last.norm1(x)).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
    attention = (queries @ keys.mT / 8**0.5).softmax(dim=-1).detach().requires_grad_()
    logits = logits_of_attention(model, last, x, attention)
    torch.testing.assert_close(logits, model((batch - mean) / std), atol=1e-4, rtol=1e-4)
    logits[0, 3].backward()
    weights = attention.grad[0, :, 0, 2:].mean(dim=1)
    expected = (weights[:, None] * attention[0, :, 0, 2:]).mean(dim=0).clamp_min(0).detach().reshape(4, 4)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    maps = ca_seg.method("gradcam", model=small_vit(reg_tokens=1), **INPUTS).predict(batch, [CLASSES[3]])
    torch.testing.assert_close(maps[0, 0], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", SMALL)
def test_the_predicted_class_is_explained_whatever_the_word(name):
    model, image = formula_vit(), formula_image()
    method = ca_seg.method(name, model=model, target="predicted")
    by_word = ca_seg.method(name, model=model, **INPUTS)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    predicted = CLASSES[int(model((image - mean) / std).argmax())]
    torch.testing.assert_close(method.predict(image, ["anything"]), by_word.predict(image, [predicted]))
    with pytest.raises(UserError, match="class-agnostic"):
        method.predict(image, ["cat", "dog"])


def test_the_background_is_where_no_class_is_above_the_mean():
    maps = ca_seg.method("gradcam", model=small_vit(), **INPUTS).predict(images(), ["cat", "background", "dog"])
    level = maps[:, [0, 2]].amax(dim=1).mean(dim=(1, 2))
    torch.testing.assert_close(maps[:, 1], level[:, None, None].expand(-1, 4, 4))


@pytest.mark.parametrize("name", ["gradcam", "lrp"])
def test_a_background_alone_is_everywhere_the_same(name):
    """An evaluation asks this of an image that shows nothing else."""
    maps = ca_seg.method(name, model=small_vit(), **INPUTS).predict(images(), ["background"])
    assert maps.shape[:2] == (2, 1)
    assert maps.unique().numel() == 1


def test_phrases_of_a_class_give_their_largest_map():
    method = ca_seg.method("transinterp", model=small_vit(), **INPUTS)
    both = method.predict(images(), {"animal": ["cat", "dog"], "sky": ["sky"]})
    apart = method.predict(images(), ["cat", "dog", "sky"])
    torch.testing.assert_close(both, torch.stack([apart[:, :2].amax(dim=1), apart[:, 2]], dim=1))


def test_lrp_conserves_where_it_is_asked_to():
    plain, conserving = (
        ca_seg.method("lrp", model=formula_vit(), lrp_rule=rule, **INPUTS) for rule in ("reference", "conserving")
    )
    maps = [method.predict(formula_image(), ["cat"]) for method in (plain, conserving)]
    assert maps[1].shape == (1, 1, 32, 32)
    assert not torch.allclose(*maps, atol=1e-2)
    assert conserving.predictor.settings()["lrp_rule"] == "conserving"


def test_a_thousand_outputs_are_imagenet():
    method = ca_seg.method("gradcam", model=small_vit(num_classes=1000))
    by_id = method.predict(images(), ["n01443537"])
    torch.testing.assert_close(method.predict(images(), ["goldfish"]), by_id)
    torch.testing.assert_close(method.predict(images(), ["Carassius auratus"]), by_id)
    birds_and_machines = method.predict(images(), {"crane": ["n02012849", "n03126707"]})
    torch.testing.assert_close(method.predict(images(), ["crane"]), birds_and_machines)
    with pytest.raises(UnknownName, match="goldfish"):
        method.predict(images(), ["goldfich"])


@pytest.mark.parametrize(
    ("options", "inputs", "match"),
    [
        ({"num_classes": 0}, {}, "no classes"),
        ({}, {}, "class_names"),
        ({}, {"class_names": ["cat"]}, "1 class names for 5"),
        ({}, {"class_names": CLASSES, "target": "nearest"}, "target"),
    ],
)
def test_a_network_without_classes_or_names_is_refused(options, inputs, match):
    with pytest.raises(UserError, match=match):
        ca_seg.method("gradcam", model=small_vit(**options), **inputs)


@pytest.mark.parametrize("name", ["lrp", "partial-lrp", "transinterp"])
def test_a_part_without_a_rule_is_refused(name):
    gated = timm.create_model("vit_small_patch14_dinov2", depth=1, num_classes=2, mlp_layer=timm.layers.SwiGLUPacked)
    with pytest.raises(UserError, match="MLP"):
        ca_seg.method(name, model=gated, class_names=["cat", "dog"])
    with pytest.raises(UserError, match="pooling"):
        ca_seg.method(name, model=small_vit(class_token=False, global_pool="map"), **INPUTS)


def test_an_unknown_rule_is_refused():
    with pytest.raises(UserError, match="lrp_rule"):
        ca_seg.method("lrp", model=small_vit(), lrp_rule="gamma", **INPUTS)
