"""What the trainings of the shipped backbones share: the rate, the optimizer, averages and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ca_seg.errors import UserError
from recipes.muon import Muon, Optimizers
from recipes.processes import process_number, sum_over_processes

AnyOptimizer = torch.optim.Optimizer | Optimizers
WEIGHT_DECAY = 0.03


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, cooldown: float) -> float:
    """Linear warm-up, a constant part, then a linear fall to zero over the last fraction `cooldown` of the steps."""
    rising = min(1.0, (step + 1) / warmup)
    falling = min(1.0, max(0.0, (steps - step) / max(1.0, cooldown * steps)))
    return peak * min(rising, falling)


def new_optimizer(transformer: torch.nn.Module, rate: float, *, muon: bool = False) -> AnyOptimizer:
    """AdamW; weights decay, biases and scales do not.

    With `muon`, the matrices inside the blocks are Muon's, except those that turn the timestep into shifts and scales.
    """
    named = list(transformer.named_parameters())
    hidden = [p for name, p in named if muon and p.ndim == 2 and "blocks." in name and ".norm" not in name]
    moved = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in moved]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
    return Optimizers(Muon(hidden, rate, weight_decay=WEIGHT_DECAY), adamw) if muon else adamw


def mean_of(rows: list[list[float]]) -> list[float]:
    """The mean of each column without its nan values (nan where a column has no other)."""
    columns = [[value for value in column if not np.isnan(value)] for column in zip(*rows, strict=True)]
    return [round(float(np.mean(column)), 4) if column else float("nan") for column in columns]


def mostly_low(
    generator: np.random.Generator, count: int, *, usual: float = 0.4, highest: float = 0.95
) -> torch.Tensor:
    """Timesteps [count] of steps on maps: 85 % below `usual`, the others between it and `highest`."""
    low = generator.random(count) < 0.85
    times = np.where(low, generator.uniform(0.0, usual, count), generator.uniform(usual, highest, count))
    return torch.from_numpy(times).float()


def share_gradients(transformer: torch.nn.Module) -> None:
    """The mean of every gradient over the processes; nothing to do in one process."""
    _, processes = process_number()
    if processes == 1:
        return
    parameters = list(transformer.parameters())
    sums = sum_over_processes([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
    for parameter, total in zip(parameters, sums, strict=True):
        parameter.grad = total.div_(processes)


def descend(transformer: torch.nn.Module, optimizer: AnyOptimizer, loss: torch.Tensor) -> None:
    """One step of the optimizer along the gradients of all processes, whose norm is at most 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    share_gradients(transformer)
    torch.nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
    optimizer.step()


@torch.no_grad()
def update_average(
    average: Mapping[str, torch.Tensor], transformer: torch.nn.Module, step: int, *, decay: float = 0.999
) -> None:
    """Move averaged weights towards the present ones; faster in the first steps than `decay` says."""
    decay = min(decay, (step + 1) / (step + 20))
    torch._foreach_lerp_(list(average.values()), list(transformer.parameters()), 1 - decay)


def load_checkpoint(
    source: Path, transformer: torch.nn.Module, optimizer: AnyOptimizer, average: dict[str, torch.Tensor]
) -> dict[str, Any]:
    """Set weights, optimizer and averaged weights to those of a checkpoint; the counts saved with them are returned.

    Raises UserError if the checkpoint is of another optimizer.
    """
    device = next(transformer.parameters()).device
    state: dict[str, Any] = torch.load(source, weights_only=True, map_location=device)
    if state["optimizer"].keys() != optimizer.state_dict().keys():
        raise UserError(
            f"{source} was saved by a training with another optimizer", fix="go on with that one, or use another folder"
        )
    transformer.load_state_dict(state.pop("model"))
    optimizer.load_state_dict(state.pop("optimizer"))
    average.update(state.pop("average"))
    return state


def save_checkpoint(
    target: Path,
    transformer: torch.nn.Module,
    optimizer: AnyOptimizer,
    average: Mapping[str, torch.Tensor],
    counts: Mapping[str, Any],
) -> None:
    """Replace `target` at once: a run that is killed while it writes keeps the former checkpoint."""
    state = {"model": transformer.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
    torch.save(state | dict(counts), target.with_name("next.pt"))
    os.replace(target.with_name("next.pt"), target)
