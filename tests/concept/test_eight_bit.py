"""Recordings in 8 bits: the error of every number, memory, and maps."""

from __future__ import annotations

import pytest
import torch

from ca_seg.concept.eight_bit import EightBit
from tests.concept.test_known_words import stored_bytes
from tests.small_flux import small_backbone

WORDS = ["cat", "grass", "sky"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_number_is_off_by_half_a_step_at_most(dtype):
    x = (torch.randn(2, 3, 50, 8) * torch.logspace(-3, 3, 8)).to(dtype)
    x[:, :, :, 2] = 0
    floats = EightBit.of(x).floats()
    step = x.float().abs().amax(dim=2, keepdim=True) / 127
    rounding = 0.0 if dtype == torch.float32 else 2**-7  # of a bfloat16 product and its scale
    assert floats.dtype == dtype
    assert bool(((floats.float() - x.float()).abs() <= step * 0.501 + rounding * x.float().abs()).all())


def test_a_recording_takes_less_and_gives_nearly_the_same_maps():
    backbone, images = small_backbone(), torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(3))
    full = backbone.record(images, layers=[1, 4], timesteps=[0.3, 0.6])
    small = full.eight_bit()
    whole, asked = full.ask(WORDS).maps(), small.ask(WORDS).maps()
    assert not torch.equal(whole, asked)
    assert float((whole - asked).abs().max()) < 0.05
    torch.testing.assert_close(small.select(1).ask(WORDS).maps(), asked[1:], atol=1e-5, rtol=1e-5)
    assert float((full.ask(WORDS).maps(space="value") - small.ask(WORDS).maps(space="value")).abs().max()) < 0.05
    tokens = 4 * 15 * 64  # rows, image tokens, width
    kept = sum(s.numel() for stream in small.streams for part in (stream.key, stream.value) for s in [part.values])
    assert kept == 5 * 2 * tokens  # bytes
    assert stored_bytes(full) == (5 * 2 + 2) * tokens * 4
