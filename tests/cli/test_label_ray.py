"""Labelling by Ray Data, on a Ray of this machine: the same labels, the same care for bad images and half runs."""

from __future__ import annotations

import sys

import pytest
import torch

from tests.cli.labelling import image, manifest, run, summary, tree

RAY = {"ray.actors": 1, "trainer.accelerator": "auto", "trainer.enable_progress_bar": "null", "data.num_workers": 2}


def with_ray():
    pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'ca-seg[ray]'")


def test_ray_gives_the_bytes_of_one_process_and_goes_on(place, capsys):
    with_ray()
    for number in range(20):
        image(number).save(place / "in" / "a" / f"more{number}.png")
    (place / "in" / "broken.png").write_bytes(b"no image")
    own = {"formats": "[png, coco, scores]", "threshold": 0.1}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run(place, "whole", **own) == 1
    torch.set_num_threads(threads)
    assert run(place, **(own | RAY | {"ray.actors": 2, "ray.writers": 2})) == 1
    assert summary(place)["labelled"] == 27
    assert tree(place / "out") == tree(place / "whole")
    (place / "out" / "png" / "masks" / "b" / "1.png").unlink()
    before = (place / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns
    assert run(place, **(own | RAY)) == 1
    assert "1 labelled now, 27 in all, 1 skipped" in capsys.readouterr().out
    assert (place / "out" / "png" / "masks" / "d.png").stat().st_mtime_ns == before
    assert tree(place / "out") == tree(place / "whole")
    assert len(manifest(place)) == 27
    assert [skip["image"] for skip in summary(place)["skipped"]] == [str(place / "in" / "broken.png")]


def test_what_an_actor_finds_wrong_is_one_line(place, capfd):
    with_ray()
    (place / "words.yaml").write_text("classes: [cat, zebr]\n")
    assert run(place, **RAY) == 2
    said = capfd.readouterr().err.strip()
    assert "zebra" in said
    assert said.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"trainer.devices": 2}, "--trainer.devices beside --ray.actors"),
        ({"writers": 3}, "--writers beside --ray.actors"),
        ({"data.num_workers": 0}, "--data.num_workers beside --ray.actors"),
        ({"ray.readers": 0}, "--ray.readers 0"),
        ({"ray.gpus": -1}, "--ray.gpus -1"),
    ],
)
def test_settings_that_ray_does_not_take_are_refused(place, changes, said, capsys):
    assert run(place, **(RAY | changes)) == 2
    assert said in capsys.readouterr().err


def test_ray_is_an_extra(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    assert run(place, **RAY) == 2
    assert "pip install 'ca-seg[ray]'" in capsys.readouterr().err


def test_a_cluster_that_cannot_be_is_one_line(place, capfd):
    """Not "auto": it looks for any Ray on the machine, and one that is just ending takes this process with it."""
    with_ray()
    assert run(place, **(RAY | {"ray.address": "nonsense"})) == 2
    assert "error: Ray at nonsense cannot be reached (Invalid address format" in capfd.readouterr().err
