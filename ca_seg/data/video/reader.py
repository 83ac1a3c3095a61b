"""A video as frames: a video file, an animated image, or a folder of images in the order of their names.

Numbers in the names of images are compared as numbers: frame2 comes before frame10.

Frames are upright: a phone stores them as its sensor lies, and says in the file's display matrix how they are turned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from ca_seg.data.image_files import IMAGE_SUFFIXES, frame_order, has_image_suffix, open_regular
from ca_seg.data.read import image_frames, read_image
from ca_seg.errors import UnreadableImage, UserError

HOW_TO_FIX = "give a video file or a folder of frames"


def frame_rate(path: Path, default: float = 24.0) -> float:
    """Frames per second as the file says; `default` for a folder of images, and for a file that does not say.

    The frames of an animated image may be shown for different times; their rate is the number of frames by the sum.
    """
    if path.is_dir():
        return default
    if has_image_suffix(path.name):
        milliseconds = [time for _, time in image_frames(path)]
        return 1000 * len(milliseconds) / sum(milliseconds) if sum(milliseconds) > 0 else default
    with _opened(path) as video:
        return float(video.streams.video[0].average_rate or default)


def video_frames(path: Path, at_once: int) -> Iterator[torch.Tensor]:
    """The frames of a video, some at a time; only these are in memory.

    Args:
        path: a video file, an animated image (GIF, WebP, PNG, AVIF), or a folder of images (see `frame_order`)
        at_once: the largest number of frames in a piece

    Returns:
        pieces, float32 [F, 3, H, W] in 0..1, upright

    Raises:
        UserError: for a folder without images, or with images of several sizes
        UnreadableImage: for a file that is not a video, or is cut short
    """
    piece: list[torch.Tensor] = []
    for frame in _frames(path):
        if piece and frame.shape != piece[0].shape:
            raise UserError(f"{path} has frames of several sizes", fix="bring them to one size")
        piece.append(frame)
        if len(piece) == at_once:
            yield torch.stack(piece)
            piece = []
    if piece:
        yield torch.stack(piece)


def _frames(path: Path) -> Iterator[torch.Tensor]:
    if path.is_dir():
        return _folder_frames(path)
    if has_image_suffix(path.name):
        return (frame for frame, _ in image_frames(path))
    return _file_frames(path)


def _folder_frames(folder: Path) -> Iterator[torch.Tensor]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    if not files:
        raise UserError(f"{folder} has no images", allowed=", ".join(IMAGE_SUFFIXES))
    return map(read_image, sorted(files, key=lambda file: frame_order(file.name)))


def _file_frames(path: Path) -> Iterator[torch.Tensor]:
    with _opened(path) as video:
        try:
            for frame in video.decode(video=0):
                pixels = _upright(frame.to_ndarray(format="rgb24"), _display_matrix(frame), path)
                yield torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
        except av.FFmpegError as problem:
            raise UnreadableImage(f"{path} is cut short or damaged ({problem})", fix="replace the file") from problem


def _display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """int32 [3, 3], or None where the file has none."""
    data: Any
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            return np.frombuffer(bytes(data), np.int32).reshape(3, 3)
    return None


def _upright(pixels: np.ndarray, matrix: np.ndarray | None, path: Path) -> np.ndarray:
    """A frame [H, W, 3] as it is to be shown.

    A pixel at column x and row y is shown at column a x + c y and row b x + d y (ISO 14496-12, 6.2.2):

        matrix   a b .        a = d = 0: rows become columns      a negative factor: the shown axis is reversed
                 c d .
    """
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if not (a or d):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    elif not (b or c):
        across, down = a, d
    else:
        raise UnreadableImage(f"{path} is turned by an angle", allowed="multiples of 90 degrees", fix="encode it anew")
    return pixels[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]


def _opened(path: Path) -> av.container.InputContainer:
    open_regular(path).close()  # av.open would wait for a pipe
    try:
        video = av.open(str(path), metadata_errors="replace")  # a title need not be UTF-8
    except av.FFmpegError as problem:
        raise UnreadableImage(f"{path} is not a video ({problem})", fix=HOW_TO_FIX) from problem
    if not video.streams.video:
        video.close()
        raise UnreadableImage(f"{path} has no images", fix=HOW_TO_FIX)
    return video
