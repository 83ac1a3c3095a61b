"""Labelling with a local Ray: the same labels as without it, bad images are skipped, and runs resume."""

from __future__ import annotations

import re
import sys

import pytest
import torch

from tests.cli.labelling import image, manifest, run, summary, tree

RAY = {"ray.actors": 1, "trainer.accelerator": "auto", "trainer.enable_progress_bar": "null", "data.num_workers": 2}


@pytest.fixture
def with_ray(monkeypatch):
    """Ray's workers with the priority of other tests; as Ray starts them, they wait for everything else to end."""
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'ca-seg[ray]'")
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.mark.slow
def test_ray_gives_the_bytes_of_one_process_and_resumes(workdir, with_ray, capsys):
    for number in range(20):
        image(number).save(workdir / "in" / "a" / f"more{number}.png")
    (workdir / "in" / "broken.png").write_bytes(b"no image")
    options = {"formats": "[png, coco, scores]", "threshold": 0.1}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run(workdir, "whole", **options) == 1
    torch.set_num_threads(threads)
    assert run(workdir, **(options | RAY | {"ray.actors": 2, "ray.writers": 2})) == 1
    assert summary(workdir)["labelled"] == 27
    assert tree(workdir / "out") == tree(workdir / "whole")
    (workdir / "out" / "png" / "masks" / "b" / "1.png").unlink()
    before = (workdir / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns
    assert run(workdir, **(options | RAY)) == 1
    assert re.search(r"\b1\b.*\b27\b.*\b1\b", capsys.readouterr().out)
    assert (workdir / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns == before
    assert tree(workdir / "out") == tree(workdir / "whole")
    assert len(manifest(workdir)) == 27
    assert [skip["image"] for skip in summary(workdir)["skipped"]] == [str(workdir / "in" / "broken.png")]


@pytest.mark.slow
def test_an_error_in_an_actor_gives_one_line(workdir, with_ray, capfd):
    (workdir / "words.yaml").write_text("classes: [cat, zebr]\n")
    assert run(workdir, **RAY) == 2
    error = capfd.readouterr().err.strip()
    assert "zebra" in error
    assert error.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"trainer.devices": 2}, "trainer.devices"),
        ({"writers": 3}, "writers"),
        ({"data.num_workers": 0}, "data.num_workers"),
        ({"ray.readers": 0}, "ray.readers"),
        ({"ray.gpus": -1}, "ray.gpus"),
    ],
)
def test_settings_that_ray_does_not_support_are_refused(workdir, changes, value, capsys):
    assert run(workdir, **(RAY | changes)) == 2
    assert value in capsys.readouterr().err


def test_ray_is_an_extra(workdir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert run(workdir, **RAY) == 2
    assert "pip install 'ca-seg[ray]'" in capsys.readouterr().err


def test_a_bad_cluster_address_is_one_line(workdir, with_ray, capfd):
    """The address is not "auto", which would connect to any Ray of this machine and end with it."""
    assert run(workdir, **(RAY | {"ray.address": "nonsense"})) == 2
    (error,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("error: "))
    assert "nonsense" in error
