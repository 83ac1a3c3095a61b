"""Training a head: only the head is trained, and only the head is in the checkpoint."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ca_seg import Vocabulary, load_backbone
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UserError
from ca_seg.features.frozen import FrozenFeatures
from ca_seg.heads.trained import TrainedHead
from ca_seg.tasks.losses import SegmentationLoss
from ca_seg.tasks.probe import Probe
from ca_seg.vocabulary import IGNORE_INDEX

ROOT = Path(__file__).parents[2]
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
LOSS = SegmentationLoss({"cross-entropy": 1.0}, "tokens")


class ImageFeatures:
    """A source whose features are the images."""

    name, channels, maps, stride = "images", 3, 0, 1
    device = torch.device("cpu")

    def __call__(self, images, seeds):
        return images

    def identity(self):
        return {"backbone": self.name}

    def to(self, device):
        """Nothing to move."""


def head(source, classes=("a", "b", "c"), **options) -> TrainedHead:
    torch.manual_seed(0)
    return TrainedHead(
        kind=options.pop("kind", "linear"),
        backbone=source.name,
        classes=list(classes),
        phrases=[[c] for c in classes],
        channels=source.channels,
        maps=source.maps,
        **options,
    )


def batch(number: int, size: int = 4) -> dict:
    generator = torch.Generator().manual_seed(number)
    image = torch.rand(size, 3, 6, 6, generator=generator)
    names = [f"{number}-{i}" for i in range(size)]
    return {"image": image, "mask": image.argmax(dim=1), "image_id": names, "path": names, "skipped": []}


def loader(count: int = 4) -> DataLoader:
    return DataLoader([batch(n) for n in range(count)], batch_size=None)


@pytest.fixture(scope="module")
def trained():
    data = SegmentationData("scenes", None, "val", "train", "val", batch_size=4, limit=8)
    backbone = load_backbone("mini")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    source = FrozenFeatures(backbone, Vocabulary.from_names(data.class_list.names))
    probe = Probe(source, head(source, data.class_list.names), loss=LOSS, lr=0.01)
    first = probe.trained.head.layers[2].weight.detach().clone()
    trainer = pl.Trainer(max_epochs=2, enable_checkpointing=False, **QUIET)
    trainer.fit(probe, data)
    return probe, before, first, trainer


def test_the_backbone_is_unchanged_and_in_eval_mode(trained):
    probe, before, _, _ = trained
    probe.train()
    backbone = probe.source.backbone
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_only_the_head_has_parameters_and_is_in_the_checkpoint(trained):
    probe, _, first, trainer = trained
    assert {name.split(".")[0] for name in probe.state_dict()} == {"trained"}
    assert {name.split(".")[0] for name, _ in probe.named_parameters()} == {"trained"}
    assert not torch.equal(probe.trained.head.layers[2].weight, first)
    assert 0 <= float(trainer.callback_metrics["val/miou"]) <= 1


def test_an_untrained_zero_shot_linear_head_gives_the_zero_shot_segmentation():
    data = SegmentationData("scenes", None, "val", "train", "val", batch_size=4, limit=4)
    source = FrozenFeatures(load_backbone("mini"), Vocabulary.from_names(data.class_list.names), parts=("maps",))
    probe = Probe(source, head(source, data.class_list.names, kind="zero-shot-linear"), loss=LOSS).eval()
    images = next(iter(data.val_dataloader()))
    mask = probe.trained(probe.features(images), images["mask"].shape[1:]).argmax(dim=1)
    seeds = [image_seed(0, image_id) for image_id in images["image_id"]]
    maps = source.backbone.maps(images["image"], source.vocabulary, seed=seeds)
    assert torch.equal(mask, maps.argmax(dim=1))


def test_features_of_the_batch_are_used_unchanged():
    source = ImageFeatures()
    probe = Probe(source, head(source), loss=LOSS)
    features = torch.rand(4, 3, 6, 6)
    assert probe.features(batch(0) | {"features": features}) is features


def test_a_batch_of_void_is_skipped(trained):
    void = batch(0) | {"mask": torch.full((4, 6, 6), IGNORE_INDEX)}
    assert trained[0].training_step(void, 0) is None


def test_a_loss_of_nan_names_the_image(trained):
    probe = trained[0]
    broken = batch(0) | {"features": torch.zeros(4, probe.source.channels, 6, 6)}
    broken["features"][2] = float("nan")
    with pytest.raises(UserError, match=r"\bnan\b.*\b0-2\b"):
        probe.training_step(broken, 0)
    assert all(p.isfinite().all() for p in probe.trained.parameters())


def test_a_broken_head_is_not_saved_over_a_good_one(tmp_path):
    source = ImageFeatures()
    probe = Probe(source, head(source), loss=LOSS, lr=0.1)
    trainer = pl.Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(probe, loader())
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    with torch.no_grad():
        probe.trained.head.layers[2].bias[0] = float("inf")
    with pytest.raises(UserError, match=r"head\.layers\.2\.bias"):
        trainer.save_checkpoint(tmp_path / "good.ckpt")
    assert (
        torch.load(tmp_path / "good.ckpt", weights_only=True)["state_dict"]["trained.head.layers.2.bias"]
        .isfinite()
        .all()
    )


def test_the_result_has_the_averaged_weights():
    source = ImageFeatures()
    probe = Probe(source, head(source), loss=LOSS, lr=0.1, ema=0.9)
    weights = []

    class RecordWeights(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            weights.append(module.trained.head.layers[2].weight.detach().clone())

    pl.Trainer(max_epochs=1, enable_checkpointing=False, callbacks=[RecordWeights()], **QUIET).fit(probe, loader(6))
    expected = weights[0]
    for weight in weights[1:]:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(probe.result.head.layers[2].weight, expected)
    assert probe.result is not probe.trained
    with pytest.raises(OutOfRange):
        Probe(source, head(source), loss=LOSS, ema=1.0)


def test_the_learning_rate_rises_then_falls_along_a_cosine():
    source = ImageFeatures()
    probe = Probe(source, head(source), loss=LOSS, lr=1.0, warmup_steps=3)
    factors = [probe._lr_factor(step, 11) for step in range(12)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert factors[7] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.0)
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    with pytest.raises(OutOfRange, match="99"):
        trainer.fit(Probe(source, head(source), loss=LOSS, warmup_steps=99), loader())


@pytest.mark.slow
def test_two_processes_train_the_same_head_as_one(tmp_path):
    """gloo, 2 x 4 images per step against 1 x 8 images per step."""
    weights = {}
    for world, size in ((1, 8), (2, 4)):
        out = tmp_path / str(world)
        command = [
            *(sys.executable, "train.py", "--config-file", "configs/linear_probe/mini_scenes.yaml"),
            *("--data.limit", "16", "--data.batch_size", str(size), "--trainer.max_epochs", "2"),
            *("--trainer.accelerator", "cpu", "--trainer.devices", str(world), "--out", str(out)),
            *("--trainer.enable_progress_bar", "false", "--checkpoint.tensorboard", "false"),
            *("--model.options", "{dropout: 0.0}", "--model.loss_at", "tokens"),
        ]
        process = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert process.returncode == 0, process.stderr[-2000:]
        state = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
        weights[world] = {k: v for k, v in state.items() if v.is_floating_point()}
        assert all(k.startswith("trained.") for k in state)
        with (out / "log-1" / "metrics.csv").open() as file:
            weights[world]["val"] = torch.tensor([float(r["val/miou"]) for r in csv.DictReader(file) if r["val/miou"]])
    torch.testing.assert_close(weights[2], weights[1], atol=2e-4, rtol=1e-3)


def test_a_validation_without_an_image_is_an_error():
    source = ImageFeatures()
    probe = Probe(source, head(source), loss=LOSS)
    probe.skipped["a.png"] = "a.png cannot be read"
    probe.trainer = pl.Trainer(**QUIET)
    with pytest.raises(UserError, match=r"a\.png"):
        probe.on_validation_epoch_end()
