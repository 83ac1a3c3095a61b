"""Inputs that once hung, came late or were explained badly: each ends at once, in one line."""

from __future__ import annotations

import errno
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

import ca_seg
from ca_seg.backbones.images import WorkingSize
from ca_seg.cli.main import main
from ca_seg.cli.parser import JobParser
from ca_seg.concept.features import check_finite
from ca_seg.confidence.calibration import SCHEMA, read_calibration, vocabulary_fingerprint, write_calibration
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.errors import BadDataset, CorruptWeights, OutOfRange, UnreadableImage, UserError
from ca_seg.jobs.arguments import check_folder
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.jobs.trainer import seed_all
from ca_seg.labelling.confidence import confidence_config
from ca_seg.labelling.data import BATCHES_PER_WORKER, BatchLoader, UnlabelledImages
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.ray import BATCH, FAILED, SKIPPED, Predict
from ca_seg.labelling.task import MANY, PseudoLabel
from ca_seg.predictors.views import Views, predict_views
from ca_seg.vocabulary import Vocabulary
from tests.cli.commands import CPU, few_scenes


def test_windows_of_a_pixel_are_refused_before_the_first():
    def predict(view: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a window was predicted")

    for views in (Views(window=1), Views(window=64, stride=1), Views(scales=(8.0,), window=20)):
        with pytest.raises(OutOfRange, match="windows"):
            predict_views(predict, torch.zeros(1, 3, 427, 640), views)


def test_a_window_smaller_than_a_token_is_refused():
    with pytest.raises(OutOfRange, match="window of 7"):
        Views(window=7, multiple=8)
    assert Views(window=8, multiple=8).window == 8


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


def test_a_name_that_leaves_no_room_for_an_ending_is_refused_before_anything_is_computed(tmp_path_factory, capsys):
    images, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("results") / "out"
    Image.new("RGB", (8, 8)).save(images / f"{'x' * 244}.png")
    Image.new("RGB", (8, 8)).save(images / "a.png")
    assert main(["segment", str(images), "--concepts", "cat", "grass", "--out", str(out)]) == 2
    assert "244 bytes" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_name_that_is_not_utf_8_is_refused_before_anything_is_computed(tmp_path_factory, capsys):
    images, out = tmp_path_factory.mktemp("images"), tmp_path_factory.mktemp("results") / "out"
    Image.new("RGB", (8, 8)).save(images / "a.png")
    os.rename(images / "a.png", os.fsencode(images) + b"/\xff.png")
    assert main(["segment", str(images), "--concepts", "cat", "grass", "--out", str(out)]) == 2
    assert "UTF-8" in capsys.readouterr().err
    assert not out.exists()
    assert len(open_dataset("images", str(images)).fingerprint()) == 16


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is of Linux")
def test_standard_output_that_takes_nothing_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ca_seg", "zoo", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {os.strerror(errno.ENOSPC)}")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize(
    "problem",
    [
        ImportError("libtorch_cuda.so: failed to map segment from shared object"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1638400000000 bytes."),
        MemoryError(),
    ],
)
def test_what_finds_no_memory_is_one_line(monkeypatch, capsys, problem):
    def no_room(arguments):
        raise problem

    monkeypatch.setattr("ca_seg.cli.images_first.run_segment", no_room)
    assert main(["segment", "a.png"]) == 2
    assert "not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, 7, ""])
def test_a_backbone_that_is_no_name_is_one_error(name):
    with pytest.raises(UserError):
        ca_seg.load_backbone(name)


def test_a_picture_of_five_pixels_is_not_generated():
    with pytest.raises(UserError, match="width"):
        ca_seg.generate("mini", "a cat", ["cat"], width=5)


@pytest.mark.parametrize("template", ["a {} of {}", "a photo"])
def test_a_template_has_one_place_for_the_phrase(template):
    with pytest.raises(UserError, match="template"):
        Vocabulary.from_names(["cat"], template=template)


def test_words_that_are_no_text_are_one_error():
    with pytest.raises(UserError, match="1"):
        Vocabulary.from_names([1, None])  # type: ignore[list-item]
    with pytest.raises(UserError, match="2"):
        Vocabulary.from_names(["cat"], synonyms={"cat": [2]})  # type: ignore[list-item]


def test_an_evaluation_of_void_masks_says_so_and_prints_no_warnings(tmp_path, capsys, recwarn):
    for part, mode, value in (("images", "RGB", 0), ("masks", "L", 255)):
        (tmp_path / part).mkdir()
        Image.new(mode, (64, 64), value).save(tmp_path / part / "a.png")
    (tmp_path / "classes.json").write_text('{"ignore": [255], "classes": {"0": "cat", "1": "grass"}}')
    options = ["--data.name", "folder", "--data.root", str(tmp_path), "--report", "false"]
    assert main(["eval", *CPU, *options, "--out", str(tmp_path / "out")]) == 1
    assert "void" in capsys.readouterr().out
    assert not [str(warning.message) for warning in recwarn if "update" in str(warning.message)]


class TurnsNonFinite:
    """Predicts the mean colour of an image as two maps, and NaN for a white one."""

    def predict(self, images, seeds):
        class Predicted:
            def maps(self, vocabulary):
                mean = images.mean(dim=1, keepdim=True)
                return check_finite(torch.cat([mean, 1 - mean], dim=1).masked_fill(mean == 1, torch.nan))

        return Predicted()


def white_and_gray(*white: bool) -> dict:
    """A batch as `label` reads it."""
    names = [str(number) for number in range(len(white))]
    images = torch.stack([torch.full((3, 4, 4), 1.0 if is_white else 0.25) for is_white in white])
    return {
        **{"image": images, "key": names, "path": names, "file": [f"{name}.png" for name in names]},
        **{"size": [(4, 4)] * len(white), "sha256": names, "wanted": [True] * len(white), "skipped": []},
    }


def test_an_image_whose_maps_are_not_finite_is_skipped_and_the_others_are_labelled():
    labelled = []
    task = PseudoLabel(TurnsNonFinite(), Vocabulary.from_names(["a", "b"]), lambda path, *_: labelled.append(path))
    assert task.predict_step(white_and_gray(False, True, False), 0) == 2
    assert labelled == ["0", "2"]
    assert [path for path, _ in task.skipped] == ["1"]
    assert "not finite" in task.skipped[0][1]
    assert task.predict_step(white_and_gray(*[True] * 20), 1) == 0  # some were labelled, so the weights are sound
    assert len(task.skipped) == 21


def test_weights_that_give_no_finite_maps_end_a_labelling():
    task = PseudoLabel(TurnsNonFinite(), Vocabulary.from_names(["a", "b"]), lambda *_: None)
    for number in range(MANY - 1):
        assert task.predict_step(white_and_gray(True), number) == 0
    with pytest.raises(CorruptWeights):
        task.predict_step(white_and_gray(True), MANY)
    assert len(task.skipped) == MANY - 1
    continued = PseudoLabel(TurnsNonFinite(), Vocabulary.from_names(["a", "b"]), lambda *_: None)
    continued.labelled = 3  # by the run that it continues, so the weights are sound
    assert continued.predict_step(white_and_gray(*[True] * 20), 0) == 0


@pytest.mark.parametrize(("labelled", "kind"), [(0, FAILED), (3, SKIPPED)])
def test_a_labelling_by_ray_that_is_continued_knows_that_its_weights_are_sound(monkeypatch, labelled, kind):
    run = SimpleNamespace(
        task=lambda device, save: PseudoLabel(TurnsNonFinite(), Vocabulary.from_names(["a", "b"]), save)
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    actor = Predict(os.getcwd(), run, "cpu", 1, labelled)
    batch = {"kind": BATCH, "path": "", "content": pickle.dumps(white_and_gray(True))}
    rows = [row for _ in range(MANY) for row in actor(batch)]
    assert [row["kind"] for row in rows] == [SKIPPED] * (MANY - 1) + [kind]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", None])
def test_a_seed_that_is_none_is_one_error_in_every_job(tmp_path, seed):
    image, backbone = torch.rand(1, 3, 64, 64), ca_seg.load_backbone("mini")
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text("{}")
    jobs = [
        lambda: backbone.record(image, seed=seed),
        lambda: ca_seg.generate(backbone, "a cat", ["cat"], seed=seed),
        lambda: ca_seg.segment(tmp_path / "a.png", ["cat"], settings=ca_seg.SegmentSettings(seed=seed)),
        lambda: ca_seg.parts(tmp_path / "a.png", settings=ca_seg.PartsSettings(seed=seed)),
        lambda: ca_seg.video(tmp_path, ["cat"], ca_seg.VideoSettings(seed=seed), out=tmp_path / "out"),
        lambda: ca_seg.edit(tmp_path / "a.png", ca_seg.EditSettings(remove=("cat",), seed=seed)),
        lambda: ca_seg.ablate(settings=ca_seg.AblationSettings(seed=seed, out=str(tmp_path / "out"))),
        lambda: ca_seg.two_class(settings=ca_seg.TwoClassSettings(seed=seed, out=str(tmp_path / "out"))),
        lambda: ca_seg.compare(tmp_path / "a.json", tmp_path / "a.json", seed=seed),
        lambda: seed_all(seed),
    ]
    for job in jobs:
        with pytest.raises(OutOfRange, match="seed"):
            job()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [("data: 7", "data is 7"), ("base: 5", "base 5"), ("base: [a, b]", "base ['a', 'b']"), ("- a", "holds no keys")],
)
def test_a_config_of_other_types_is_one_line(tmp_path, capsys, config, said):
    (tmp_path / "config.yaml").write_text(config)
    assert main(["eval", "--config-file", str(tmp_path / "config.yaml")]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert said in error


def test_an_empty_config_sets_nothing(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    parser = JobParser("ca-seg label", "", LabelSettings)
    assert parser.parse(["--config-file", str(tmp_path / "config.yaml")]) == parser.parse([])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("https://example.org/a.jpg", "https://example.org/a.jpg is a URL"),
        ("folder.jpg", "the folder folder.jpg has no image"),
        ("-", "standard input is empty"),
        ("gone.jpg", "gone.jpg is missing"),
    ],
)
def test_an_image_that_is_none_is_said_to_be_that(tmp_path, monkeypatch, capsys, image, said):
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    assert main(["segment", image, "--concepts", "cat", "--backbone", "mini", "--out", "out"]) == 2
    assert f"error: {said}" in capsys.readouterr().err


def test_maps_of_a_path_say_that_it_is_no_image():
    with pytest.raises(UserError, match="a path"):
        ca_seg.load_backbone("mini").maps("photo.jpg", ["cat"])


def test_the_two_class_protocol_names_its_option(tmp_path, capsys):
    few_scenes(tmp_path / "set", 1)
    assert main(["two-class", "--backbone", "mini", *CPU, "--data", str(tmp_path / "set"), "--out", str(tmp_path)]) == 2
    assert "--background_words" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"), [("height", "tall"), ("area", {"cat": "all"}), ("confidence", {"cat": "1"})]
)
def test_a_manifest_with_values_of_other_types_names_them(name, value):
    entry = {"key": "a", "image": "a.png", "height": 4, "width": 4, "sha256": "", "outputs": []}
    entry |= {"area": {}, "confidence": {}, "seconds": 0.1, "presence": None}
    assert Entry.read(dict(entry)).height == 4
    with pytest.raises(ValueError, match=f"its {name}"):
        Entry.read(entry | {name: value})


def test_a_review_of_another_schema_is_refused(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"schema": "other/9"}')
    (tmp_path / "manifest.jsonl").write_text("{}")
    assert main(["review", str(tmp_path)]) == 2
    assert "other/9" in capsys.readouterr().err
