"""Batch norm over processes equals torch's batch norm over all images at once."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, multiprocessing, nn

from ca_seg.heads.batch_norm import SyncedBatchNorm2d

IMAGES = (3, 1)  # images of each process: the last batch of an epoch need not be even


def images() -> torch.Tensor:
    x = torch.randn(sum(IMAGES), 6, 5, 4, generator=torch.Generator().manual_seed(0))
    return x * torch.arange(1, 7)[:, None, None] + 3


def _process(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(IMAGES))
    layer, part = SyncedBatchNorm2d(6), images().split(IMAGES)[rank]
    outputs = [layer(part), layer(2 * part)]
    sum(o.square().sum() for o in outputs).backward()
    torch.save(
        {"out": [o.detach() for o in outputs], "state": layer.state_dict(), "grad": layer.weight.grad},
        f"{folder}/{rank}.pt",
    )
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=len(IMAGES))
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(len(IMAGES))]
    whole = nn.BatchNorm2d(6)
    expected = [whole(images()), whole(2 * images())]
    sum(e.square().sum() for e in expected).backward()
    for number, whole_output in enumerate(expected):
        torch.testing.assert_close(
            torch.cat([p["out"][number] for p in parts]), whole_output.detach(), atol=1e-5, rtol=1e-5
        )
    for part in parts:
        torch.testing.assert_close(part["state"], dict(whole.state_dict()), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sum(p["grad"] for p in parts), whole.weight.grad, atol=1e-3, rtol=1e-4)


def test_in_one_process_it_equals_torch():
    layer, whole = SyncedBatchNorm2d(6), nn.BatchNorm2d(6)
    assert torch.equal(layer(images()), whole(images()))
    assert torch.equal(layer.eval()(images()), whole.eval()(images()))


def test_an_input_with_a_gradient_raises(monkeypatch):
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="SyncedBatchNorm2d"):
        SyncedBatchNorm2d(6)(images().requires_grad_())
