"""Muon against torch's, on matrices that no step reaches, and divided among two processes."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import distributed, multiprocessing

from recipes.muon import Muon, Optimizers, orthogonal
from recipes.photo.model import fresh_transformer
from recipes.training import new_optimizer

SHAPES = ((24, 24), (16, 48), (64, 16))


def matrices() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def step(optimizer, weights, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()


def test_the_singular_values_of_a_step_are_about_equal():
    matrix = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))
    for one in (matrix, matrix.T):
        values = torch.linalg.svdvals(orthogonal(one))
        assert values.min() > 0.6
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(one, full_matrices=False)
        assert torch.nn.functional.cosine_similarity(orthogonal(one).flatten(), (u @ v).flatten(), dim=0) > 0.97
    assert not orthogonal(torch.zeros(3, 4)).any()


def test_steps_equal_those_of_torch():
    weights, expected = matrices(), matrices()
    optimizer = Muon(weights, 0.01)
    reference = torch.optim.Muon(expected, lr=0.01, weight_decay=0.03, adjust_lr_fn="match_rms_adamw")
    for number in range(4):
        step(optimizer, weights, number)
        step(reference, expected, number)
    for weight, other, start in zip(weights, expected, matrices(), strict=True):
        moved = (other - start).norm()  # torch's has 16 bits
        assert (weight - other).norm() < 0.02 * moved


def test_a_matrix_that_a_step_does_not_reach_stays():
    weights = matrices()
    optimizer = Muon(weights, 0.01)
    step(optimizer, weights, 0)
    before = [weight.detach().clone() for weight in weights]
    weights[0].grad, weights[1].grad = None, torch.zeros_like(weights[1])
    optimizer.step()
    unchanged = [torch.equal(a, b) for a, b in zip(weights, before, strict=True)]
    assert unchanged == [True, True, False]


def _process(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    weights = matrices()
    optimizer = Muon(weights, 0.01)
    for number in range(2):
        step(optimizer, weights, number)
    torch.save([weight.detach() for weight in weights], f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2)
    weights = matrices()
    optimizer = Muon(weights, 0.01)
    for number in range(2):
        step(optimizer, weights, number)
    for rank in range(2):
        both = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(both, [weight.detach() for weight in weights], atol=1e-6, rtol=1e-5)


def test_every_parameter_has_one_optimizer():
    transformer = fresh_transformer(0)
    optimizer = new_optimizer(transformer, 0.01, muon=True)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in transformer.parameters())
    by_muon = {id(p) for p in optimizer.parts[0].param_groups[0]["params"]}
    names = {name for name, p in transformer.named_parameters() if id(p) in by_muon}
    assert {"transformer_blocks.0.attn.to_q.weight", "single_transformer_blocks.0.proj_mlp.weight"} <= names
    assert not names & {"x_embedder.weight", "proj_out.weight", "transformer_blocks.0.norm1.linear.weight"}


def test_a_restored_optimizer_goes_on_as_the_former():
    weights = matrices()
    optimizers = Optimizers(Muon(weights[:2], 0.01), torch.optim.AdamW(weights[2:], lr=0.01))
    step(optimizers, weights, 0)
    others = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    restored = Optimizers(Muon(others[:2], 0.01), torch.optim.AdamW(others[2:], lr=0.01))
    restored.load_state_dict(deepcopy(optimizers.state_dict()))  # tensors are shared otherwise
    step(optimizers, weights, 1)
    step(restored, others, 1)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
