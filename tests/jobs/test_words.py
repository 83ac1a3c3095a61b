"""Unknown, unseen and absent words in every job: said once, and unknown ones before anything is loaded."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ca_seg
from ca_seg.cli.main import main
from ca_seg.data.settings import EvaluationData
from ca_seg.data.video.davis import DavisVideo
from ca_seg.errors import UnknownName, WordsWarning
from ca_seg.evaluation.unseen import unseen_figures
from ca_seg.jobs.label import LabelSettings
from ca_seg.labelling.settings import LabelData
from ca_seg.resources import resource_path
from ca_seg.vocabulary import Vocabulary
from tests.cli.commands import CPU

UNKNOWN = ("zebr", "grasss", "qqqq")
SCENE = resource_path("datasets", "scenes", "images", "scene_0001.png")  # a pig and an accordion on a road and soil
QUIET = LabelSettings(data=LabelData(num_workers=0), trainer={"enable_progress_bar": False})


@pytest.fixture(scope="module")
def backbone():
    return ca_seg.load_backbone("mini")


def dataset(folder: Path, names: tuple[str, ...]) -> Path:
    """Two images of 32 x 32 with masks of `names`, and a clip of them in the DAVIS layout."""
    for part in ("images", "masks", "JPEGImages/480p/zebr", "Annotations/480p/zebr", "ImageSets/2017"):
        (folder / part).mkdir(parents=True)
    mask = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) % len(names)
    for number in range(2):
        for part in ("images", "JPEGImages/480p/zebr"):
            image = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / part / f"{number:05d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:05d}.png")
        Image.fromarray((mask > 0).astype(np.uint8)).save(folder / "Annotations/480p/zebr" / f"{number:05d}.png")
    (folder / "classes.json").write_text(json.dumps({"classes": dict(enumerate(names))}))
    (folder / "splits.json").write_text(json.dumps({"train": ["00000"], "val": ["00001"]}))
    (folder / "ImageSets/2017/val.txt").write_text("zebr\n")
    return folder


@pytest.fixture
def unknown(tmp_path) -> Path:
    return dataset(tmp_path / "unknown", ("cat", *UNKNOWN))


JOBS = {  # by name: the job in Python and on the command line
    "segment": (
        lambda root: ca_seg.segment(root / "images", UNKNOWN),
        lambda root: ["segment", root / "images", "--concepts", *UNKNOWN],
    ),
    "video": (
        lambda root: ca_seg.video(root / "JPEGImages/480p/zebr", UNKNOWN, ca_seg.VideoSettings(fps=8)),
        lambda root: ["video", root / "JPEGImages/480p/zebr", "--concepts", *UNKNOWN, "--fps", "8"],
    ),
    "label": (
        lambda root: ca_seg.label(root / "images", UNKNOWN, QUIET, out=root / "out"),
        lambda root: ["label", root / "images", "--concepts", *UNKNOWN, "--out", root / "out", *CPU],
    ),
    "evaluate": (
        lambda root: ca_seg.evaluate("mini", root),
        lambda root: ["eval", "--data", root, "--out", root / "out", *CPU],
    ),
    "train": (
        lambda root: ca_seg.train_head("mini", root, train_split="train", val_split="val"),
        lambda root: ["train", "--data", root, "--train_split", "train", "--val_split", "val", "--out", root / "out"],
    ),
    "calibrate": (
        lambda root: ca_seg.calibrate("mini", root),
        lambda root: ["calibrate", "--data", root, "--out", root / "c.json"],
    ),
    "ablate": (
        lambda root: ca_seg.ablate("mini", root),
        lambda root: ["ablate", "--data", root, "--out", root / "out"],
    ),
    "two-class": (
        lambda root: ca_seg.two_class("mini", root, background_words=["grass"]),
        lambda root: ["two-class", "--data", root, "--background_words", "[grass]", "--out", root / "out"],
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_all_unknown_words_are_named_before_anything_is_loaded(name, unknown, monkeypatch, capsys):
    for module in ("ca_seg.predictors.settings", "ca_seg.tasks.head_settings"):
        monkeypatch.setattr(f"{module}.load_backbone", None)  # it would raise TypeError
    in_python, command = JOBS[name]
    with pytest.raises(UnknownName) as caught:
        in_python(unknown)
    assert [word for word in UNKNOWN if repr(word) not in str(caught.value)] == []
    assert {"zebra", "grass"} <= set(caught.value.close_matches)
    assert main([str(word) for word in command(unknown)]) == 2
    printed = capsys.readouterr().err
    assert [word for word in (*UNKNOWN, "zebra", "grass") if repr(word) not in printed] == []
    assert not (unknown / "out").exists()


def test_unknown_words_of_clips_are_named_before_a_clip_is_read(unknown, monkeypatch):
    monkeypatch.setattr(DavisVideo, "__getitem__", None)
    assert DavisVideo(unknown).words == ("zebr",)
    settings = ca_seg.VideoEvaluationSettings(background=["grasss", "sky"])
    with pytest.raises(UnknownName, match=r"'zebr'.*'grasss'"):
        ca_seg.evaluate_video(unknown, settings)


def test_unknown_words_of_a_compared_backbone(unknown):
    settings = ca_seg.EvaluationSettings(compare=["mini-plain"], report=False)
    with pytest.raises(UnknownName, match="'zebr'"):
        ca_seg.evaluate("flux1-schnell", unknown, settings)


def test_segment_marks_unseen_words_and_warns_once(backbone, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        shutil.copy(SCENE, tmp_path / name)
    words = {"pig": ["pig"], "vehicle": ["automobile", "bus"], "road": ["road"]}
    with pytest.warns(WordsWarning, match="automobile.*car") as caught:
        results = ca_seg.segment(tmp_path, words, backbone=backbone)
    assert len([warning for warning in caught if "automobile" in str(warning.message)]) == 1
    assert [result.unseen for result in results] == [{"automobile": "car"}] * 2
    assert results[0].as_dict()["unseen"] == {"automobile": "car"}
    command = [
        "segment",
        str(tmp_path),
        "--concepts",
        "pig",
        "automobile",
        "--backbone",
        "mini",
        "--json",
        "--out",
        str(tmp_path.parent / f"{tmp_path.name}-out"),
    ]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["unseen"] for line in printed.out.splitlines()] == [{"automobile": "car"}] * 2
    assert printed.err.count("automobile") == 1
    assert "Warning" not in printed.err  # one line, without the place in the code


def test_words_that_training_taught_give_no_warning(backbone):
    with warnings.catch_warnings():
        warnings.simplefilter("error", WordsWarning)
        assert ca_seg.segment(SCENE, ["pigs", "road"], backbone=backbone).unseen == {}
        assert ca_seg.segment(SCENE, "pig", backbone=backbone).unseen == {}  # our own background words are not marked
    with pytest.warns(WordsWarning, match="wall"):
        ca_seg.segment(SCENE, "pig", background="wall", backbone=backbone)


def test_segment_warns_of_images_without_the_words(backbone, tmp_path, capsys):
    shutil.copy(SCENE, tmp_path / "pig.png")
    present = ca_seg.segment(SCENE, ["pig", "road"], backbone=backbone)
    assert present.likely
    assert present.presence.words["pig"] >= present.presence.threshold
    assert np.allclose(present.confidence, present.probabilities.max(0), atol=1e-6)
    with pytest.warns(WordsWarning, match="scene_0001"):
        absent = ca_seg.segment(SCENE, ["pizza", "guitar"], backbone=backbone)
    assert not absent.likely
    assert absent.presence.highest < absent.presence.threshold
    assert np.allclose(absent.confidence, absent.presence.factor * absent.probabilities.max(0), atol=1e-6)
    assert absent.probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)
    content = absent.as_dict()
    assert content["likely"] is False
    assert content["presence"] == {"highest": absent.presence.highest, "threshold": absent.presence.threshold}
    assert content["concepts"]["pizza"]["presence"] == absent.presence.words["pizza"]
    out = ["--out", str(tmp_path / "out")]
    assert (
        main(
            [
                "segment",
                str(tmp_path / "pig.png"),
                "--concepts",
                "pizza",
                "guitar",
                "--backbone",
                "mini",
                "--json",
                *out,
            ]
        )
        == 0
    )
    printed = capsys.readouterr()
    assert json.loads(printed.out)["likely"] is False
    assert printed.err.count("none of the words") == 1


def test_the_masks_are_those_of_the_words_alone(backbone):
    with_presence = ca_seg.segment(SCENE, ["pig", "road"], backbone=backbone)
    settings = ca_seg.SegmentSettings(layers=(2, 3))  # as on the card, but given: presence is off
    without = ca_seg.segment(SCENE, ["pig", "road"], backbone=backbone, settings=settings)
    assert without.presence is None
    assert without.likely
    assert (with_presence.mask == without.mask).all()
    assert np.allclose(with_presence.probabilities, without.probabilities, atol=1e-5)


def test_label_says_which_words_are_unseen_and_which_images_lack_all_words(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    shutil.copy(SCENE, tmp_path / "in" / "pig.png")
    with pytest.warns(WordsWarning, match="pig.png") as caught:
        absent = ca_seg.label(
            tmp_path / "in", ["pizza", "automobile"], QUIET, backbone="mini", out=tmp_path / "absent", device="cpu"
        )
    assert len([warning for warning in caught if issubclass(warning.category, WordsWarning)]) == 2
    assert absent.summary["unseen"] == {"automobile": "car"}
    assert absent.summary["images_without_words"] == ["pig.png"]
    run = json.loads((tmp_path / "absent" / "run.json").read_text())
    assert run["unseen"] == {"automobile": "car"}
    threshold = run["settings"]["presence"]["threshold"]
    (entry,) = absent.open().entries()
    assert 0 <= entry.presence < threshold
    present = ca_seg.label(
        tmp_path / "in", ["pig", "road"], QUIET, backbone="mini", out=tmp_path / "present", device="cpu"
    )
    (shown,) = present.open().entries()
    assert shown.presence >= threshold
    assert present.summary["images_without_words"] == []
    maps = ca_seg.load_backbone("mini")
    result = ca_seg.segment(tmp_path / "in" / "pig.png", ["pizza", "automobile"], backbone=maps)
    two_best = np.sort(result.probabilities, axis=0)[-2:]
    expected = result.presence.factor * (two_best[1] - two_best[0])
    assert absent.open().confidence(entry).mean() / 255 == pytest.approx(expected.mean(), abs=0.02)


def test_figures_of_taught_and_unseen_classes_stand_apart(tmp_path, capsys):
    root = dataset(tmp_path / "data", ("cat", "automobile", "grass", "wall"))
    assert main(["eval", "--backbone", "mini", "--data", str(root), "--out", str(tmp_path / "out"), *CPU]) == 0
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    unseen = content["unseen"]
    assert unseen["classes"] == ["automobile", "wall"]
    assert set(unseen["words"]) == {"automobile", "wall"}
    for protocol, miou in unseen["miou"]["mini"]["all"].items():
        per_class = content["per_class"][protocol]
        assert miou["taught"] == pytest.approx(np.mean([per_class["cat"], per_class["grass"]]), abs=1e-5)
        assert miou["unseen"] == pytest.approx(np.mean([per_class["automobile"], per_class["wall"]]), abs=1e-5)
    printed = capsys.readouterr()
    assert "2 of 4 classes were never taught" in printed.out
    assert printed.err.count("automobile") == 1
    assert "automobile, wall" in (tmp_path / "out" / "index.html").read_text()


def test_a_class_with_a_taught_synonym_is_taught():
    words = Vocabulary(("car", "wall"), (("automobile", "bus"), ("wall",)))
    assert unseen_figures(words, {"automobile": "car", "wall": "brick"}, {})["classes"] == ["wall"]


def test_nothing_is_unseen_in_the_shipped_scenes_and_heads_have_no_marks():
    data = EvaluationData(limit=2)
    assert ca_seg.evaluate("mini", data).content["unseen"]["classes"] == []
    assert ca_seg.evaluate("mini", data, head="mini-scenes-linear").content["unseen"] is None
