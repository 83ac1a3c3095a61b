"""Half precision with a scale for each channel: the error, against float64."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings

from ca_seg.features.stored import to_features, to_stored

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=4), elements=FINITE))
def test_eleven_bits_are_kept_whatever_the_range(features) -> None:
    stored = to_stored(torch.from_numpy(features), "float16", (1, 1))
    assert stored.values.isfinite().all()
    again = to_features(stored.values, stored.scale).double().numpy()
    ground_truth = features.astype(np.float64)
    top = np.abs(ground_truth).max(axis=(1, 2), keepdims=True)
    allowed = np.maximum(np.abs(ground_truth) * 2.0**-11, top * 2.0**-39)
    assert (np.abs(again - ground_truth) <= allowed + 2.0**-149).all()  # the smallest float32


def test_a_massive_channel_does_not_change_the_others() -> None:
    rng = np.random.default_rng(0)
    ground_truth = (
        torch.from_numpy(rng.normal(size=(4, 8, 8)).astype(np.float32))
        * torch.tensor([1e-6, 1, 1e5, 1e30])[:, None, None]
    )
    assert not ground_truth.half().isfinite().all()  # what a plain half would be
    stored = to_stored(ground_truth, "float16", (1, 1))
    error = (to_features(stored.values, stored.scale) - ground_truth).abs().amax(dim=(1, 2)) / ground_truth.abs().amax(
        dim=(1, 2)
    )
    assert (error < 2**-11).all()
    assert stored.scale.shape == (4,)
    assert stored.nbytes == 4 * 64 * 2 + 16


def test_values_of_half_precision_are_kept_bit_for_bit() -> None:
    ground_truth = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0)).half().float()
    stored = to_stored(ground_truth, "float16", (1, 1))
    assert torch.equal(to_features(stored.values, stored.scale), ground_truth)
    assert (torch.frexp(stored.scale).mantissa == 0.5).all()  # powers of two


def test_float32_is_kept_bit_for_bit_and_as_a_copy() -> None:
    batch = torch.randn(2, 3, 4, 4)
    stored = to_stored(batch[1], "float32", (1, 1))
    assert stored.scale is None
    assert torch.equal(to_features(stored.values, None), batch[1])
    assert stored.values.untyped_storage().nbytes() == stored.nbytes  # not the whole batch is kept alive
