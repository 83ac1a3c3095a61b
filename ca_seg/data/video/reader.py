"""A video as frames: a video file, or a folder of images in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import torch

from ca_seg.data.image_files import IMAGE_SUFFIXES
from ca_seg.data.read import read_image
from ca_seg.errors import UnreadableImage, UserError

HOW_TO_FIX = "give a video file or a folder of frames"


def frame_rate(path: Path, default: float = 24.0) -> float:
    """Frames per second as the file says; `default` for a folder of images, and for a file that does not say."""
    if path.is_dir():
        return default
    with _opened(path) as video:
        return float(video.streams.video[0].average_rate or default)


def video_frames(path: Path, at_once: int) -> Iterator[torch.Tensor]:
    """The frames of a video, some at a time; only these are in memory.

    Args:
        path: a video file, or a folder of images
        at_once: the largest number of frames in a piece

    Returns:
        pieces, float32 [F, 3, H, W] in 0..1

    Raises:
        UserError: for a folder without images, or with images of several sizes
        UnreadableImage: for a file that is not a video, or is cut short
    """
    piece: list[torch.Tensor] = []
    for frame in _folder_frames(path) if path.is_dir() else _file_frames(path):
        if piece and frame.shape != piece[0].shape:
            raise UserError(f"{path} has frames of several sizes", fix="bring them to one size")
        piece.append(frame)
        if len(piece) == at_once:
            yield torch.stack(piece)
            piece = []
    if piece:
        yield torch.stack(piece)


def _folder_frames(folder: Path) -> Iterator[torch.Tensor]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    if not files:
        raise UserError(f"{folder} has no images", allowed=", ".join(IMAGE_SUFFIXES))
    return map(read_image, files)


def _file_frames(path: Path) -> Iterator[torch.Tensor]:
    with _opened(path) as video:
        try:
            for frame in video.decode(video=0):
                yield torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1).float() / 255
        except av.FFmpegError as problem:
            raise UnreadableImage(f"{path} is cut short or damaged ({problem})", fix="replace the file") from problem


def _opened(path: Path) -> av.container.InputContainer:
    if not path.exists():
        raise UnreadableImage(f"there is no video {path}")
    try:
        video = av.open(str(path))
    except av.FFmpegError as problem:
        raise UnreadableImage(f"{path} is not a video ({problem})", fix=HOW_TO_FIX) from problem
    if not video.streams.video:
        video.close()
        raise UnreadableImage(f"{path} has no images", fix=HOW_TO_FIX)
    return video
