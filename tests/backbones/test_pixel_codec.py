"""The linear autoencoder against principal components by numpy."""

from __future__ import annotations

import numpy as np
import torch

from ca_seg.backbones.pixel_codec import PixelCodec


def _images():
    noise = torch.randn(6, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1).clamp(-1, 1)


def test_with_all_channels_the_image_is_reconstructed():
    codec = PixelCodec(latent_channels=48)
    images = _images()
    codec.fit(images)
    back = codec.decode(codec.encode(images).latent_dist.mode()).sample
    torch.testing.assert_close(back, images, atol=1e-4, rtol=1e-4)


def test_latents_are_whitened_principal_components():
    codec, images = PixelCodec(), _images()
    codec.fit(images)
    latents = codec.encode(images).latent_dist.mean
    assert latents.shape == (6, 16, 4, 6)
    rows = latents.permute(0, 2, 3, 1).reshape(-1, 16).double().numpy()
    np.testing.assert_allclose(np.cov(rows.T), np.eye(16), atol=1e-3)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(-1, 48).double().numpy()
    strongest = np.linalg.eigvalsh(np.cov(patches.T))[-16:].sum() / np.trace(np.cov(patches.T))
    back = codec.decode(codec.encode(images).latent_dist.mean, return_dict=False)[0]
    lost = ((back - images) ** 2).sum() / ((images - images.unfold(2, 4, 4).mean()) ** 2).sum()
    assert abs((1 - strongest) - float(lost)) < 0.02
