"""Training: what is written is what was scored, and each option of the loop against one that is written out."""

from __future__ import annotations

import errno
import json
import os
import time
import warnings

import pytest
import torch
from torch import nn

from ca_seg.data.batches import EpochShuffle, SizeBatchSampler
from ca_seg.data.collate import collate
from ca_seg.data.datamodule import SegmentationData
from ca_seg.errors import DataWarning, UserError
from ca_seg.features.registry import BASELINES, RESOLUTION
from ca_seg.heads.trained import TrainedHead
from ca_seg.jobs.train_head import train_head
from ca_seg.tasks.probe import Probe
from tests.jobs.small_training import (
    BATCH,
    STEPS,
    TRAINING,
    UP_AND_DOWN,
    counted_again,
    figures,
    head_of,
    same,
    settings,
    train,
    two_classes,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("pictures") / "set")


@pytest.fixture
def seen(monkeypatch):
    """(steps, mIoU, weights) of each validation while a head is trained."""
    validations = []
    original = Probe.on_validation_epoch_end

    def recorded(self):
        original(self)
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            weights = {name: value.clone() for name, value in self.result.state_dict().items()}
            validations.append((self.global_step, self.figures["miou"], weights))

    monkeypatch.setattr(Probe, "on_validation_epoch_end", recorded)
    return validations


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"max_steps": 3, "max_epochs": -1}, 3),  # before the first validation
        ({"max_steps": 7, "max_epochs": -1}, 7),  # within the second epoch
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, 12),
        ({"val_check_interval": 3, "check_val_every_n_epoch": None, "ema": 0.8}, 8),
        ({"limit_train_batches": 3}, 6),
        ({"accumulate_grad_batches": 3}, 4),
    ],
)
def test_the_figures_are_those_of_the_head_that_is_written(root, tmp_path, options, steps):
    result = train(root, tmp_path, **options)
    assert figures(tmp_path) == pytest.approx(counted_again(root, tmp_path), abs=1e-6)
    assert result.content["steps"] == steps
    assert result.metrics == pytest.approx(figures(tmp_path), abs=1e-6)


def test_max_time_ends_training_and_what_is_written_was_scored(root, tmp_path, monkeypatch):
    original = Probe.training_step

    def slow(self, batch, index):
        time.sleep(0.2)
        return original(self, batch, index)

    monkeypatch.setattr(Probe, "training_step", slow)
    result = train(root, tmp_path, max_epochs=50, max_time="00:00:00:01")
    assert 1 < result.content["steps"] < 50 * STEPS
    assert figures(tmp_path) == pytest.approx(counted_again(root, tmp_path), abs=1e-6)


def test_last_is_last_and_best_is_best(root, tmp_path, seen):
    train(root, tmp_path / "last", max_epochs=8, **UP_AND_DOWN)
    scores = [score for _, score, _ in seen]
    assert scores.index(max(scores)) < 7  # else the test could not tell them apart
    states = {
        name: torch.load(tmp_path / "last" / f"{name}.ckpt", weights_only=True)["state_dict"]
        for name in ("last", "best")
    }
    without = {name: {k.removeprefix("trained."): v for k, v in state.items()} for name, state in states.items()}
    assert same(without["last"], seen[-1][2])
    assert same(without["last"], head_of(tmp_path / "last"))
    assert same(without["best"], seen[scores.index(max(scores))][2])
    result = train(root, tmp_path / "best", max_epochs=8, keep="best", **UP_AND_DOWN)
    assert same(head_of(tmp_path / "best"), without["best"])
    assert figures(tmp_path / "best") == pytest.approx(counted_again(root, tmp_path / "best"), abs=1e-6)
    assert result.content["steps"] == STEPS * (1 + scores.index(max(scores)))
    assert result.content["training"]["steps"] == 8 * STEPS


def untrained(seed):
    """The features that the head reads, and the head as a training begins with it."""
    source = BASELINES["rgb-patches"](RESOLUTION)
    torch.manual_seed(seed)
    head = TrainedHead(
        kind="linear",
        backbone="rgb-patches",
        classes=["cat", "grass"],
        phrases=[["cat"], ["grass"]],
        channels=source.channels,
        stride=source.stride,
        options={"dropout": 0.0},
    )
    return source, head


@pytest.mark.parametrize(("accumulate", "ema"), [(1, None), (2, 0.7), (3, 0.7)])
def test_training_is_the_loop_that_is_written_out(tmp_path, accumulate, ema):
    """AdamW, cosine, gradients added up over batches, and an average that moves once a step; some batches are void."""
    root = two_classes(tmp_path / "set", void=range(4, 8))
    epochs, lr, seed = 3, 0.05, 0
    options = {"accumulate_grad_batches": accumulate, "max_epochs": epochs, "ema": ema, "options": {"dropout": 0.0}}
    train(root, tmp_path / "out", **options)

    data = SegmentationData("folder", str(root), "val", "train", "val").training_set()
    source, head = untrained(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=1e-3)
    steps = epochs * -(-STEPS // accumulate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order, average, void = EpochShuffle(TRAINING, seed), None, 0
    for epoch in range(epochs):
        order.set_epoch(epoch)
        batches = list(SizeBatchSampler(order, BATCH, False, data.size))
        for number, indices in enumerate(batches):
            batch = collate([data[index] for index in indices])
            if (batch["mask"] != 255).any():
                logits = head(source(batch["image"], [0] * len(indices)), (48, 48))
                loss = nn.functional.cross_entropy(logits, batch["mask"], ignore_index=255)
                (loss / accumulate).backward()
            if (number + 1) % accumulate and number + 1 < len(batches):
                continue
            learned = any(p.grad is not None for p in head.parameters())
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            state = {name: value.clone() for name, value in head.state_dict().items()}
            void += not learned
            if learned:
                average = average or state
                average = (
                    {
                        k: v if average is state or not v.is_floating_point() else ema * average[k] + (1 - ema) * v
                        for k, v in state.items()
                    }
                    if ema
                    else state
                )
    assert void or accumulate > 1  # single batches are void
    expected = {k: v for k, v in average.items() if v.is_floating_point()}
    torch.testing.assert_close({k: head_of(tmp_path / "out")[k] for k in expected}, expected, atol=2e-6, rtol=1e-4)


def test_overfit_batches_are_the_same_in_every_epoch(root, tmp_path, monkeypatch):
    batches, original = [], Probe.training_step

    def recorded(self, batch, index):
        batches.append((tuple(batch["image_id"]), float(batch["image"].sum())))
        return original(self, batch, index)

    monkeypatch.setattr(Probe, "training_step", recorded)
    for augment in ("none", "images"):
        batches.clear()
        train(root, tmp_path / augment, overfit_batches=1, max_epochs=3, augment=augment)
        assert len(batches) == 3
        assert len(set(batches)) == 1
    batches.clear()
    train(root, tmp_path / "all", max_epochs=3)
    assert len({names for names, _ in batches}) > STEPS


def test_validations_come_when_they_were_asked_for(root, tmp_path, seen):
    train(root, tmp_path / "epochs", max_epochs=5, check_val_every_n_epoch=2)
    assert [steps for steps, *_ in seen] == [2 * STEPS, 4 * STEPS]
    seen.clear()
    train(root, tmp_path / "batches", max_epochs=3, val_check_interval=5, check_val_every_n_epoch=None)
    assert [steps for steps, *_ in seen] == [5, 10]
    seen.clear()
    train(root, tmp_path / "half", max_epochs=2, val_check_interval=0.5)
    assert [steps for steps, *_ in seen] == [2, 4, 6, 8]


def test_early_stopping_ends_after_so_many_validations_without_a_better_one(root, tmp_path, seen):
    train(root, tmp_path, max_epochs=8, patience=2, **UP_AND_DOWN)
    best, waited, last = -1.0, 0, 0
    for number, (_, score, _) in enumerate(seen):
        best, waited = (score, 0) if score > best else (best, waited + 1)
        last = number
        if waited == 2:
            break
    assert last < 7  # it stopped early
    assert len(seen) == last + 1
    assert figures(tmp_path) == pytest.approx(counted_again(root, tmp_path), abs=1e-6)


def test_a_trial_writes_nothing_and_leaves_a_former_training_alone(root, tmp_path):
    train(root, tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for keep in ("last", "best"):
        result = train(root, tmp_path / "out", fast_dev_run=True, keep=keep)
        assert result.folder is None
        assert 0 <= result.metrics["miou"] <= 1
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_a_trial_is_one_step_and_one_validation_batch(root, tmp_path):
    result = train(root, tmp_path, fast_dev_run=True, options={"dropout": 0.0})
    source, head = untrained(0)
    data = SegmentationData("folder", str(root), "val", "train", "val").training_set()
    first = next(iter(SizeBatchSampler(EpochShuffle(TRAINING, 0), BATCH, False, data.size)))
    batch = collate([data[index] for index in first])
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.05, weight_decay=1e-3)
    logits = head(source(batch["image"], [0] * BATCH), (48, 48))
    nn.functional.cross_entropy(logits, batch["mask"], ignore_index=255).backward()
    optimizer.step()
    learned = {name: value for name, value in head.state_dict().items() if value.is_floating_point()}
    torch.testing.assert_close({k: result.head.state_dict()[k] for k in learned}, learned, atol=2e-6, rtol=1e-4)
    batch = next(iter(SegmentationData("folder", str(root), "val", batch_size=BATCH).test_dataloader()))
    with torch.no_grad():
        predicted = head.eval()(source(batch["image"], [0] * BATCH), (48, 48)).argmax(dim=1)
    accuracy = float((predicted == batch["mask"]).float().mean())
    assert result.metrics["pixel_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_without_validation_the_head_is_written_without_figures(root, tmp_path):
    assert train(root, tmp_path, limit_val_batches=0).metrics == {}
    assert figures(tmp_path) == {}
    assert (tmp_path / "head" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": -5}, "max_epochs"),
        ({"max_steps": 0}, "max_steps"),
        ({"max_epochs": -1}, "max_epochs"),
        ({"max_epochs": -1, "max_time": "00:00:00:09"}, "max_epochs"),
        ({"max_time": "00:00:00:00"}, "max_time"),
        ({"limit_train_batches": 0}, "limit_train_batches"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches"),
        ({"gradient_clip_val": -1}, "gradient_clip_val"),
        ({"limit_val_batches": 0, "keep": "best"}, "limit_val_batches"),
        ({"limit_val_batches": 0, "patience": 1}, "limit_val_batches"),
        ({"limit_val_batches": 0, "expect": {"metrics/miou": [0.5, 0.1]}}, "limit_val_batches"),
        ({"fast_dev_run": True, "resume": True}, "fast_dev_run"),
        ({"patience": 0}, "patience"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"lr": -1.0}, "lr"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"accelerator": "tpu9"}, "tpu9"),
        ({"devices": -3}, "devices"),
    ],
)
def test_options_that_train_nothing_are_refused_before_anything_is_written(root, tmp_path, options, named):
    with pytest.raises(UserError, match=named):
        train(root, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "named"), [({"seed": -7}, "seed"), ({"val_check_interval": 9}, "1 to 4")])
def test_options_that_do_not_fit_the_data_are_one_error(root, tmp_path, options, named):
    with pytest.raises(UserError, match=named):
        train(root, tmp_path, **options)


def test_an_error_of_the_trainer_names_devices_only_where_they_are_at_fault(root, tmp_path):
    with pytest.raises(UserError) as problem:
        train(root, tmp_path, max_time="soon")
    assert "accelerator" not in str(problem.value)


def test_first_validation_pictures_may_be_void_but_not_all(tmp_path, monkeypatch):
    some = two_classes(tmp_path / "some", void=range(3))
    train(some, tmp_path / "out", batch_size=1)
    assert figures(tmp_path / "out") == pytest.approx(counted_again(some, tmp_path / "out"), abs=1e-6)
    monkeypatch.setattr(Probe, "training_step", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(UserError, match="void"):
        train(two_classes(tmp_path / "all", void=range(4)), tmp_path / "none")


@pytest.mark.parametrize("where", ["a file", "proc"])
def test_a_place_that_is_no_folder_is_one_error(root, tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be"):
        train_head(
            settings=settings(root, tmp_path / "file" if where == "a file" else None),
            out=(None if where == "a file" else "/proc/x"),
        )


@pytest.mark.parametrize("files", [0, 2, 3, 5])
def test_on_a_full_disk_training_ends_with_one_error_and_resumes(root, tmp_path, monkeypatch, files):
    """So many files fit; then os.replace, which moves each file into place, reports a full disk."""
    train(root, tmp_path / "whole", max_epochs=3)
    replace, replaced = os.replace, []

    def replace_until_full(source, target):
        replaced.append(target)
        if len(replaced) > files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("ca_seg.atomic.os.replace", replace_until_full)
        with pytest.raises(UserError, match=os.strerror(errno.ENOSPC)):
            train(root, out, max_epochs=3)
    assert not (out / "results.json").exists()
    assert not list(out.rglob("*.part"))
    train(root, out, max_epochs=3, resume=True)
    assert same(head_of(out), head_of(tmp_path / "whole"))
    assert figures(out) == figures(tmp_path / "whole")


def test_a_head_that_does_not_fit_on_the_disk_leaves_the_former_one(root, small_disk):
    disk, _ = small_disk
    result = train(root, None)
    result.save(disk)
    before = head_of(disk)
    (disk / "room").write_bytes(bytes(2**20 - 40_000))
    result.head.register_buffer("large", torch.zeros(10**5))
    with pytest.raises(UserError, match="head"):
        result.save(disk)
    assert same(head_of(disk), before)
    assert [path.name for path in disk.iterdir() if path.name.endswith(".part")] == []


def test_images_that_are_both_trained_and_scored_on_are_warned_of(root, tmp_path):
    with pytest.warns(DataWarning, match=r"\b8 of the 8\b"):
        train(root, tmp_path, max_epochs=1, val_split="train")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        train(root, tmp_path / "apart", max_epochs=1)


@pytest.mark.parametrize("path", ["metrics/mio", "metrics", "metric/miou", "training/epochs"])
@pytest.mark.parametrize("limit", [None, 3])
def test_an_expected_figure_that_there_is_not_is_refused_before_an_epoch(root, tmp_path, seen, path, limit):
    for out in (tmp_path / "out", None):
        with pytest.raises(UserError, match=path):
            train(root, out, expect={path: [0.5, 0.1]}, limit=limit)
    assert not seen
    assert not (tmp_path / "out" / "last.ckpt").exists()


def test_expected_figures_are_compared(root, tmp_path):
    train(root, tmp_path)
    value = figures(tmp_path)["miou"]
    result = train(root, tmp_path, expect={"metrics/miou": [value, 1e-6], "steps": [0, 1]})
    assert [check["holds"] for check in result.content["expect"]] == [True, False]
    assert not result.as_expected
    assert json.loads((tmp_path / "results.json").read_text())["expect"][1]["found"] == result.content["steps"]
    assert not train(root, None, expect={"metrics/miou": [value + 0.1, 0.01]}).as_expected


def test_a_comparison_that_fails_costs_no_head(root, tmp_path, monkeypatch):
    expected = {"metrics/miou": [0.5, 0.5]}
    calls = []

    def check(*arguments):
        calls.append(arguments)
        if len(calls) > 1:  # the first is of the names of the figures
            raise UserError("no such figure")
        return []

    monkeypatch.setattr("ca_seg.jobs.train_head.check_expected", check)
    with pytest.raises(UserError, match="no such figure"):
        train(root, tmp_path, expect=expected)
    assert figures(tmp_path) == pytest.approx(counted_again(root, tmp_path), abs=1e-6)
