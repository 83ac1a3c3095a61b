"""SMP's decoders as heads: any grid, a batch of one, and the learnt mask is at the location of the target."""

from __future__ import annotations

import pytest
import torch
from segmentation_models_pytorch import MODEL_ARCHITECTURES_MAPPING
from torch import nn
from torch.nn.functional import cross_entropy, pad

from ca_seg.errors import OutOfRange, UnknownName
from ca_seg.heads.head import HeadInput
from ca_seg.heads.smp import DECODERS, SMPHead

INPUT = HeadInput(channels=12, classes=5, maps=5)
every_decoder = pytest.mark.parametrize("decoder", DECODERS)


def test_every_architecture_of_smp_that_takes_a_pyramid_is_supported():
    assert set(DECODERS) == set(MODEL_ARCHITECTURES_MAPPING) - {"dpt"}


@every_decoder
@pytest.mark.parametrize("stride", [8, 32])
def test_any_grid_and_a_batch_of_one_train_every_parameter(decoder, stride):
    head = SMPHead(INPUT, decoder=decoder, width=16, stride=stride).train()
    features = torch.randn(1, 12, 5, 9)
    logits = head.tokens(features)
    assert logits.shape[:2] == (1, 5)
    assert logits.shape[2] * 9 == logits.shape[3] * 5
    assert head(features, (37, 50)).shape == (1, 5, 37, 50)
    logits.square().mean().backward()
    assert [name for name, parameter in head.named_parameters() if parameter.grad is None] == []


@every_decoder
@torch.no_grad()
def test_padding_is_cropped_at_the_same_location(decoder):
    """A grid that needs no padding, padded by hand from one that does: the same logits in the upper left."""
    torch.manual_seed(0)
    head = SMPHead(INPUT, decoder=decoder, width=16, stride=8).eval()
    features = torch.randn(2, 12, 30, 31)
    whole, part = head.tokens(pad(features, (0, 1, 0, 2), mode="replicate")), head.tokens(features)
    scale = whole.shape[2] // 32
    assert part.shape[2:] == (30 * scale, 31 * scale)
    torch.testing.assert_close(whole[..., : 30 * scale, : 31 * scale], part)


@every_decoder
def test_a_mask_that_is_not_symmetric_is_learnt_from_one_image(decoder):
    torch.manual_seed(0)
    mask = torch.zeros(1, 48, 80, dtype=torch.long)
    mask[:, 16:, 48:] = 1
    features = torch.randn(1, 6, 6, 10)
    features[:, 0] += 300.0 * mask[:, 4::8, 4::8]  # as in a transformer: one channel is far larger than the others
    head = SMPHead(HeadInput(6, 2), decoder=decoder, width=32, stride=8).train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=5e-3)
    for _ in range(25):
        loss = cross_entropy(head(features, (48, 80)), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    accuracy = (head.eval()(features, (48, 80)).argmax(dim=1) == mask).float().mean()
    assert accuracy > 0.9, f"{decoder}: {accuracy:.2f} of the pixels"


def test_only_the_first_norm_depends_on_the_batch():
    for decoder in DECODERS:
        batch_norms = [m for m in SMPHead(INPUT, decoder=decoder).modules() if isinstance(m, nn.BatchNorm2d)]
        assert [norm.num_features for norm in batch_norms] == [12]


def test_the_state_dict_determines_the_head():
    torch.manual_seed(0)
    head, again = (SMPHead(INPUT, decoder="fpn", width=16).eval() for _ in range(2))
    features = torch.randn(1, 12, 4, 6)
    assert not torch.equal(head.tokens(features), again.tokens(features))
    again.load_state_dict(head.state_dict())
    assert torch.equal(head.tokens(features), again.tokens(features))


def test_invalid_settings_raise():
    with pytest.raises(UnknownName, match="'segformer'"):
        SMPHead(INPUT, decoder="segfomer")
    with pytest.raises(OutOfRange, match="24"):
        SMPHead(INPUT, width=24)
    with pytest.raises(OutOfRange, match=r"\b4\b"):
        SMPHead(INPUT, stride=4)
