"""The losses against a plain loop, the learning rate, and a few steps of training."""

from __future__ import annotations

import math

import pytest
import torch

from ca_seg.backbones.families.base import TextTokens
from ca_seg.errors import UserError
from recipes.mini.losses import FLUX, LAYER_WEIGHTS, flow_loss, layer_scores, map_loss, noised
from recipes.mini.model import fresh_transformer
from recipes.training import learning_rate, load_checkpoint, new_optimizer, save_checkpoint


def test_the_map_loss_equals_a_plain_loop():
    torch.manual_seed(0)
    scores, best = torch.randn(2, 4, 6), torch.tensor([2, 3, 2, 1])
    true = torch.zeros(2, 4, 6, dtype=torch.bool)
    true[0, [0, 2]] = True
    true[1, 1, :3] = True
    true[1, 3] = True
    candidate, presence = map_loss(scores, true, best)
    p = scores.softmax(dim=1)
    expected = [-math.log(sum(p[b, c, n] for c in range(4) if true[b, c, n])) for b in range(2) for n in range(6)]
    assert float(candidate) == pytest.approx(sum(expected) / 12, rel=1e-5)
    words = []
    for b in range(2):
        for c in range(4):
            if true[b, c].any():
                top = sorted((float(p[b, c, n]) if true[b, c, n] else 0.0 for n in range(6)), reverse=True)
                words.append(-math.log(sum(top[: best[c]]) / int(best[c])))
    assert float(presence) == pytest.approx(sum(words) / len(words), rel=1e-5)


def test_the_learning_rate_rises_stays_and_falls():
    rates = [learning_rate(s, peak=1.0, warmup=10, steps=100, cooldown=0.5) for s in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0


def test_flow_matching_goes_from_noise_to_the_image():
    latents, times = torch.randn(2, 16, 4, 4), torch.tensor([0.25, 0.8])
    torch.manual_seed(1)
    x, velocity = noised(latents, times)
    torch.testing.assert_close(x - times[:, None, None, None] * velocity, latents)


def test_a_few_steps_lower_the_losses_and_train_each_parameter():
    transformer = fresh_transformer(0)
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=1e-3)
    torch.manual_seed(0)
    latents, words = torch.randn(4, 16, 8, 8), torch.randn(1, 6, 384).expand(4, -1, -1)
    true = torch.zeros(4, 6, 16, dtype=torch.bool)
    true[:, :2] = True
    totals = []
    for _ in range(6):
        torch.manual_seed(1)
        text = TextTokens(words[:, :2], torch.zeros(4, 384))
        losses = [sum(map_loss(s, true, torch.full((6,), 3))) for s in _scores(transformer, latents, words)]
        total = flow_loss(transformer, latents, text) + sum(losses)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total))
    assert totals[-1] < totals[0]
    without_gradient = [n for n, p in transformer.named_parameters() if p.grad is None]
    assert not without_gradient


def _scores(transformer, latents, words):
    return layer_scores(transformer, latents, words, torch.full((4,), 0.2)).values()


def test_the_map_loss_uses_double_blocks_only():
    transformer = fresh_transformer(0)
    assert max(LAYER_WEIGHTS) < len(transformer.transformer_blocks) < len(FLUX.blocks(transformer))


def test_a_checkpoint_brings_back_weights_optimizer_average_and_counts(tmp_path):
    def started(seed):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(3, 2)
        optimizer = new_optimizer(layer, 1e-2)
        return layer, optimizer, {name: p.detach().clone() + seed for name, p in layer.named_parameters()}

    layer, optimizer, average = started(1)
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "last.pt", layer, optimizer, average, {"step": 7})
    other = started(2)
    assert load_checkpoint(tmp_path / "last.pt", *other) == {"step": 7}
    for one, expected in ((other[0].state_dict(), layer.state_dict()), (other[2], average)):
        assert all(torch.equal(one[name], expected[name]) for name in expected)
    torch.testing.assert_close(other[1].state_dict()["state"], optimizer.state_dict()["state"])


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    network = torch.nn.ModuleDict({"blocks": torch.nn.Linear(3, 2)})
    save_checkpoint(tmp_path / "last.pt", network, new_optimizer(network, 1e-2), {}, {})
    with pytest.raises(UserError, match=r"last\.pt"):
        load_checkpoint(tmp_path / "last.pt", network, new_optimizer(network, 1e-2, muon=True), {})
