"""Videos and clips in the DAVIS layout with the shipped backbone, by command and from Python; a video family."""

from __future__ import annotations

import json
import shutil

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg import Vocabulary
from ca_seg.backbones.load import backbone_of
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.backbones.video_maps import clip_maps
from ca_seg.cli.main import main
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.video.reader import video_frames
from ca_seg.errors import UserError
from ca_seg.evaluation.video import ClipWords
from ca_seg.jobs.video import VideoEvaluationSettings, VideoSettings, evaluate_video, video
from ca_seg.jobs.video_folder import VideoFolder
from ca_seg.predictors.settings import BackboneSettings
from tests.tiny_pipelines import LENGTH, tiny_cogvideox

FRAMES = 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A scene that moves sideways, in the DAVIS layout, and the word of its largest object."""
    root = tmp_path_factory.mktemp("davis")
    dataset = open_dataset("scenes", None, "in_distribution")
    kinds = dataset.class_list.kinds
    for sample in (dataset[i] for i in range(20)):
        mask = sample["mask"].numpy()
        objects = {i: (mask == i).mean() for i in np.unique(mask) if i != 255 and kinds[i] == "object"}
        if objects and max(objects.values()) > 0.1:
            break
    largest = max(objects, key=objects.get)
    for folder in ("JPEGImages/480p/scene", "Annotations/480p/scene", "ImageSets/2017"):
        (root / folder).mkdir(parents=True)
    image = (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    for number in range(FRAMES):
        shifted, ground_truth = (np.roll(x, 3 * number, axis=1) for x in (image, (mask == largest).astype(np.uint8)))
        Image.fromarray(shifted).save(root / f"JPEGImages/480p/scene/{number:05d}.jpg", quality=95)
        Image.fromarray(ground_truth, "L").save(root / f"Annotations/480p/scene/{number:05d}.png")
    (root / "ImageSets/2017/val.txt").write_text("scene\n")
    word = dataset.class_list.names[largest]
    (root / "words.json").write_text(json.dumps({"scene": {"1": word}}))
    return root, word


def _run(*arguments):
    return main(list(map(str, arguments)))


def test_clips_are_scored(clips, tmp_path, capsys):
    root, word = clips
    assert (
        _run("video-eval", "--root", root, "--backbone", "mini", "--background", "grass", "sand", "--out", tmp_path)
        == 0
    )
    results = json.loads((tmp_path / "results.json").read_text())
    region = results["clips"]["scene"]["words"][word]["j"]["mean"]
    assert results["metrics"]["j"]["mean"] == region > 0.3
    assert results["clips"]["scene"]["frames"] == FRAMES
    assert results["readout"]["layers"]
    assert (results["method"], results["background"]) == ("mini", ["grass", "sand"])
    printed = capsys.readouterr().out
    assert "J&F" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "results.json")


def test_clips_are_scored_from_python(clips):
    root, _ = clips
    settings = VideoEvaluationSettings(background=["grass", "sand"], frames="inner")
    announced = []
    results = evaluate_video(root, settings, backbone="mini", announce=announced.append)
    assert results.metrics["j"]["mean"] > 0.3
    assert [scores.name for scores in announced] == ["scene"]
    with pytest.raises(UserError, match="root"):
        evaluate_video(settings=settings)


def test_a_clip_that_cannot_be_read_is_skipped(clips, tmp_path, capsys):
    root, word = clips
    shutil.copytree(root, tmp_path / "davis")
    davis = tmp_path / "davis"
    for name in ("cut", "void"):
        shutil.copytree(davis / "JPEGImages/480p/scene", davis / "JPEGImages/480p" / name)
        shutil.copytree(davis / "Annotations/480p/scene", davis / "Annotations/480p" / name)
    broken = davis / "JPEGImages/480p/cut/00002.jpg"
    broken.write_bytes(broken.read_bytes()[:2000])
    (davis / "Annotations/480p/void/00004.png").write_bytes(b"no image")
    (davis / "words.json").write_text(json.dumps({name: {"1": word} for name in ("scene", "cut", "void")}))
    (davis / "ImageSets/2017/val.txt").write_text("void\nscene\ncut\n")
    options = ("--root", davis, "--backbone", "mini", "--background", "grass", "sand", "--out", tmp_path / "out")
    assert _run("video-eval", *options) == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["clips"]) == ["scene"]
    assert list(results["clips"]["scene"]["words"]) == [word]
    assert [name for name, _ in results["skipped"]] == ["void", "cut"]
    assert "00002.jpg" in capsys.readouterr().out
    (davis / "ImageSets/2017/val.txt").write_text("void\ncut\n")
    with pytest.raises(UserError, match=r"00002\.jpg"):
        evaluate_video(davis, backbone="mini")


def test_template_and_synonyms_of_clips_are_asked(clips):
    root, word = clips
    words = ClipWords(("grass", "Beast"), "a {}", {"cat": ["beast"]})
    expected = Vocabulary(("(background)", "cat"), (("a grass",), ("a cat", "a beast")), background=0)
    assert words.vocabulary(["cat"]) == expected
    settings = VideoEvaluationSettings(BackboneSettings(template="photo of {}"), background=["grass", "sand"])
    plain, templated = (
        evaluate_video(root, s, backbone="mini").metrics["j"]["mean"]
        for s in (VideoEvaluationSettings(background=["grass", "sand"]), settings)
    )
    assert plain != templated
    for model in (BackboneSettings(synonyms={"nothing": ["x"]}), BackboneSettings(synonyms={word: ["zebr"]})):
        with pytest.raises(UserError, match=r"nothing|zebr"):
            evaluate_video(root, VideoEvaluationSettings(model), backbone="mini")
    with pytest.raises(UserError, match="floor,wall"):
        evaluate_video(root, VideoEvaluationSettings(background=["floor,wall"]), backbone="mini")


def test_a_video_gives_an_overlay_and_masks_of_its_frames(clips, tmp_path):
    root, word = clips
    frames = root / "JPEGImages/480p/scene"
    assert _run("video", frames, "--concepts", word, "grass", "sand", "--fps", 8, "--out", tmp_path) == 0
    with av.open(str(tmp_path / "overlay.mp4")) as video_file:
        assert video_file.streams.video[0].average_rate == 8
        assert sum(1 for _ in video_file.decode(video=0)) == FRAMES
    masks = sorted((tmp_path / "masks").glob("*.png"))
    assert [mask.name for mask in masks] == [f"{i:05d}.png" for i in range(FRAMES)]
    first = np.asarray(Image.open(masks[0]))
    assert first.shape == (128, 128)
    assert set(np.unique(first)) <= {1, 2, 3}
    assert json.loads((tmp_path / "classes.json").read_text())["classes"]["1"] == word
    (tmp_path / "again" / "masks").mkdir(parents=True)
    for name in (f"{FRAMES:05d}", "99999", "plan", "000007"):  # of a longer video in this folder, and files of the user
        Image.new("L", (8, 8)).save(tmp_path / "again" / "masks" / f"{name}.png")
    shutil.copy(tmp_path / "classes.json", tmp_path / "again")
    result = video(tmp_path / "overlay.mp4", [word, "grass"], out=tmp_path / "again")
    assert (result.frames, result.classes) == (FRAMES, (word, "grass"))
    assert result.overlay.is_file()
    left = [f"{i:05d}.png" for i in range(FRAMES)] + ["000007.png", "plan.png"]
    assert sorted(path.name for path in result.masks.glob("*.png")) == sorted(left)


def _stop_after(frames: int, monkeypatch) -> None:
    """The next video is stopped when so many of its masks are written."""
    original = VideoFolder.write_mask

    def stopped(self, frame, mask):
        if frame == frames:
            raise KeyboardInterrupt
        original(self, frame, mask)

    monkeypatch.setattr(VideoFolder, "write_mask", stopped)


def test_a_stopped_run_leaves_no_masks_beside_the_classes_of_another(clips, tmp_path, monkeypatch):
    root, word = clips
    frames = root / "JPEGImages/480p/scene"
    video(frames, [word, "grass"], backbone="mini", out=tmp_path)
    with monkeypatch.context() as patch:
        _stop_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            video(frames, ["sand", word, "grass"], backbone="mini", out=tmp_path)
    assert list(json.loads((tmp_path / "classes.json").read_text())["classes"].values()) == ["sand", word, "grass"]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["00000.png", "00001.png"]
    assert not (tmp_path / "overlay.mp4").exists()
    result = video(frames, [word, "sand"], backbone="mini", out=tmp_path)  # over what was stopped
    assert result.frames == len(list(result.masks.iterdir())) == FRAMES
    assert json.loads((tmp_path / "classes.json").read_text())["classes"] == {"1": word, "2": "sand"}


def test_a_video_that_cannot_be_read_replaces_nothing(clips, tmp_path):
    root, word = clips
    video(root / "JPEGImages/480p/scene", [word, "grass"], backbone="mini", out=tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="frames"):
        video(tmp_path / "frames", ["sand", "grass"], backbone="mini", out=tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("file", ["masks/00003.png", "masks/123456.png", "overlay.mp4"])
@pytest.mark.parametrize("classes", [None, {"classes": {"0": "unseen"}}, "unseen"])
def test_files_of_the_user_are_not_replaced(clips, tmp_path, monkeypatch, file, classes):
    monkeypatch.setattr(BackboneSettings, "load", lambda *_: pytest.fail("a backbone was loaded"))
    root, word = clips
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"the user's")
    if classes is not None:
        (tmp_path / "classes.json").write_text(json.dumps(classes))
    with pytest.raises(UserError, match=r"classes\.json"):
        video(root / "JPEGImages/480p/scene", [word, "grass"], backbone="mini", out=tmp_path)
    assert (tmp_path / file).read_bytes() == b"the user's"
    assert len(list(tmp_path.rglob("*.*"))) == 1 + (classes is not None)


def test_the_command_and_the_function_write_the_same_masks(clips, tmp_path):
    root, word = clips
    frames = root / "JPEGImages/480p/scene"
    options = ("--layers", 2, 3, "--timestep", 0.4, "--space", "cross-attention", "--seed", 5, "--template", "a {}")
    options = (*options, "--backbone", "mini")
    assert _run("video", frames, "--concepts", word, "grass", *options, "--out", tmp_path / "command") == 0
    model = BackboneSettings(layers=(2, 3), timesteps=(0.4,), space="cross-attention", template="a {}")
    video(frames, [word, "grass"], VideoSettings(model=model, seed=5), backbone="mini", out=tmp_path / "function")
    video(frames, [word, "grass"], VideoSettings(seed=6), backbone="mini", out=tmp_path / "other")
    masks = [
        [(tmp_path / name / "masks" / f"{i:05d}.png").read_bytes() for i in range(FRAMES)]
        for name in ("command", "function", "other")
    ]
    assert masks[0] == masks[1]
    assert masks[0] != masks[2]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--concepts", "cat", "--fps", "0"), "fps 0"),
        (("--concepts", "cat", "--fps", "-3"), "fps -3"),
        (("--concepts", "cat", "--fps", "nan"), "nan"),
        (("--concepts", "cat", "--window", "64"), "model.window"),
        (("--concepts", "cat", "--scales", "1", "2"), "model.scales"),
        (("--concepts", "cat", "--stride", "32"), "stride of 32"),
        (("--concepts", "cat,grass"), "cat,grass"),
        (("second.mp4", "--concepts", "cat"), "2 "),
        ((), "concept"),
    ],
)
def test_options_that_cannot_be_used_are_named(clips, tmp_path, capsys, arguments, value):
    root, _ = clips
    assert _run("video", root / "JPEGImages/480p/scene", *arguments, "--out", tmp_path / "out") == 2
    assert value in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"not a video"])
def test_a_file_that_is_not_a_video_is_named(tmp_path, capsys, content):
    file = tmp_path / "video.mp4"
    file.write_bytes(content)
    assert _run("video", file, "--concepts", "cat", "--out", tmp_path / "out") == 2
    assert "video.mp4" in capsys.readouterr().err
    assert _run("video", tmp_path / "no.mp4", "--concepts", "cat", "--out", tmp_path / "out") == 2
    (tmp_path / "empty").mkdir()
    assert _run("video", tmp_path / "empty", "--concepts", "cat", "--out", tmp_path / "out") == 2
    assert _run("video", "--concepts", "cat", "--out", tmp_path / "out") == 2


def test_video_frames_come_in_pieces(clips):
    root, _ = clips
    pieces = list(video_frames(root / "JPEGImages/480p/scene", 2))
    assert [len(p) for p in pieces] == [2, 2, 1]
    first = np.asarray(Image.open(root / "JPEGImages/480p/scene/00000.jpg").convert("RGB"))
    assert torch.equal((255 * pieces[0][0]).round().byte().permute(1, 2, 0), torch.from_numpy(first.copy()))


def test_a_video_family_encodes_a_piece_as_one_clip():
    pipeline, name, _ = tiny_cogvideox()
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    words, readout = Vocabulary.from_names(["cat", "grass"]), ReadoutConfig(layers=(0, 2))
    clip = torch.rand(5, 3, 48, 80)
    [(maps, height, width)] = clip_maps(backbone, [clip], words, readout, seed=3)
    assert (maps.shape, height, width) == ((5, 2, 3, 5), 48, 80)
    expected = readout.record(backbone, clip.transpose(0, 1)[None], [3]).maps(words)
    assert expected.shape == (1, 2, 2, 3, 5)
    assert torch.equal(maps, expected[0].transpose(0, 1)[[0, 1, 1, 1, 1]])
