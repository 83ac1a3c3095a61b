"""SIGTERM and Ctrl-C as a scheduler and a terminal send them: to a real process, at any moment."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ca_seg.cli import parts, stopping
from ca_seg.cli.main import main
from ca_seg.visual.video import write_overlay_video
from tests.cli.labelling import arguments, image, run, summary, tree
from tests.jobs.small_training import figures, head_of, same, train, two_classes

ROOT = Path(__file__).parents[2]
START = 200  # seconds that a process may take until it works, on a busy machine
END = 30  # and to end
SLEEPER = """
import sys, time
from ca_seg.cli import main as cli
from ca_seg.cli.stopping import Stop, Stopped, when_stopped
def run(arguments):
    with when_stopped(lambda: "all is safe"):
        try:
            print("ready", flush=True)
            time.sleep(60)
        except BaseException:
            time.sleep(float(arguments[0]))
            raise
cli.COMMANDS["sleep"] = ("__main__:run", "")
sys.exit(cli.main(["sleep", *sys.argv[1:]]))
"""


def start(*words, code: str | None = None) -> subprocess.Popen:
    program = ["-m", "ca_seg"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def stop(process: subprocess.Popen, signum: signal.Signals, works) -> str:
    """Send a signal a moment after `works()` is true; what the process printed. No process of its group is left."""
    deadline = time.monotonic() + START
    while not works():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "it does not work"
        time.sleep(0.02)
    time.sleep(random.random() * 0.3)
    assert process.poll() is None, "it was done before"
    if signum == signal.SIGINT:
        os.killpg(process.pid, signum)  # as a terminal: to all processes
    else:
        process.send_signal(signum)
    output = process.communicate(timeout=END)[0]
    assert process.returncode == 128 + signum, output
    assert "Traceback" not in output
    deadline = time.monotonic() + END
    while _alive(process.pid):
        assert time.monotonic() < deadline, f"still alive: {_alive(process.pid)}"
        time.sleep(0.1)
    return output.splitlines()[-1]


def _alive(group: int) -> list[str]:
    """The processes of a group that are not zombies."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            children.append(stat.parent.name)
    return children


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_command_ends_with_the_status_of_the_signal_and_says_how_to_go_on(signum):
    process = start(0, code=SLEEPER)
    assert process.stdout.readline() == "ready\n"
    assert "all is safe" in stop(process, signum, lambda: True)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_a_command_at_once(signum):
    process = start(60, code=SLEEPER)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    time.sleep(0.3)
    assert process.poll() is None  # it is held up
    process.send_signal(signum)
    process.communicate(timeout=5)
    assert process.returncode == 128 + signum


def test_parts_says_how_many_images_are_written(monkeypatch, tmp_path):
    """In this process: the segmenter is stopped when two images are written."""

    def each(images, failed):
        yield from (None, None)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(END)

    class Ended(Exception):
        pass

    def end(stop):
        raise Ended(stop.status, stop.advice)

    image(0).save(tmp_path / "a.png")
    monkeypatch.setattr(parts, "PartSegmenter", lambda settings: SimpleNamespace(each=each, decision=None))
    monkeypatch.setattr(parts, "write", lambda *_: None)
    monkeypatch.setattr(stopping.Stop, "end", end)
    with pytest.raises(Ended, match=r"143.*2 images are written"):
        main(["parts", str(tmp_path / "a.png"), "--out", str(tmp_path / "out")])


def test_handlers_are_as_before_when_a_command_has_ended():
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    assert main(["zoo", "list"]) == 0
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_training_resumes_to_the_same_bits(tmp_path, signum):
    root, out, epochs = two_classes(tmp_path / "set"), tmp_path / "out", 60
    words = ["train", "--data", root, "--backbone", "rgb-patches", "--data.train_split", "train", "--val_split", "val"]
    words += [
        "--data.batch_size",
        2,
        "--lr",
        0.05,
        "--model.options",
        "{dropout: 0.3}",
        "--device",
        "cpu",
        "--out",
        out,
    ]
    words += [*QUIET, "--checkpoint.tensorboard", "false", "--out", out]
    process = start(*words, "--trainer.max_epochs", epochs)
    assert "--resume true" in stop(process, signum, (out / "last.ckpt").exists)
    assert not (out / "results.json").exists()
    assert main([str(word) for word in (*words, "--trainer.max_epochs", epochs, "--resume", "true")]) == 0
    train(root, tmp_path / "whole", max_epochs=epochs)
    assert same(head_of(out), head_of(tmp_path / "whole"))
    assert figures(out) == figures(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_stopped_labels_resume_to_the_same_bytes(workdir, signum, workers):
    for number in range(100):
        image(number).save(workdir / "in" / "a" / f"more{number:03d}.png")
    out, options = workdir / "out", {"data.num_workers": workers}
    process = start("label", *arguments(workdir, "out", **options))
    part = out / ".manifests" / "rank-0.jsonl"
    said = stop(process, signum, lambda: part.exists() and part.read_bytes().count(b"\n") > 3)
    assert "the same command again" in said
    assert not (out / "manifest.jsonl").exists()
    assert run(workdir) == 0
    assert 0 < summary(workdir)["labelled"] < 107
    assert run(workdir, "whole") == 0
    assert tree(out) == tree(workdir / "whole")


def test_a_stop_that_python_drops_comes_again(capfd):
    """An exception in the callback of a weak reference, as importing has them, is dropped with a traceback."""

    class Thing:
        pass

    things = [Thing()]
    callback = weakref.ref(things[0], lambda _: signal.raise_signal(signal.SIGTERM))
    with stopping.Stop() as stop:
        things.clear()
        assert stop.received == signal.SIGTERM
        with pytest.raises(stopping.Stopped):
            time.sleep(20)
    assert callback() is None
    assert stop.status == 143
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """SET with 60 pictures and masks, and a video of them."""
    folder = tmp_path_factory.mktemp("pictures")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(60):
        image(number, (48, 48)).save(folder / "images" / f"{number:03d}.png")
        mask = (np.arange(48 * 48).reshape(48, 48) // (400 + number) % 3).astype(np.uint8)
        Image.fromarray(mask).save(folder / "masks" / f"{number:03d}.png")
    content = {"ignore": [255], "classes": {"0": "cat", "1": "grass", "2": "sky"}}
    (folder / "classes.json").write_text(json.dumps(content))
    (folder / "splits.json").write_text(json.dumps({"all": [f"{number:03d}" for number in range(60)]}))
    frames = [np.asarray(image(number, (48, 64))) for number in range(60)]
    write_overlay_video(folder / "video.mp4", frames, [np.zeros((48, 64), int)] * 60, [0])
    return folder


SMALL = ["--backbone", "mini", "--resolution", "32", "--device", "cpu"]
QUIET = ["--trainer.enable_progress_bar", "false"]
PARTS = ["--train_split", "all", "--val_split", "all"]


@pytest.mark.slow
def test_a_stopped_evaluation_resumes_to_the_same_figures(pictures, tmp_path):
    words = ["eval", *SMALL, *QUIET, "--data", str(pictures), "--no-report"]
    out, predictions = tmp_path / "out", tmp_path / "out" / "predictions"
    process = start(*words, "--save_predictions", "true", "--out", out)
    said = stop(process, signal.SIGTERM, lambda: len(list(predictions.rglob("*.png"))) > 20)
    assert "the same command again" in said
    assert list((out / "progress").iterdir())
    assert main([*words, "--save_predictions", "true", "--out", str(out)]) == 0
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    stopped, whole = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("out", "whole"))
    assert stopped["speed"]["images"] < 60
    for key in ("metrics", "per_class", "images", "intervals", "reliability"):
        assert stopped[key] == whole[key]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "words", "sign"),
    [
        (signal.SIGINT, ["segment", "SET/images", "--concepts", "cat", "sky", *SMALL, "--out", "OUT"], "*_overlay.png"),
        (
            signal.SIGTERM,
            ["video", "SET/video.mp4", "--concepts", "cat", "sky", "--backbone", "mini", "--out", "OUT"],
            "masks/*.png",
        ),
        (
            signal.SIGTERM,
            ["train", *SMALL, *QUIET, "--data", "SET", *PARTS, "--cache", "OUT/cache", "--out", "OUT"],
            ".lock",
        ),
    ],
)
def test_other_commands_end_and_leave_no_part_of_a_file(pictures, tmp_path, signum, words, sign):
    out = tmp_path / "out"
    words = [word.replace("SET", str(pictures)).replace("OUT", str(out)) for word in words]
    process = start(*words)
    assert "again" in stop(process, signum, lambda: len(list(out.glob(sign))) > 0)
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [["calibrate"], ["ablate"], ["two-class", "--background_words", "sky", *QUIET]])
def test_commands_that_write_at_their_end_write_nothing(pictures, tmp_path, words):
    small = SMALL if words[0] != "ablate" else ["--backbone", "mini", "--device", "cpu"]
    process = start(*words, *small, "--data", pictures, "--out", tmp_path / "out")
    begun = time.monotonic()
    while time.monotonic() - begun < 5:  # while it imports, loads or computes
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    assert "nothing was written" in stop(process, signal.SIGTERM, lambda: True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_processes_of_a_distributed_training_end_together(tmp_path):
    root, out = two_classes(tmp_path / "set"), tmp_path / "out"
    words = ["train", "--data", root, "--backbone", "rgb-patches", "--data.train_split", "train", "--val_split", "val"]
    words += ["--data.batch_size", 1, "--device", "cpu", "--trainer.devices", 2, "--trainer.max_epochs", 900]
    process = start(*words, *QUIET, "--checkpoint.tensorboard", "false", "--out", out)
    assert "--resume true" in stop(process, signal.SIGTERM, (out / "last.ckpt").exists)
    shutil.rmtree(out)
