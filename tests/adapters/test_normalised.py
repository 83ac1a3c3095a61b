"""Normalisation and padding of a trainer's batch are inverted exactly."""

from __future__ import annotations

import pytest
import torch

from ca_seg.adapters.normalised import Normalised
from ca_seg.errors import OutOfRange, UnknownName

MEAN, STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)


def batch_of(images: list[torch.Tensor], mean, std, order: str, height: int, width: int) -> torch.Tensor:
    """As detectron2 does it, one number at a time: uint8 RGB [3, h, w] each to one padded batch."""
    batch = torch.zeros(len(images), 3, height, width)
    for padded, image in zip(batch, images, strict=True):
        for position, channel in enumerate((0, 1, 2) if order == "RGB" else (2, 1, 0)):
            colours = (image[channel].float() - mean[position]) / std[position]
            padded[position, : image.shape[1], : image.shape[2]] = colours
    return batch


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), ((127.5, 0.0, 3.0), (1.0, 2.0, 255.0))])
def test_images_are_recovered_with_their_sizes_and_black_borders(order, mean, std):
    generator = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8) for h, w in ((5, 7), (8, 4), (8, 9))
    ]
    images[0][:, -2:] = 0  # black below, which with a mean of 0 comes near to padding
    images[1][:, :, -1] = 0
    recovered = Normalised(order, mean, std).images(batch_of(images, mean, std, order, 8, 16))
    for back, image in zip(recovered, images, strict=True):
        torch.testing.assert_close(back, image / 255, atol=1e-6, rtol=0)


def test_an_image_of_the_mean_alone_is_a_whole_image():
    assert Normalised("RGB", MEAN, STD).images(torch.zeros(1, 3, 4, 6))[0].shape == (3, 4, 6)


def test_invalid_normalisations_raise():
    with pytest.raises(UnknownName, match=r"'YUV-BT\.601'.*RGB, BGR"):
        Normalised("YUV-BT.601", MEAN, STD)
    with pytest.raises(OutOfRange, match=r"\[0\.0, 0\.0, 0\.0\]"):
        Normalised("RGB", (0.0, 0.0, 0.0), STD)
    with pytest.raises(OutOfRange, match=r"\b4\b"):
        Normalised("RGB", (*MEAN, 1.0), STD)
    with pytest.raises(OutOfRange, match=r"1\.0, 0\.0, 1\.0"):
        Normalised("RGB", MEAN, (1.0, 0.0, 1.0))
