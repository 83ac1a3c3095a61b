"""Videos and DAVIS-like clips through the command line, with the shipped backbone; a video family on its own."""

from __future__ import annotations

import json
import sys

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
from tests.tiny_pipelines import LENGTH, tiny_cogvideox

FRAMES = 5


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A scene that pans, in the DAVIS layout, and the word of its largest object."""
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


def _run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ca-seg", *map(str, arguments)])
    return main()


def test_clips_are_scored(clips, monkeypatch, tmp_path, capsys):
    root, word = clips
    assert _run(monkeypatch, "video-eval", "--root", root, "--background", "grass", "sand", "--out", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    region = results["clips"]["scene"]["words"][word]["j"]["mean"]
    assert results["metrics"]["j"]["mean"] == region > 0.3
    assert results["clips"]["scene"]["frames"] == FRAMES
    assert "J&F" in capsys.readouterr().out


def test_a_video_gives_an_overlay_and_masks_of_its_frames(clips, monkeypatch, tmp_path):
    root, word = clips
    frames = root / "JPEGImages/480p/scene"
    assert _run(monkeypatch, "video", frames, "--concepts", word, "grass", "sand", "--fps", 8, "--out", tmp_path) == 0
    with av.open(str(tmp_path / "overlay.mp4")) as video:
        assert video.streams.video[0].average_rate == 8
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    masks = sorted((tmp_path / "masks").glob("*.png"))
    assert [m.name for m in masks] == [f"{i:05d}.png" for i in range(FRAMES)]
    first = np.asarray(Image.open(masks[0]))
    assert first.shape == (128, 128)
    assert set(np.unique(first)) <= {1, 2, 3}
    assert json.loads((tmp_path / "classes.json").read_text())["classes"]["1"] == word
    again = tmp_path / "again"
    assert _run(monkeypatch, "video", tmp_path / "overlay.mp4", "--concepts", word, "grass", "--out", again) == 0
    assert len(list((again / "masks").glob("*.png"))) == FRAMES


@pytest.mark.parametrize("content", [b"", b"not a video"])
def test_what_is_no_video_is_named(monkeypatch, tmp_path, capsys, content):
    file = tmp_path / "video.mp4"
    file.write_bytes(content)
    assert _run(monkeypatch, "video", file, "--concepts", "cat", "--out", tmp_path / "out") == 2
    assert "video.mp4" in capsys.readouterr().err
    assert _run(monkeypatch, "video", tmp_path / "no.mp4", "--concepts", "cat", "--out", tmp_path / "out") == 2
    (tmp_path / "empty").mkdir()
    assert _run(monkeypatch, "video", tmp_path / "empty", "--concepts", "cat", "--out", tmp_path / "out") == 2


def test_video_frames_come_in_pieces(clips):
    root, _ = clips
    pieces = list(video_frames(root / "JPEGImages/480p/scene", 2))
    assert [len(p) for p in pieces] == [2, 2, 1]
    first = np.asarray(Image.open(root / "JPEGImages/480p/scene/00000.jpg").convert("RGB"))
    assert torch.equal((255 * pieces[0][0]).round().byte().permute(1, 2, 0), torch.from_numpy(first.copy()))


def test_a_video_family_sees_a_piece_as_one_clip():
    pipeline, name, _ = tiny_cogvideox()
    backbone = backbone_of(pipeline, name, resolution=48)
    backbone.text.length = LENGTH
    words, readout = Vocabulary.from_names(["cat", "grass"]), ReadoutConfig(layers=(0, 2))
    clip = torch.rand(5, 3, 48, 80)
    [maps] = clip_maps(backbone, [clip], words, readout, seed=3)
    assert maps.shape == (5, 2, 48, 80)
    expected = readout.record(backbone, clip.transpose(0, 1)[None], [3]).maps(words)
    assert expected.shape == (1, 2, 2, 3, 5)
    upright = torch.nn.functional.interpolate(expected[:, :, 1], (48, 80), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(maps[3], upright)
