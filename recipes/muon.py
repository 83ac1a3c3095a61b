"""Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"), divided among processes.

The momentum of a matrix of weights is replaced by the nearest matrix whose singular values are all about equal, so that
directions with small gradients are learnt as fast as those with large ones:

    M = U S V^T   ─►   step along U V^T

`torch.optim.Muon` computes this with 16 bits and in every process. Here it is 32 bits, which is faster on a CPU, and
each process does a part of the matrices.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from recipes.processes import process_number, sum_over_processes

POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # x + x^3 + x^5, by Jordan et al.: takes singular values to 0.7 ... 1.2
ROUNDS = 5
# a step's root mean square is then that of AdamW (Liu et al. 2025, "Muon is Scalable for LLM Training", section 2.2)
MATCH_ADAMW = 0.2


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of a matrix U S V^T, by the Newton-Schulz iteration; zeros for zeros."""
    a, b, c = POLYNOMIAL
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices of weights.

    The gradients must be the same in all processes (`recipes.training.descend`). A matrix whose gradient is None or 0
    stays as it is: a step on maps does not reach the last block, whose momentum is from other steps.

    Args:
        parameters: matrices
        lr: learning rate, as for AdamW
        momentum: how much of the former mean gradient is kept
        weight_decay: times lr, taken off the weights at each step
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], lr: float, *, momentum: float = 0.95, weight_decay: float = 0.03
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            reached = [p for p in group["params"] if p.grad is not None and p.grad.any()]
            lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
            averages = []
            for parameter in reached:
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                mean = state["mean"]
                mean.lerp_(parameter.grad, 1 - momentum)
                averages.append(parameter.grad.lerp(mean, momentum))
            for parameter, update in zip(reached, _all_orthogonal(averages), strict=True):
                size = lr * MATCH_ADAMW * max(parameter.shape) ** 0.5
                parameter.mul_(1 - lr * decay).add_(update, alpha=-size)


def _all_orthogonal(matrices: list[torch.Tensor]) -> list[torch.Tensor]:
    """`orthogonal` of each matrix; the processes divide the work, the large ones first."""
    rank, processes = process_number()
    order = sorted(range(len(matrices)), key=lambda k: -matrices[k].numel())
    mine = set(order[rank::processes])
    return sum_over_processes([orthogonal(m) if k in mine else torch.zeros_like(m) for k, m in enumerate(matrices)])


class Optimizers:
    """Several optimizers, each of a part of the parameters, used as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, of_part in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(of_part)
