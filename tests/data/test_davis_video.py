"""Clips in the DAVIS layout: what is read, against PIL, and what is said of a bad folder."""

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


def test_a_clip_is_its_files(root):
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
    assert [one.name for one in videos] == ["bike-packing", "bear"]
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
    with pytest.raises(UserError, match=r"by 'name'. Allowed: 'object' or 'word'"):
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


def test_only_a_piece_is_read(root):
    """A broken frame is found when its turn comes, and not before."""
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
    with pytest.raises(BadDataset, match=r"00001\.jpg has no mask\. Add .*00001\.png"):
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
    with pytest.raises(BadDataset, match=r"both words\.json and words\.yaml"):
        DavisVideo(root)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[]", BadDataset, r"words\.json is not a table"),
        ("{", BadDataset, r"words\.json is not readable JSON"),
        ('{"baer": {"1": "bear"}}', UnknownName, r"'baer'. Allowed: did you mean 'bear'"),
        ('{"bear": "bear"}', BadDataset, "'bear' has no table of object ids"),
        ('{"bear": {"1": " "}}', BadDataset, "'bear' has no table of object ids"),
        ('{"bike-packing": {"1": "bike", "2": "man"}}', BadDataset, "'bike-packing' leave out object 4"),
        (
            '{"bike-packing": {"1": "a", "2": "b", "3": "c", "4": "d"}}',
            BadDataset,
            r"name object 3\. Allowed: the objects of its masks: \[1, 2, 4\]",
        ),
    ],
)
def test_bad_words(root, text, error, words):
    (root / "words.json").write_text(text)
    with pytest.raises(error, match=words):
        DavisVideo(root)[0]


def test_bad_yaml_words(root):
    (root / "words.yaml").write_text("bear: [1")
    with pytest.raises(BadDataset, match=r"words\.yaml is not readable YAML"):
        DavisVideo(root)
    with pytest.raises(BadDataset, match=r"none\.json is missing"):
        DavisVideo(root, words=root / "none.json")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("../outside", r"val\.txt lists '\.\./outside'. Allowed: names of folders"),
        ("/etc", r"lists '/etc'. Allowed"),
        ("..", r"lists '\.\.'. Allowed"),
        ("/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png", "Allowed: names of folders"),
        ("bear\ncamel", r"lists 'camel', but .*camel is missing"),
        ("bear\nbear", "lists 'bear' twice"),
        ("\n", r"val\.txt"),
    ],
)
def test_bad_lists(root, names, words):
    (root.parent / "outside").mkdir()
    (root / "ImageSets" / "2017" / "val.txt").write_text(names)
    with pytest.raises(BadDataset, match=words):
        DavisVideo(root)


def test_unknown_names(root):
    with pytest.raises(UnknownName, match=r"split 'vall'. Allowed: did you mean 'val'"):
        DavisVideo(root, split="vall")
    with pytest.raises(UnknownName, match=r"year '2018'. Allowed: did you mean '201"):
        DavisVideo(root, 2018)
    with pytest.raises(UnknownName, match=r"resolution '1080p'"):
        DavisVideo(root, resolution="1080p")
    with pytest.raises(BadDataset, match=r"no dataset folder .*nowhere"):
        DavisVideo(root / "nowhere")
    shutil.rmtree(root / "ImageSets" / "2016")
    with pytest.raises(BadDataset, match=r"2016 is missing\. A DAVIS folder has"):
        DavisVideo(root, 2016)


def test_files_that_do_not_fit(root):
    def said(error, words, index=0):
        with pytest.raises(error, match=words):
            DavisVideo(root)[index]

    frames = root / "JPEGImages" / "480p" / "bike-packing"
    save_mask(mask_file(root, "bike-packing", 2), np.zeros((14, 10)))
    said(BadMask, r"00002\.png is 10 x 14 pixels, its frame is 14 x 10")
    Image.fromarray(np.full((10, 14), 300, np.uint16)).save(mask_file(root, "bike-packing", 2))
    said(BadMask, r"00002\.png has object id 300")
    Image.new("RGB", (14, 10)).save(mask_file(root, "bike-packing", 2))
    said(BadMask, r"00002\.png is an image of mode RGB")
    Image.new("RGB", (15, 10)).save(frames / "00003.jpg")
    said(BadDataset, r"00003\.jpg is 15 x 10 pixels, 00000\.jpg is 14 x 10")
    (frames / "00003.jpg").unlink()
    said(BadDataset, r"00003\.png has no frame")
    Image.new("RGB", (14, 10)).save(frames / "00001.png")
    said(BadDataset, r"both 00001\.jpg and 00001\.png")
    (frames / "00001.png").rename(frames / "first.png")
    said(BadDataset, r"first\.png")
    for path in frames.iterdir():
        path.unlink()
    said(BadDataset, "bike-packing has no frames")


def test_pieces_outside_the_clip(root):
    videos = DavisVideo(root)
    clip = videos[0]
    for read in (videos.frames, videos.masks):
        for start in (-1, 5):
            with pytest.raises(OutOfRange, match=r"of bike-packing. Allowed: 0 to 4"):
                read(clip, start)
        with pytest.raises(OutOfRange, match="count of 0 frames"):
            read(clip, 0, 0)
        with pytest.raises(OutOfRange, match="0 frames at once"):
            read(clip, at_once=0)
