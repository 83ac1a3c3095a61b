"""Training from the feature cache gives the same head as training on images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ca_seg.errors import UserError
from ca_seg.jobs.train_head import TrainingSettings, train_head
from ca_seg.jobs.training_result import TrainingResult
from ca_seg.tasks.atomic_checkpoint import AtomicCheckpoint
from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData

DATA = TrainingData("scenes", train_split="train", val_split="val", batch_size=4, limit=8)
QUICK = TrainingSettings(
    HeadSettings("mini", lr=0.01, loss_at="tokens"),
    DATA,
    CheckpointConfig(tensorboard=False),
    trainer={"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
)


def run(out: Path, settings: TrainingSettings = QUICK, **data: Any) -> tuple[TrainingResult, dict[str, torch.Tensor]]:
    """The result, and the tensors of the last checkpoint."""
    result = train_head(settings=replace(settings, data=replace(DATA, **data)), out=out, announce=print)
    assert not result.skipped
    return result, torch.load(out / "last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uncached"))


def test_the_cache_gives_the_same_head_as_images(uncached, tmp_path):
    for number in range(2):  # first fill the cache, then read it
        result, head = run(tmp_path / str(number), cache=str(tmp_path / "cache"), cache_dtype="float32")
        torch.testing.assert_close(head, uncached[1], atol=1e-4, rtol=1e-3)
        assert result.metrics["pixel_accuracy"] == pytest.approx(uncached[0].metrics["pixel_accuracy"], abs=1e-3)


def test_a_damaged_shard_is_computed_again_and_reported(tmp_path, capsys):
    cache = str(tmp_path / "cache")
    _, before = run(tmp_path / "one", cache=cache)
    shard = max((tmp_path / "cache").rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    _, after = run(tmp_path / "two", cache=cache)
    assert shard.name in capsys.readouterr().out
    torch.testing.assert_close(after, before)


def test_features_are_augmented_in_the_cache_and_images_without_it(tmp_path, capsys):
    cache = str(tmp_path / "cache")
    _, plain = run(tmp_path / "plain", cache=cache)
    _, augmented = run(tmp_path / "augmented", cache=cache, augment="features")
    assert any(not torch.equal(plain[name], augmented[name]) for name in plain)
    shards = sorted((tmp_path / "cache").rglob("*.safetensors"))
    capsys.readouterr()
    run(tmp_path / "images", cache=cache, augment="images")
    assert "data.augment=images" in capsys.readouterr().out
    assert sorted((tmp_path / "cache").rglob("*.safetensors")) == shards
    pixels = replace(QUICK, model=replace(QUICK.model, parts=["pixels", "concepts"]))
    with pytest.raises(UserError, match="'pixels'"):
        run(tmp_path / "no", pixels, cache=cache, augment="features")
    with pytest.raises(UserError, match=r"data\.cache"):
        run(tmp_path / "no", augment="features")


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = replace(QUICK, model=replace(QUICK.model, parts=["maps"]), data=replace(DATA, limit=4))
    result = train_head(settings=few, head="zero-shot-linear")
    assert not list(tmp_path.iterdir())
    assert result.head.kind == "zero-shot-linear"
    assert result.save(tmp_path / "saved").exists()
    assert (tmp_path / "saved" / "head" / "model.safetensors").exists()
    with pytest.raises(UserError, match="out"):
        train_head(settings=replace(QUICK, resume=True))


def test_a_full_disk_is_one_error_and_keeps_the_previous_checkpoint(small_disk):
    disk, _ = small_disk
    file = disk / "last.ckpt"
    AtomicCheckpoint().save_checkpoint({"state_dict": {"a": torch.zeros(10)}}, file)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        AtomicCheckpoint().save_checkpoint({"state_dict": {"a": torch.zeros(10**7)}}, file)
    assert torch.load(file, weights_only=True)["state_dict"]["a"].shape == (10,)
    assert [path.name for path in disk.iterdir()] == ["last.ckpt"]
