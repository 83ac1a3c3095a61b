"""Padding to a multiple, against NumPy's reflection."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from ca_seg.data.pad import pad_to_multiple
from ca_seg.errors import OutOfRange


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 64))
def test_mirrored_and_cut_back(height, width, multiple) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(height * 41 + width))
    padded, crop = pad_to_multiple(image, multiple)
    below, right = -height % multiple, -width % multiple
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="reflect")
    np.testing.assert_array_equal(padded, expected)
    assert torch.equal(crop.undo(padded), image)
    assert crop.undo(torch.zeros(5, *padded.shape[-2:])).shape == (5, height, width)


def test_what_fits_is_not_copied() -> None:
    image = torch.rand(3, 8, 16)
    assert pad_to_multiple(image, 8)[0] is image
    with pytest.raises(OutOfRange, match="multiple of 0"):
        pad_to_multiple(image, 0)
