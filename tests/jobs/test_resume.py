"""A training that was stopped continues where it was, to the last bit; one that is finished stays as it is."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest
import torch

from ca_seg.errors import UserError
from ca_seg.folder_lock import lock_folder
from ca_seg.tasks.probe import Probe
from tests.jobs.small_training import STEPS, UP_AND_DOWN, counted_again, figures, head_of, same, train, two_classes


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return two_classes(tmp_path_factory.mktemp("pictures") / "set")


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """A training of three epochs."""
    out = tmp_path_factory.mktemp("finished") / "out"
    train(root, out, max_epochs=3)
    return out


class Break(Exception):
    """Anything that ends a training from outside."""


def stopped(monkeypatch, at, problem, *arguments, **options):
    """Train until the batch of the number `at`, where `problem` is raised."""
    count, original = [], Probe.training_step

    def step(self, batch, index):
        count.append(index)
        if len(count) > at:
            raise problem
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "training_step", step)
        with pytest.raises((type(problem), SystemExit)):
            train(*arguments, **options)


@pytest.mark.parametrize(
    ("at", "options"),
    [
        (5, {}),
        (8, {"ema": 0.8, "keep": "best"}),  # right at the beginning of an epoch
        (9, {"accumulate_grad_batches": 2, "patience": 3, "warmup_steps": 2}),
        (10, {"augment": "images", "check_val_every_n_epoch": 2}),
        (11, {"num_workers": 2, "max_steps": 14, "max_epochs": -1}),
        (9, {"max_steps": 99, "max_epochs": 3}),
        (7, {"kind": "smp", "options": {"decoder": "fpn", "width": 16}}),
    ],
)
def test_a_resumed_training_gives_the_same_bits(root, tmp_path, monkeypatch, at, options):
    options = {"max_epochs": 4, "seed": 3} | options
    train(root, tmp_path / "whole", **options)
    out = tmp_path / "out"
    stopped(monkeypatch, at, Break(), root, out, **options)
    assert not (out / "results.json").exists()
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] > 0
    train(root, out, resume=True, **options)
    assert same(head_of(out), head_of(tmp_path / "whole"))
    assert figures(out) == figures(tmp_path / "whole")


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), UserError("a callback"), MemoryError()])
def test_whatever_ends_a_training_it_keeps_its_last_complete_epoch(root, finished, tmp_path, monkeypatch, problem):
    out = tmp_path / "out"
    stopped(monkeypatch, 6, problem, root, out, max_epochs=3)
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == STEPS
    assert not (out / "results.json").exists()
    train(root, out, max_epochs=3, resume=True)
    assert same(head_of(out), head_of(finished))


def test_a_loss_that_is_not_finite_keeps_the_epoch_and_a_smaller_lr_takes_effect(root, tmp_path, monkeypatch):
    original = Probe.training_step

    def step(self, batch, index):
        if self.global_step == 6:
            batch = batch | {"features": torch.full((2, self.source.channels, 3, 3), torch.nan)}
        return original(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Probe, "training_step", step)
        with pytest.raises(UserError, match="nan"):
            train(root, tmp_path, max_epochs=3)
    rates, say = [], []

    def recorded(self, batch, index):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return original(self, batch, index)

    monkeypatch.setattr(Probe, "training_step", recorded)
    train(root, tmp_path, max_epochs=3, resume=True, lr=0.001, say=say)
    expected = [0.001 * (1 + torch.cos(torch.tensor(torch.pi * step / 12)).item()) / 2 for step in range(4, 12)]
    assert rates == pytest.approx(expected)
    assert any("lr was 0.05, is now 0.001" in line for line in say)


def test_a_training_that_was_stopped_in_its_first_epoch_begins_anew(root, finished, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stopped(monkeypatch, 2, Break(), root, out, max_epochs=3)
    assert not (out / "last.ckpt").exists()
    train(root, out, max_epochs=3, resume=True)
    assert same(head_of(out), head_of(finished))


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ({"max_epochs": 2}, {"max_epochs": 2}),
        ({"max_epochs": 2}, {"max_epochs": 1}),
        ({"max_steps": 7, "max_epochs": -1}, {"max_steps": 7, "max_epochs": -1}),
        ({"max_steps": 2, "max_epochs": -1}, {"max_steps": 2, "max_epochs": -1}),  # no epoch was complete
        ({"max_epochs": 8, "patience": 1, **UP_AND_DOWN}, {"max_epochs": 8, "patience": 1, **UP_AND_DOWN}),
        ({"max_epochs": 4, "keep": "best"}, {"max_epochs": 4, "keep": "best"}),
    ],
)
def test_a_finished_training_says_so_and_changes_nothing(root, tmp_path, monkeypatch, options, again):
    result = train(root, tmp_path, **options)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(Probe, "training_step", lambda *_: pytest.fail("it was trained"))
    say = []
    results = train(root, tmp_path, say=say, resume=True, **again)
    assert results.metrics == pytest.approx(result.metrics, abs=1e-6)
    assert same(results.head.state_dict(), head_of(tmp_path))
    assert any("finished" in line for line in say)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}


def test_a_finished_training_goes_on_with_more_epochs(root, tmp_path):
    train(root, tmp_path, max_epochs=2)
    assert train(root, tmp_path, max_epochs=3, resume=True).content["steps"] == 3 * STEPS
    assert figures(tmp_path) == pytest.approx(counted_again(root, tmp_path), abs=1e-6)
    assert [path.name for path in sorted(tmp_path.glob("log-*"))] == ["log-1", "log-2"]


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_training_that_was_killed_before_its_head_was_written_is_completed(root, tmp_path, monkeypatch, keep):
    train(root, tmp_path, max_epochs=3, keep=keep)
    expected, scored = head_of(tmp_path), figures(tmp_path)
    shutil.rmtree(tmp_path / "head")
    (tmp_path / "results.json").unlink()
    monkeypatch.setattr(Probe, "training_step", lambda *_: pytest.fail("it was trained"))
    train(root, tmp_path, max_epochs=3, keep=keep, resume=True)
    assert same(head_of(tmp_path), expected)
    assert figures(tmp_path) == scored


def test_a_moved_folder_keeps_its_best_score(root, tmp_path, monkeypatch):
    options = {"max_epochs": 8, "keep": "best", **UP_AND_DOWN}
    train(root, tmp_path / "whole", **options)
    stopped(monkeypatch, 5 * STEPS + 1, Break(), root, tmp_path / "out", **options)
    (tmp_path / "out").rename(tmp_path / "moved")
    train(root, tmp_path / "moved", resume=True, **options)
    assert same(head_of(tmp_path / "moved"), head_of(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"kind": "smp", "options": {"decoder": "fpn", "width": 16}}, "kind was linear, is now smp"),
        ({"ema": 0.9}, "ema was false, is now true"),
        ({"resolution": 96}, "resolution"),
        ({"synonyms": {"cat": ["kitten"]}}, "phrases"),
    ],
)
def test_another_training_is_not_continued(root, finished, tmp_path, options, named):
    out = shutil.copytree(finished, tmp_path / "out")
    with pytest.raises(UserError, match=named):
        train(root, out, resume=True, max_epochs=4, **({"options": {"dropout": 0.3}} | options))


@pytest.mark.parametrize("content", [b"", b"cut", None])
def test_a_checkpoint_that_cannot_be_read_is_one_error(root, finished, tmp_path, content):
    out = shutil.copytree(finished, tmp_path / "out")
    whole = (out / "last.ckpt").read_bytes()
    (out / "last.ckpt").write_bytes(whole[:2000] if content is None else content)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        train(root, out, resume=True, max_epochs=4)


def test_a_checkpoint_of_another_program_is_one_error(root, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    torch.save({"state_dict": {}}, out / "last.ckpt")
    with pytest.raises(UserError, match="version"):
        train(root, out, resume=True, max_epochs=4)


def test_a_new_training_leaves_nothing_of_the_former_one_to_resume(root, finished, tmp_path, monkeypatch):
    out, say = shutil.copytree(finished, tmp_path / "out"), []
    stopped(monkeypatch, 2, Break(), root, out, say=say, lr=0.5)
    assert any("replaced" in line for line in say)
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [".lock"]
    assert same(head_of(out), head_of(finished))  # until there is a new one
    train(root, out, lr=0.5, resume=True)
    train(root, tmp_path / "whole", lr=0.5)
    assert same(head_of(out), head_of(tmp_path / "whole"))


def test_the_second_of_two_trainings_in_one_folder_is_refused(root, finished, tmp_path, monkeypatch):
    out = shutil.copytree(finished, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    monkeypatch.setattr("ca_seg.jobs.train_head.lock_folder", partial(lock_folder, patience=0.1))
    with lock_folder(out, "training in"), pytest.raises(UserError, match="another run"):
        train(root, out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    train(root, out)


def test_a_killed_process_does_not_hold_a_folder(tmp_path):
    hold = "import sys, time; from pathlib import Path; from ca_seg.folder_lock import lock_folder\n"
    hold += "lock = lock_folder(Path(sys.argv[1]), 'x'); print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another run"):
        lock_folder(tmp_path, "training in", patience=0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    lock_folder(tmp_path, "training in", patience=2).release()


def test_a_former_version_of_results_is_written_anew(root, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    content = json.loads((out / "results.json").read_text())
    del content["training"]
    (out / "results.json").write_text(json.dumps(content))
    train(root, out, max_epochs=3, resume=True)
    assert same(head_of(out), head_of(finished))
    assert "training" in json.loads((out / "results.json").read_text())
