"""Clips in the DAVIS layout: frames and masks against PIL, and the errors of bad folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.video.davis import DavisVideo
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnknownName, UnreadableImage, UserError

PEOPLE = {"bike-packing": {"1": "bicycle", "2": "person", "4": "person"}}


def save_mask(path: Path, ids: np.ndarray) -> None:
    image = Image.fromarray(ids.astype(np.uint8)).convert("P")
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7)])
    image.save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two clips, 5 and 11 frames. bike-packing has the objects 1, 2 and (in the last frame only) 4, and void."""
    rng = np.random.default_rng(0)
    base = tmp_path / "DAVIS"
    for name, count, ids in (("bike-packing", 5, (0, 1, 2, 255)), ("bear", 11, (0, 255))):
        for part in ("JPEGImages", "Annotations"):
            (base / part / "480p" / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (10, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(base / "JPEGImages" / "480p" / name / f"{number:05}.jpg")
            chosen = (0, 4) if ids[1] == 1 and number == count - 1 else ids
            save_mask(base / "Annotations" / "480p" / name / f"{number:05}.png", rng.choice(chosen, (10, 14)))
    for year, names in (("2016", "bear\n"), ("2017", "bike-packing\n\nbear\n")):
        (base / "ImageSets" / year).mkdir(parents=True)
        (base / "ImageSets" / year / "val.txt").write_text(names)
    return base


def mask_file(root: Path, name: str, number: int) -> Path:
    return root / "Annotations" / "480p" / name / f"{number:05}.png"


def test_a_clip_has_its_files_objects_and_words(root):
    videos = DavisVideo(root, 2017, words=PEOPLE)
    assert len(videos) == 2
    assert videos.names == ("bike-packing", "bear")
    clip = videos[0]
    assert (clip.name, clip.size, len(clip)) == ("bike-packing", (10, 14), 5)
    assert [path.name for path in clip.frame_paths] == [f"0000{n}.jpg" for n in range(5)]
    assert clip.mask_paths == tuple(mask_file(root, "bike-packing", n) for n in range(5))
    assert clip.object_ids == (1, 2, 4)
    assert clip.words == ("bicycle", "person", "person")
    assert clip.classes == ("bicycle", "person")
    assert [video.name for video in videos] == ["bike-packing", "bear"]
    with pytest.raises(IndexError):
        videos[2]


@pytest.mark.parametrize(("start", "count", "at_once"), [(0, None, 8), (2, 2, 8), (1, 99, 3), (4, 1, 1), (0, 4, 2)])
def test_frames_and_masks_are_the_files(root, start, count, at_once):
    videos = DavisVideo(root, 2017)
    clip = videos[0]
    frames = list(videos.frames(clip, start, count, at_once=at_once))
    masks = list(videos.masks(clip, start, count, at_once=at_once))
    numbers = list(range(5))[start : None if count is None else start + count]
    assert [len(piece) for piece in frames] == [len(numbers[n : n + at_once]) for n in range(0, len(numbers), at_once)]
    assert [len(piece) for piece in masks] == [len(piece) for piece in frames]
    for number, frame, mask in zip(numbers, torch.cat(frames), torch.cat(masks), strict=True):
        pixels = np.asarray(Image.open(root / "JPEGImages" / "480p" / "bike-packing" / f"{number:05}.jpg"))
        np.testing.assert_allclose(frame.permute(1, 2, 0), pixels / 255, atol=1e-6)
        assert frame.dtype == torch.float32
        assert mask.dtype == torch.int64
        assert (mask.numpy() == np.asarray(Image.open(mask_file(root, "bike-packing", number)))).all()


def test_by_word_two_people_are_one_class(root):
    videos = DavisVideo(root, 2017, words=PEOPLE)
    objects, words = (torch.cat(list(videos.masks(videos[0], by=by))) for by in ("object", "word"))
    table = {0: 0, 1: 1, 2: 2, 4: 2, 255: 255}
    assert words.tolist() == [[[table[n] for n in row] for row in mask] for mask in objects.tolist()]
    with pytest.raises(UserError, match=r"'name'.*'object' or 'word'"):
        videos.masks(videos[0], by="name")


def test_2016_has_one_object(root):
    videos = DavisVideo(root, 2016)
    clip = videos[0]
    assert (videos.names, clip.object_ids, clip.words) == (("bear",), (1,), ("bear",))
    masks = torch.cat(list(videos.masks(clip)))
    files = np.stack([np.asarray(Image.open(path)) for path in clip.mask_paths])
    assert set(np.unique(files)) == {0, 255}
    assert (masks.numpy() == (files == 255)).all()
    (root / "ImageSets" / "2016" / "val.txt").write_text("bike-packing\n")
    assert DavisVideo(root, 2016)[0].object_ids == (1,)


def test_frames_are_read_piece_by_piece(root):
    """A broken frame raises when its piece is read, not before."""
    videos = DavisVideo(root, 2017)
    clip = videos[1]
    path = clip.frame_paths[10]
    path.write_bytes(path.read_bytes()[:150])
    pieces = videos.frames(clip, at_once=5)
    assert next(pieces).shape == next(pieces).shape == (5, 3, 10, 14)
    with pytest.raises(UnreadableImage, match=r"00010\.jpg"):
        next(pieces)


def test_frames_follow_their_numbers(root):
    """Names without leading zeros: 10 comes after 9."""
    for part, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
        folder = root / part / "480p" / "bear"
        for number in range(11):
            (folder / f"{number:05}.{ending}").rename(folder / f"{number}.{ending}")
        (folder / f"._0.{ending}").write_text("left by another system")
    clip = DavisVideo(root)[1]
    assert [path.stem for path in clip.frame_paths] == [str(n) for n in range(11)]
    assert [path.stem for path in clip.mask_paths] == [str(n) for n in range(11)]


def test_unlabelled_frames_are_void(root):
    for number in (1, 2, 3):
        mask_file(root, "bike-packing", number).unlink()
    videos = DavisVideo(root)
    clip = videos[0]
    assert [path is None for path in clip.mask_paths] == [False, True, True, True, False]
    masks = torch.cat(list(videos.masks(clip)))
    assert (masks[1:4] == 255).all()
    assert (masks[0] != 255).any()
    with pytest.raises(BadDataset, match=r"00001\.jpg.*00001\.png"):
        DavisVideo(root, require_masks=True)[0]
    shutil.rmtree(root / "Annotations" / "480p" / "bike-packing")
    clip = DavisVideo(root, words=PEOPLE)[0]
    assert (clip.object_ids, clip.words, set(clip.mask_paths)) == ((), (), {None})


def test_words_from_the_name_from_files_and_from_the_caller(root, tmp_path):
    assert DavisVideo(root)[0].words == ("bike", "bike", "bike")
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(PEOPLE))
    assert DavisVideo(root, words=file)[0].words == ("bicycle", "person", "person")
    assert DavisVideo(root, words=file, split="val", year=2016)[0].words == ("bear",)
    (root / "words.yaml").write_text("bike-packing: {1: bicycle, 2: rider, 4: bag}")
    assert DavisVideo(root)[0].words == ("bicycle", "rider", "bag")
    assert DavisVideo(root, words=PEOPLE)[0].words == ("bicycle", "person", "person")
    (root / "words.json").write_text("{}")
    with pytest.raises(BadDataset, match=r"words\.json.*words\.yaml"):
        DavisVideo(root)


@pytest.mark.parametrize(
    ("text", "error", "value"),
    [
        ("[]", BadDataset, r"words\.json"),
        ("{", BadDataset, r"words\.json.*JSON"),
        ('{"baer": {"1": "bear"}}', UnknownName, "'baer'.*'bear'"),
        ('{"bear": "bear"}', BadDataset, r"words\.json.*'bear'"),
        ('{"bear": {"1": " "}}', BadDataset, r"words\.json.*'bear'"),
        ('{"bike-packing": {"1": "bike", "2": "man"}}', BadDataset, r"'bike-packing'.*\b4\b"),
        (
            '{"bike-packing": {"1": "a", "2": "b", "3": "c", "4": "d"}}',
            BadDataset,
            r"\b3\b.*\[1, 2, 4\]",
        ),
    ],
)
def test_bad_words(root, text, error, value):
    (root / "words.json").write_text(text)
    with pytest.raises(error, match=value):
        DavisVideo(root)[0]


def test_bad_yaml_words(root):
    (root / "words.yaml").write_text("bear: [1")
    with pytest.raises(BadDataset, match=r"words\.yaml.*YAML"):
        DavisVideo(root)
    with pytest.raises(BadDataset, match=r"none\.json"):
        DavisVideo(root, words=root / "none.json")


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ("../outside", r"val\.txt.*'\.\./outside'"),
        ("/etc", "'/etc'"),
        ("..", r"'\.\.'"),
        ("/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png", r"'/JPEGImages/480p/bear/00000\.jpg"),
        ("bear\ncamel", "'camel'"),
        ("bear\nbear", "'bear'"),
        ("\n", r"val\.txt"),
    ],
)
def test_bad_lists(root, names, value):
    (root.parent / "outside").mkdir()
    (root / "ImageSets" / "2017" / "val.txt").write_text(names)
    with pytest.raises(BadDataset, match=value):
        DavisVideo(root)


def test_unknown_names(root):
    with pytest.raises(UnknownName, match=r"'vall'.*'val'"):
        DavisVideo(root, split="vall")
    with pytest.raises(UnknownName, match=r"'2018'.*'201"):
        DavisVideo(root, 2018)
    with pytest.raises(UnknownName, match="'1080p'"):
        DavisVideo(root, resolution="1080p")
    with pytest.raises(BadDataset, match="nowhere"):
        DavisVideo(root / "nowhere")
    shutil.rmtree(root / "ImageSets" / "2016")
    with pytest.raises(BadDataset, match="2016"):
        DavisVideo(root, 2016)


def test_inconsistent_files(root):
    def assert_refused(error, value):
        with pytest.raises(error, match=value):
            DavisVideo(root)[0]

    frames = root / "JPEGImages" / "480p" / "bike-packing"
    save_mask(mask_file(root, "bike-packing", 2), np.zeros((14, 10)))
    assert_refused(BadMask, r"00002\.png.*10 x 14.*14 x 10")
    Image.fromarray(np.full((10, 14), 300, np.uint16)).save(mask_file(root, "bike-packing", 2))
    assert_refused(BadMask, r"00002\.png.*\b300\b")
    Image.new("RGB", (14, 10)).save(mask_file(root, "bike-packing", 2))
    assert_refused(BadMask, r"00002\.png.*\bRGB\b")
    Image.new("RGB", (15, 10)).save(frames / "00003.jpg")
    assert_refused(BadDataset, r"00003\.jpg.*15 x 10.*00000\.jpg.*14 x 10")
    (frames / "00003.jpg").unlink()
    assert_refused(BadDataset, r"00003\.png")
    Image.new("RGB", (14, 10)).save(frames / "00001.png")
    assert_refused(BadDataset, r"00001\.jpg.*00001\.png")
    (frames / "00001.png").rename(frames / "first.png")
    assert_refused(BadDataset, r"first\.png")
    for path in frames.iterdir():
        path.unlink()
    assert_refused(BadDataset, "bike-packing")


def test_pieces_outside_the_clip(root):
    videos = DavisVideo(root)
    clip = videos[0]
    for read in (videos.frames, videos.masks):
        for start in (-1, 5):
            with pytest.raises(OutOfRange, match=r"bike-packing.* 0 to 4"):
                read(clip, start)
        with pytest.raises(OutOfRange, match=r"\b0\b"):
            read(clip, 0, 0)
        with pytest.raises(OutOfRange, match=r"\b0\b"):
            read(clip, at_once=0)
