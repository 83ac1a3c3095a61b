"""Raw attention, rollout and the self-supervised methods against a direct computation of a transformer's attention."""

from __future__ import annotations

import pytest
import timm
import torch

import ca_seg
from ca_seg.errors import OutOfRange, UserError
from tests.methods.small import Small
from tests.methods.small_vit import images, small_vit

SMALL = {
    "vit-attention": Small(lambda: {"model": small_vit()}),
    "rollout": Small(lambda: {"model": small_vit()}),
    "dino": Small(lambda: {"model": small_vit(num_classes=0)}),
    "dinov2": Small(lambda: {"model": small_vit(num_classes=0, init_values=0.5, dynamic_img_size=True)}),
    "dinov2-reg": Small(lambda: {"model": small_vit(num_classes=0, reg_tokens=2, no_embed_class=True)}),
}
VARIANTS = {
    "class token": {},
    "registers": {"reg_tokens": 3},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "normalised queries": {"qk_norm": True},
    "layer scale": {"init_values": 0.3},
}


def direct_attention(model, pixels):
    """The attention of every block [B, heads, N, N], from the definition softmax(q k / sqrt(d)), in float64."""
    model = model.double()
    x = model._pos_embed(model.patch_embed(pixels.double()))
    for block in model.blocks:
        attn = block.attn
        tokens, size = x.shape[1], attn.head_dim
        weight, bias = attn.qkv.weight, attn.qkv.bias
        queries, keys, _ = (
            torch.einsum("bnc,hdc->bhnd", block.norm1(x), w.reshape(attn.num_heads, size, -1)) + b
            for w, b in zip(
                weight.chunk(3),
                [p.reshape(attn.num_heads, 1, size) for p in bias.chunk(3)],
                strict=True,
            )
        )
        scores = torch.einsum("bhnd,bhmd->bhnm", attn.q_norm(queries), attn.k_norm(keys)) / size**0.5
        assert scores.shape[-1] == tokens
        yield (scores.exp() / scores.exp().sum(dim=-1, keepdim=True)).detach()
        x = block(x)


def scaled(maps):
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return ((maps - low) / (high - low)).float()


def normalised(batch):
    """As timm normalises for a model without a configuration: the mean and deviation of ImageNet."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (batch - mean) / std


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_raw_attention_is_the_row_of_the_class_token(options):
    batch, prefix = images(), small_vit(**options).num_prefix_tokens
    last = list(direct_attention(small_vit(**options), normalised(batch)))[-1].mean(dim=1)
    row = last[:, 0, prefix:] if prefix else last.mean(dim=1)
    maps = ca_seg.method("vit-attention", model=small_vit(**options)).predict(batch, ["cat"], batch_size=2)
    torch.testing.assert_close(maps[:, 0], scaled(row.reshape(2, 4, 4)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_rollout_is_the_product_over_blocks(options, start):
    batch, prefix = images(), small_vit(**options).num_prefix_tokens
    first, *rest = list(direct_attention(small_vit(**options), normalised(batch)))[start:]
    product = (first.mean(dim=1) + torch.eye(first.shape[-1])) / 2
    for attention in rest:
        product = torch.einsum("bij,bjk->bik", (attention.mean(dim=1) + torch.eye(first.shape[-1])) / 2, product)
    row = product[:, 0, prefix:] if prefix else product.mean(dim=1)
    method = ca_seg.method("rollout", model=small_vit(**options), start_layer=start)
    maps = method.predict(batch, ["cat"], batch_size=2)
    torch.testing.assert_close(maps[:, 0], scaled(row.reshape(2, 4, 4)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["dino", "dinov2", "dinov2-reg"])
def test_self_supervised_maps_are_raw_attention(name):
    inputs = SMALL[name].inputs()
    maps = ca_seg.method(name, **inputs).predict(images(), ["cat"])
    torch.testing.assert_close(ca_seg.method("vit-attention", **inputs).predict(images(), ["cat"]), maps)


def test_a_dynamic_network_keeps_the_shape_of_the_image():
    model = small_vit(dynamic_img_size=True)
    assert ca_seg.method("dino", model=model).predict(images(1, (41, 66)), ["cat"]).shape == (1, 1, 5, 8)
    assert ca_seg.method("dino", model=model, resolution=16).predict(images(1, (32, 64)), ["cat"]).shape[2:] == (2, 4)
    assert ca_seg.method("dino", model=small_vit()).predict(images(1, (41, 66)), ["cat"]).shape[2:] == (4, 4)


def test_eva_transformers_are_read_too():
    model = timm.create_model("eva02_tiny_patch14_224", num_classes=0, depth=2, img_size=28).eval()
    assert ca_seg.method("dinov2", model=model).predict(images(), ["cat"]).shape == (2, 1, 2, 2)


def test_bad_options_are_refused():
    with pytest.raises(UserError, match="resolution"):
        ca_seg.method("dino", model=small_vit(), resolution=64)
    with pytest.raises(OutOfRange, match="resolution"):
        ca_seg.method("dino", model=small_vit(dynamic_img_size=True), resolution=4)
    with pytest.raises(OutOfRange, match="start_layer"):
        ca_seg.method("rollout", model=small_vit(), start_layer=3)
    with pytest.raises(UserError, match="takes no start_layer"):
        ca_seg.method("dino", model=small_vit(), start_layer=1)
    with pytest.raises(UserError, match="ResNet"):
        ca_seg.method("rollout", model=timm.create_model("resnet18", num_classes=0))
