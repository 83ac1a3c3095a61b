"""Inputs that once hung, came late or were explained badly: each ends at once, in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.backbones.images import WorkingSize
from ca_seg.cli.main import main
from ca_seg.confidence.calibration import SCHEMA, read_calibration, vocabulary_fingerprint, write_calibration
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.errors import BadDataset, OutOfRange, UnreadableImage, UserError
from ca_seg.jobs.arguments import check_folder
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.labelling.confidence import confidence_config
from ca_seg.labelling.data import BATCHES_PER_WORKER, BatchLoader, UnlabelledImages
from ca_seg.predictors.views import Views, predict_views
from ca_seg.vocabulary import Vocabulary
from tests.cli.commands import CPU


def test_windows_of_a_pixel_are_refused_before_the_first():
    def predict(view: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a window was predicted")

    for views in (Views(window=1), Views(window=64, stride=1), Views(scales=(8.0,), window=20)):
        with pytest.raises(OutOfRange, match="windows"):
            predict_views(predict, torch.zeros(1, 3, 427, 640), views)


def test_a_pipe_and_a_folder_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg"):
        for read in (read_image, read_mask, read_size):
            with pytest.raises(UnreadableImage, match=name):
                read(tmp_path / name)


def test_the_device_meta_is_refused_with_the_devices():
    with pytest.raises(UserError) as error:
        ca_seg.load_backbone("mini", device="meta")
    assert "cuda" in error.value.allowed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a /proc, which is of Linux")
def test_a_folder_that_takes_no_file_is_noticed_at_once():
    with pytest.raises(UserError, match="/proc/x"):
        check_folder("/proc/x")


def test_an_evaluation_of_no_image_is_one_line(tmp_path, capsys):
    arguments = ["eval", *CPU, "--data.limit", "1", "--report", "false", "--trainer.limit_test_batches", "0"]
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert "no image was scored" in capsys.readouterr().err


def test_one_image_is_not_a_list_of_images(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    with pytest.raises(BadDataset, match="one image"):
        open_dataset("images", str(tmp_path / "a.jpg"))


def test_few_images_start_no_worker(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    images = UnlabelledImages(open_dataset("images", str(tmp_path)), WorkingSize(64, 8), labelled={})
    one = BATCHES_PER_WORKER
    for batches, workers in ((1, 0), (one - 1, 0), (one, 1), (10 * one, 4)):
        assert BatchLoader(images, [[0]] * batches, 4)._loader.num_workers == workers


def test_a_folder_is_the_same_however_its_path_is_written(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    settings = LabelSettings(trainer={"accelerator": "cpu", "enable_progress_bar": False})
    first = label("in", ["cat", "grass"], settings, backbone="mini", out="out")
    again = label(tmp_path / "in" / ".." / "in", ["cat", "grass"], settings, backbone="mini", out="out")
    assert (first.labelled, again.labelled) == (1, 0)


def test_a_calibration_of_other_words_names_them(tmp_path):
    fitted = Vocabulary.from_names(["cat", "dog"])
    content = {
        "schema": SCHEMA,
        "temperature": 1.5,
        "measure": "margin",
        "threshold": 0.5,
        "backbone": "mini",
        "words": {"cat": ["cat"], "dog": ["dog"]},
        "vocabulary": vocabulary_fingerprint(fitted.classes, fitted.phrases),
        "figures": {},
    }
    write_calibration(tmp_path / "c.json", content)
    settings = LabelSettings(model=ca_seg.MethodSettings(backbone="mini"), calibration=str(tmp_path / "c.json"))
    assert confidence_config(settings, fitted).temperature == 1.5
    with pytest.raises(UserError, match=r"dog .*missing.*grass .*new"):
        confidence_config(settings, Vocabulary.from_names(["cat", "grass"]))
    with pytest.raises(UserError, match="order"):
        confidence_config(settings, Vocabulary.from_names(["dog", "cat"]))
    calibration = read_calibration(tmp_path / "c.json")
    scores = torch.rand(2, 4, 5)
    assert (calibration.confidence(scores) == calibration.confidence(scores.numpy())).all()
    with pytest.raises(UserError, match="shape"):
        calibration.confidence(scores[0])
