"""Videos, read back with OpenCV (another build of FFmpeg) and PIL."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest

from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.visual.overlay import overlay
from ca_seg.visual.palette import colour
from ca_seg.visual.video import write_overlay_video

GRAY = 128


def moving_square(height: int, width: int, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gray frames; a square of class 1 goes to the right, 8 pixels a frame."""
    masks = [np.full((height, width), 255) for _ in range(count)]
    for number, mask in enumerate(masks):
        mask[16:48, 8 * number : 8 * number + 32] = 1
    return [np.full((height, width, 3), GRAY, np.uint8)] * count, masks


def read_video(path: Path) -> tuple[np.ndarray, cv2.VideoCapture]:
    video = cv2.VideoCapture(str(path))
    images = []
    while (read := video.read())[0]:
        images.append(read[1][..., ::-1])
    return np.stack(images).astype(int), video


def fourcc(video: cv2.VideoCapture, what: int) -> bytes:
    return int(video.get(what)).to_bytes(4, "little")


def test_a_video_reads_back_frame_by_frame(tmp_path):
    frames, masks = moving_square(288, 400, 7)
    assert write_overlay_video(tmp_path / "new" / "a.mp4", iter(frames), iter(masks), [9, 4], 12.5, 0.5) == 7
    images, video = read_video(tmp_path / "new" / "a.mp4")
    assert images.shape == (7, 288, 400, 3)
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 7
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    assert fourcc(video, cv2.CAP_PROP_FOURCC) in (b"h264", b"avc1")
    assert fourcc(video, cv2.CAP_PROP_CODEC_PIXEL_FORMAT) == b"I420"
    for number, image in enumerate(images):
        inside = image[24:40, 8 * number + 8 : 8 * number + 24]  # not beside the outline, where coding blurs
        assert np.abs(inside - (0.5 * GRAY + 0.5 * np.array(colour(4)))).max() <= 6
        assert np.abs(image[60:] - GRAY).max() <= 3
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_a_video_looks_like_the_overlay_in_every_colour(tmp_path):
    """All colours are right to a few levels, so the colour tags of the file are right."""
    blocks = np.kron(np.arange(12).reshape(3, 4), np.ones((128, 128), int))
    frame = np.random.default_rng(0).integers(0, 256, 3).astype(np.uint8) + np.zeros((384, 512, 3), np.uint8)
    write_overlay_video(tmp_path / "a.mp4", [frame], [blocks], range(12), opacity=1)
    images, _ = read_video(tmp_path / "a.mp4")
    for index in range(12):
        row, column = 128 * (index // 4), 128 * (index % 4)
        middle = images[0, row + 8 : row + 120, column + 8 : column + 120].reshape(-1, 3)
        assert np.abs(middle.mean(0) - colour(index)).max() <= 5


@pytest.mark.parametrize(
    ("size", "video_size"),
    [
        ((401, 387), (402, 388)),  # one row and one column more
        ((61, 80), (294, 384)),  # enlarged to 293 x 384, and a row more
        ((1, 1), (384, 384)),
        ((30, 3200), (16, 1600)),  # made smaller, to 15 rows, and a row more
    ],
)
def test_odd_sizes_get_a_copy_of_the_last_row_and_column(tmp_path, size, video_size):
    frame = np.random.default_rng(1).integers(90, 110, (*size, 3)).astype(np.uint8)
    mask = np.zeros(size, int)
    write_overlay_video(tmp_path / "a.mp4", [frame] * 2, [mask] * 2, [0])
    images, video = read_video(tmp_path / "a.mp4")
    assert images.shape == (2, *video_size, 3)
    shown = np.asarray(overlay(frame, mask, [""], legend=False)).astype(int)
    height, width = shown.shape[:2]
    assert np.abs(images[0, :height, :width] - shown).mean() < 4
    assert np.abs(images[0, -1, :width] - shown[-1]).mean() < 6
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(24)


@pytest.mark.parametrize(("fps", "read"), [(30000 / 1001, 29.97003), (0.5, 0.5), (240, 240)])
def test_frames_a_second(tmp_path, fps, read):
    write_overlay_video(tmp_path / "a.mp4", *moving_square(64, 64, 4), range(2), fps)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(read, abs=1e-4)


@pytest.mark.parametrize("name", ["a:b.mp4", "100 %03d.mp4", "größe ☃.MP4", "pipe:1.mp4"])
def test_any_file_name_is_accepted(tmp_path, monkeypatch, name):
    """FFmpeg interprets some names as addresses or patterns."""
    monkeypatch.chdir(tmp_path)
    write_overlay_video(Path(name), *moving_square(64, 64, 3), range(2))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).rename("plain.mp4")
    assert len(read_video(Path("plain.mp4"))[0]) == 3


def test_frames_are_read_one_at_a_time(tmp_path):
    """The next frame is asked for only when the one before it is freed (except for the one being coded)."""
    import weakref

    alive: list[weakref.ref] = []
    max_alive = 0

    def frames():
        nonlocal max_alive
        for _ in range(12):
            frame = np.zeros((400, 400, 3), np.uint8)
            alive.append(weakref.ref(frame))
            max_alive = max(max_alive, sum(reference() is not None for reference in alive))
            yield frame

    write_overlay_video(tmp_path / "a.mp4", frames(), (np.zeros((400, 400), int) for _ in range(12)), [0])
    assert len(alive) == 12
    assert max_alive <= 3


BAD = {
    "no frames": (([], []), {}, UserError, r"a\.mp4"),
    "short frames": (([0], [0, 0]), {}, UserError, r"\b1\b"),
    "short masks": (([0, 0], [0]), {}, UserError, r"\b1\b"),
    "slow": (([0], [0]), {"fps": 0}, OutOfRange, r"\b0\b.*0\.1 to 240"),
    "nan": (([0], [0]), {"fps": float("nan")}, OutOfRange, "nan"),
    "opacity": (([0], [0]), {"opacity": 1.5}, OutOfRange, r"1\.5"),
    "no such class": (([0], [7]), {}, BadMask, r"7.*0 to 2, 255"),
    "negative class": (([0, 0], [0, -1]), {}, BadMask, "-1"),
    "many classes": (([0], [0]), {"palette": range(256)}, OutOfRange, "256"),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_arguments_raise_and_leave_no_file(tmp_path, case):
    (levels, classes), options, error, values = BAD[case]
    frames = (np.full((40, 50, 3), level, np.uint8) for level in levels)
    masks = (np.full((40, 50), index) for index in classes)
    with pytest.raises(error, match=values):
        write_overlay_video(tmp_path / "a.mp4", frames, masks, **({"palette": range(3)} | options))
    assert list(tmp_path.iterdir()) == []


def test_frames_of_other_shapes_and_types_raise(tmp_path):
    def write(frame, mask, name="a.mp4"):
        good = np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), int)
        write_overlay_video(tmp_path / name, [good[0], frame], [good[1], mask], [0])

    frame, mask = np.zeros((40, 50, 3), np.uint8), np.zeros((40, 50), int)
    with pytest.raises(BadMask, match=r"frame 1.*\(50, 40\).*\(40, 50\)"):
        write(frame.transpose(1, 0, 2), mask)
    with pytest.raises(BadMask, match=r"mask 1.*\(40, 49\)"):
        write(frame, mask[:, :-1])
    with pytest.raises(BadMask, match=r"mask 1.*float64"):
        write(frame, mask / 2)
    with pytest.raises(UserError, match=r"frame 1.*float64.*\(40, 50, 3\)"):
        write(frame / 255, mask)
    with pytest.raises(UserError, match=r"a\.avi.*\.mp4"):
        write(frame, mask, "a.avi")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_raises_and_keeps_the_older_video(tmp_path):
    """The size that a file may reach is limited, which is what a full disk looks like."""
    path = tmp_path / "a.mp4"
    write_overlay_video(path, *moving_square(64, 64, 2), range(2))
    before = path.read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (30, 400, 400, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match=re.escape(str(path))):
            write_overlay_video(path, noise, [np.zeros((400, 400), int)] * 30, [0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_a_folder_raises(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"a\.mp4"):
        write_overlay_video(tmp_path / "file" / "a.mp4", *moving_square(64, 64, 2), range(2))


def test_names_stand_beside_every_frame(tmp_path):
    frames, masks = moving_square(288, 400, 2)
    write_overlay_video(tmp_path / "a.mp4", frames, masks, [9, 4], names=["cat", "grass"])
    images, _ = read_video(tmp_path / "a.mp4")
    beside = images[:, :, 400:]
    assert beside.shape[2] > 50
    for number in (9, 4):
        assert (np.abs(beside - np.array(colour(number))).max(axis=3) < 30).sum(axis=(1, 2)).min() > 50
    with pytest.raises(UserError):
        write_overlay_video(tmp_path / "b.mp4", frames, masks, [9, 4], names=["cat"])
