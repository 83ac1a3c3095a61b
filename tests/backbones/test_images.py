"""The one rule between image sizes and token grids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.backbones.images import as_tensor, resize_in, resize_out, working_size
from ca_seg.errors import UserError


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (128, 168)),
        (640, 480, (168, 128)),
        (128, 128, (128, 128)),
        (1, 1, (128, 128)),
        (100, 1000, (128, 1280)),
    ],
)
def test_the_short_side_is_the_resolution_and_both_are_whole_tokens(height, width, expected):
    assert working_size(height, width, 128, 8) == expected


def test_an_image_of_the_right_size_is_unchanged():
    image = torch.rand(1, 3, 128, 136)
    assert resize_in(image, 128, 8) is image


def test_a_corner_stays_in_its_corner():
    maps = torch.zeros(1, 1, 4, 8)
    maps[0, 0, 0, 7] = 1
    full = resize_out(maps, 100, 300)[0, 0]
    assert full.shape == (100, 300)
    row, column = np.unravel_index(int(full.argmax()), full.shape)
    assert row < 15
    assert column > 275


def test_images_may_be_tensors_arrays_or_pil():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    expected = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
    for image in (array, Image.fromarray(array), expected, expected[0], [array]):
        torch.testing.assert_close(as_tensor(image), expected)
    assert as_tensor([array, array]).shape == (2, 3, 5, 7)


@pytest.mark.parametrize(
    "image",
    [
        [],
        torch.zeros(3, 4, 4, dtype=torch.uint8),
        np.zeros((4, 4), np.uint8),
        [torch.rand(3, 4, 4), torch.rand(3, 5, 5)],
    ],
)
def test_invalid_images_raise(image):
    with pytest.raises(UserError):
        as_tensor(image)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_modes_of_pil_become_rgb(mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)).convert(mode)
    torch.testing.assert_close(as_tensor(image), as_tensor(image.convert("RGB")))


@pytest.mark.parametrize("path", ["photo.jpg", Path("photo.jpg"), ["photo.jpg"]])
def test_a_path_is_named_with_the_function_to_use(path):
    with pytest.raises(UserError, match=r"photo\.jpg") as error:
        as_tensor(path)
    assert "ca_seg.segment" in error.value.fix


def test_none_is_not_an_image():
    with pytest.raises(UserError) as error:
        as_tensor(None)
    assert "PIL" in error.value.allowed
