"""Weights quantised on the way in, by the libraries themselves, on a small FLUX.1 wide enough for their blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import FluxTransformer2DModel

from ca_seg.backbones.families.base import TextTokens
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import find_card, list_backbones
from ca_seg.backbones.loading.partial import build
from ca_seg.backbones.loading.profiles import cpu_computes_bf16, find_profile, read_gguf, read_quantised
from ca_seg.concept.record import record_streams
from ca_seg.errors import CorruptWeights, WeightsUnavailable
from tests.backbones.small_configs import SMALL
from tests.small_models import PROMPT, random_latents, random_text, small_transformer

FLUX = find_family("flux")
CONFIG = SMALL["flux"].config | {
    "attention_head_dim": 32,
    "in_channels": 64,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 64,
    "axes_dims_rope": (8, 12, 12),
}
QUANTISED = {  # the class of a linear layer's weight, and the relative error that its output may have
    "fp32": ("Parameter", 1e-6),
    "bf16": ("Parameter", 0.01),
    "bnb-nf4": ("Params4bit", 0.15),
    "bnb-int8": ("Int8Params", 0.03),
    "ao-int8": ("Int8Tensor", 0.03),
    "ao-fp8": ("Float8Tensor", 0.06),
}


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    torch.manual_seed(0)
    model = FluxTransformer2DModel(**CONFIG).eval()
    folder = tmp_path_factory.mktemp("flux")
    model.save_pretrained(folder / "transformer", max_shard_size="300KB")
    return model, folder


@torch.no_grad()
def _first_values(model, dtype):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 16, 6, 10, generator=generator).to(dtype)
    text = TextTokens(
        torch.randn(1, 7, 64, generator=generator).to(dtype), torch.randn(1, 64, generator=generator).to(dtype)
    )
    inputs = FLUX.inputs(model, latents, text, torch.tensor([0.5]), 3.5)
    attentions = FLUX.attentions(model)
    return record_streams(model, attentions, inputs, image_tokens=15, text_first=True, last_layer=1)[0][1].value.float()


@pytest.mark.parametrize("precision", QUANTISED)
def test_quantised_weights_are_read_lean(stock, precision):
    model, folder = stock
    profile = find_profile(precision)
    small = read_quantised(build(FLUX, dict(model.config), 2), folder / "transformer", profile, "cpu")
    assert len(FLUX.blocks(small)) == 2
    kind, tolerance = QUANTISED[precision]
    quantised, exact_layer = (FLUX.attentions(m)[1].to_q for m in (small, model))
    assert type(quantised.weight).__name__ == kind
    x = torch.randn(5, 128, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = exact_layer(x)
        assert (quantised(x.to(profile.dtype)).float() - expected).norm() <= tolerance * expected.norm()
    values, exact = _first_values(small, profile.dtype), _first_values(model, torch.float32)
    assert (values - exact).norm() <= max(2 * tolerance, 0.05) * exact.norm()


def test_a_layer_of_any_width_is_quantised():
    """The first layer of photo has 432 inputs; bitsandbytes' blocks of weights have 64."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    quantised, exact = (load_backbone("photo", precision=p).maps(image, ["cat", "sky"]) for p in ("bnb-nf4", "fp32"))
    torch.testing.assert_close(quantised.float(), exact, atol=0.15, rtol=0)


def test_a_gguf_file_gives_the_models_vectors(tmp_path):
    """Qwen-Image: its GGUF files hold diffusers' own names, whatever the size (those of FLUX.1 fix a width of 3072)."""
    import gguf

    family = find_family("qwen-image")
    model = small_transformer(family)
    model.save_pretrained(tmp_path / "transformer")
    file = tmp_path / "qwen-image-Q8_0.gguf"
    writer = gguf.GGUFWriter(str(file), "qwen_image")
    for name, tensor in model.state_dict().items():
        data = tensor.float().numpy()
        blocks = data.ndim == 2 and data.shape[1] % 32 == 0
        kind = gguf.GGMLQuantizationType.Q8_0 if blocks else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    small = read_gguf(family, file, tmp_path, torch.float32)
    assert type(family.attentions(small)[0].to_out[0].weight).__name__ == "GGUFParameter"
    latents, text = random_latents(family, 1), random_text(family, 1, PROMPT, 3)
    values = []
    for transformer in (small, model):
        inputs = family.inputs(transformer, latents, text, torch.tensor([0.5]), 3.5)
        tokens = family.grid(transformer, inputs).tokens
        with torch.no_grad():
            streams, _ = record_streams(
                transformer, family.attentions(transformer), inputs, image_tokens=tokens, text_first=True, last_layer=1
            )
        values.append(streams[1].value)
    assert (values[0] - values[1]).norm() <= 0.03 * values[1].norm()


def test_a_missing_and_a_broken_gguf_file_are_named(stock, tmp_path):
    _, folder = stock
    with pytest.raises(WeightsUnavailable, match=r"nowhere\.gguf"):
        read_gguf(FLUX, tmp_path / "nowhere.gguf", folder, torch.float32)
    (tmp_path / "half.gguf").write_bytes(b"GGUF\x03")
    with pytest.raises(CorruptWeights, match=r"half\.gguf"):
        read_gguf(FLUX, tmp_path / "half.gguf", folder, torch.float32)


@pytest.mark.parametrize(
    ("on_card", "on_cpu", "precision", "expected"),
    [
        (True, True, None, torch.bfloat16),
        (True, False, None, torch.float32),
        (False, True, None, torch.float32),  # the figures were not measured in bf16
        (True, True, "fp32", torch.float32),
        (False, False, "bf16", torch.bfloat16),
    ],
)
def test_bf16_is_the_default_where_the_card_allows_it_and_the_cpu_has_it(
    monkeypatch, on_card, on_cpu, precision, expected
):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: on_cpu, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)  # alone it is no faster
    card = replace(find_card("mini"), bf16_on_cpu=on_card)
    monkeypatch.setattr("ca_seg.backbones.load.find_card", lambda name: card)
    backbone = load_backbone("mini", precision=precision)
    assert backbone.dtype == expected
    if expected == torch.bfloat16 and precision is None:
        maps = backbone.maps(torch.rand(1, 3, 128, 128), ["cat", "grass"])
        torch.testing.assert_close(maps.float().sum(dim=1), torch.ones(1, 128, 128), atol=0.02, rtol=0)
        assert load_backbone("mini", random_weights=True).dtype == torch.float32


def test_a_torch_that_cannot_tell_computes_in_fp32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert not cpu_computes_bf16()


def test_no_card_claims_figures_in_bf16_that_were_not_measured():
    assert [name for name in list_backbones() if find_card(name).bf16_on_cpu] == []
