"""Videos and animated images as frames: all of them, upright, at the rate of the file."""

from __future__ import annotations

import os

import av
import numpy as np
import pytest
from PIL import Image

from ca_seg.data.video.reader import frame_rate, video_frames
from ca_seg.errors import UnreadableImage
from tests.data.test_orientation import UPRIGHT

GRAY = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((16, 16), np.uint8))
STORED = np.stack([GRAY] * 3, axis=2)
ONE = 1 << 16  # of a display matrix
MATRICES = {  # a, b, c, d by the orientation of EXIF that shows the same
    1: (ONE, 0, 0, ONE),
    2: (-ONE, 0, 0, ONE),
    3: (-ONE, 0, 0, -ONE),
    4: (ONE, 0, 0, -ONE),
    5: (0, ONE, ONE, 0),
    6: (0, ONE, -ONE, 0),
    7: (0, -ONE, -ONE, 0),
    8: (0, -ONE, ONE, 0),
}


def write_mp4(path, matrix) -> None:
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *STORED.shape[:2], "yuv420p"
        a, b, c, d = matrix
        stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for _ in range(3):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(STORED, format="rgb24")))
        video.mux(stream.encode())


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_video_is_turned_as_its_display_matrix_says(tmp_path, orientation):
    write_mp4(tmp_path / "phone.mp4", MATRICES[orientation])
    (frames,) = video_frames(tmp_path / "phone.mp4", 10)
    expected = UPRIGHT[orientation](STORED)
    assert frames.shape == (3, 3, *expected.shape[:2])
    shown = (255 * frames[1]).permute(1, 2, 0).numpy()
    blocks = np.abs(shown - expected).reshape(expected.shape[0] // 16, 16, -1, 16, 3).mean(axis=(1, 3, 4))
    assert blocks.max() < 9  # a wrong turn is off by 20 or more


def test_a_title_need_not_be_utf_8(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as video:
        video.metadata["title"] = "Kueche"
        stream = video.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = *STORED.shape[:2], "yuv420p"
        video.mux(stream.encode(av.VideoFrame.from_ndarray(STORED, format="rgb24")))
        video.mux(stream.encode())
    content = (tmp_path / "a.mp4").read_bytes()
    assert b"Kueche" in content
    (tmp_path / "a.mp4").write_bytes(content.replace(b"Kueche", "Küche".encode("latin-1") + b" "))
    (frames,) = video_frames(tmp_path / "a.mp4", 10)
    assert frames.shape == (1, 3, *STORED.shape[:2])


def test_opencv_turns_a_phone_video_alike(tmp_path):
    import cv2

    write_mp4(tmp_path / "phone.mp4", MATRICES[6])
    _, theirs = cv2.VideoCapture(str(tmp_path / "phone.mp4")).read()
    (frames,) = video_frames(tmp_path / "phone.mp4", 10)
    assert np.abs(theirs[..., ::-1] - 255 * frames[0].permute(1, 2, 0).numpy()).mean() < 3


@pytest.mark.parametrize(
    ("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {}), ("a.avif", {"quality": 95})]
)
def test_all_frames_of_an_animated_image_are_read(tmp_path, name, options):
    values = (0, 80, 160, 240)
    first, *others = [Image.fromarray(np.full((32, 48, 3), value, np.uint8)) for value in values]
    first.save(tmp_path / name, save_all=True, append_images=others, duration=[100, 100, 100, 100], loop=0, **options)
    pieces = list(video_frames(tmp_path / name, 3))
    assert [len(piece) for piece in pieces] == [3, 1]
    means = [255 * float(frame.mean()) for piece in pieces for frame in piece]
    np.testing.assert_allclose(means, values, atol=4)
    assert frame_rate(tmp_path / name) == pytest.approx(10, rel=0.01)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for ask in (frame_rate, lambda path: next(video_frames(path, 1))):
        with pytest.raises(UnreadableImage, match=r"pipe\.mp4"):
            ask(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    "names",
    [
        ["frame1", "frame2", "frame10", "frame11", "frame100"],
        ["2", "10", "a"],
        ["00009", "00010", "00100"],
        ["clip1_9", "clip1_10", "clip2_1", "clip10_1"],
        ["a", "a1", "a01b", "a1b", "a2"],
        ["take", "take²", "take٣"],  # digits that are no numbers of a name
    ],
)
def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path, names):
    for number, name in enumerate(names):
        Image.new("RGB", (4, 3), (20 * number, 0, 0)).save(tmp_path / f"{name}.png")
    pieces = list(video_frames(tmp_path, 2))
    reds = [round(255 * float(frame[0, 0, 0])) for piece in pieces for frame in piece]
    assert reds == [20 * number for number in range(len(names))]
