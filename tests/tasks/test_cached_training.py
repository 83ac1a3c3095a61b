"""Training from the cache is training on the images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ca_seg.cli.train import train
from ca_seg.errors import UserError
from ca_seg.tasks.whole_checkpoint import WholeCheckpoint

ROOT = Path(__file__).parents[2]
QUICK = [
    *("--config-file", str(ROOT / "configs" / "linear_probe" / "mini_scenes.yaml"), "--data.limit", "8"),
    *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.max_epochs", "2"),
    *("--keeping.tensorboard", "false", "--data.batch_size", "4"),
]


def run(out: Path, *given: str) -> tuple[dict, dict[str, torch.Tensor]]:
    assert train([*QUICK, "--out", str(out), *given]) == 0
    kept = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
    return json.loads((out / "results.json").read_text()), kept


@pytest.fixture(scope="module")
def uncached(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"), "--data.cache", "null")


def test_it_gives_the_head_that_images_give(uncached, tmp_path):
    cache = ["--data.cache", str(tmp_path / "cache"), "--data.cache_dtype", "float32"]
    for number in range(2):  # filling the cache, and from what is in it
        results, head = run(tmp_path / str(number), *cache)
        torch.testing.assert_close(head, uncached[1], atol=1e-4, rtol=1e-3)
        assert results["metrics"]["pixel_accuracy"] == pytest.approx(uncached[0]["metrics"]["pixel_accuracy"], abs=1e-3)


def test_a_damaged_part_is_computed_again_and_told(uncached, tmp_path, capsys):
    cache = ["--data.cache", str(tmp_path / "cache")]
    _, before = run(tmp_path / "one", *cache)
    shard = max((tmp_path / "cache").rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 16
    shard.write_bytes(content)
    _, after = run(tmp_path / "two", *cache)
    assert shard.name in capsys.readouterr().out
    torch.testing.assert_close(after, before)


def test_features_are_augmented_in_the_cache_and_images_without_it(tmp_path, capsys):
    cache = ["--data.cache", str(tmp_path / "cache")]
    _, plain = run(tmp_path / "plain", *cache)
    _, moved = run(tmp_path / "moved", *cache, "--data.augment", "features")
    assert any(not torch.equal(plain[name], moved[name]) for name in plain)
    there = sorted((tmp_path / "cache").rglob("*.safetensors"))
    capsys.readouterr()
    run(tmp_path / "images", *cache, "--data.augment", "images")
    assert "the cache is not used" in capsys.readouterr().out
    assert sorted((tmp_path / "cache").rglob("*.safetensors")) == there
    with pytest.raises(UserError, match="pixels of a token"):
        run(tmp_path / "no", *cache, "--data.augment", "features", "--model.parts", "[pixels, concepts]")
    with pytest.raises(UserError, match=r"--data\.cache FOLDER"):
        run(tmp_path / "no", "--data.cache", "null", "--data.augment", "features")


def test_a_checkpoint_on_a_full_disk_is_one_error_and_leaves_the_one_before(small_disk):
    disk, _ = small_disk
    file = disk / "last.ckpt"
    WholeCheckpoint().save_checkpoint({"state_dict": {"a": torch.zeros(10)}}, file)
    with pytest.raises(UserError, match=r"last\.ckpt cannot be written"):
        WholeCheckpoint().save_checkpoint({"state_dict": {"a": torch.zeros(10**7)}}, file)
    assert torch.load(file, weights_only=True)["state_dict"]["a"].shape == (10,)
    assert [path.name for path in disk.iterdir()] == ["last.ckpt"]
