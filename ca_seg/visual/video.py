"""Clips with their classes laid over them, as MP4 files, and masks as one PNG a frame.

PyAV writes the video and not a separate ffmpeg program behind a pipe: when the disk is full PyAV raises an error, where
the pipe ends quietly with a file that is cut short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.visual.mask_png import write_mask
from ca_seg.visual.overlay import NONE, overlay

SLOWEST, FASTEST = 0.1, 240.0  # frames a second
FINEST = 1001  # 30000 / 1001 and the like stay exact
CODING = {"crf": "18", "preset": "medium", "movflags": "faststart"}  # close to the original; plays while it loads


def write_overlay_video(
    path: Path,
    frames: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    palette: Sequence[int],
    fps: float = 24.0,
    opacity: float = 0.55,
) -> int:
    """Write `frames`, uint8 [H, W, 3] each, under `masks`, [H, W] each, as a video; gives the number of frames.

    A mask holds class indices 0..K-1, or 255 for no class (not painted). Class k has the colour `palette[k]` of
    `ca_seg.visual.palette`, so that it looks alike in several videos: `range(K)` for its own. `opacity` is the share of
    the colour in a painted pixel, 0..1. Frames are taken one at a time and memory does
    not grow with the clip (the encoder holds back some 50 frames).

    The video is H.264, yuv420p, BT.709, without sound: it plays in every browser. It has the size in which `overlay`
    shows an image (small ones are enlarged, huge ones made smaller). H.264 needs even numbers, so an odd height or
    width gets one more row below or column to the right, a copy of the last: nothing is cut off.

    The file is whole or not there. Raises UserError for a path that cannot be written or is not .mp4, for no frames,
    and for more frames than masks or the reverse; OutOfRange for `fps` outside 0.1 to 240 or `opacity` outside 0..1;
    BadMask for a frame or mask of another size than the first, and for a class beyond `palette`.
    """
    if path.suffix.lower() != ".mp4":
        raise UserError(f"a video named {path.name}", allowed="names that end in .mp4")
    if not SLOWEST <= fps <= FASTEST:
        raise OutOfRange(f"{fps} frames a second", allowed=f"{SLOWEST} to {FASTEST}")
    if len(palette) > NONE:
        raise OutOfRange(f"a palette of {len(palette)} classes", allowed=f"up to {NONE}, for {NONE} is no class")
    if not 0 <= opacity <= 1:
        raise OutOfRange(f"an opacity of {opacity}", allowed="0 to 1")
    painted = _painted(path, frames, masks, palette, opacity)
    with atomic_write(path) as part:
        first = next(painted, None)
        if first is None:
            raise UserError(f"{path.name} would have no frames", allowed="one or more")
        return _encode(part, first, painted, Fraction(fps).limit_denominator(FINEST))


def write_mask_frames(
    folder: Path, names: Sequence[str], masks: Iterable[np.ndarray], to_ids: Callable[[np.ndarray], np.ndarray]
) -> int:
    """Write each of `masks`, [H, W], to `folder`/NAME.png, where `names` are those of the frames ("00000", ...).

    Gives the number of files. `to_ids` makes the numbers in the file out of those in the mask, as in `write_mask`; id 0
    is black, id n has the colour of class n - 1. Each file is whole or not there; after an error the earlier ones stay.
    Raises UserError for a path that cannot be written, a name that is no plain file name or stands twice, and for
    more names than masks or the reverse.
    """
    for name in names:
        if name in ("", ".", "..") or any(mark in name for mark in "/\\\0"):
            raise UserError(f"a frame named {name!r}", allowed="names without a folder")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two frames named {twice!r}", fix="give each its own name")
    for number, (name, mask) in enumerate(zip_longest(names, masks)):
        if name is None or mask is None:
            raise _uneven(folder, number, "names" if name is None else "masks")
        write_mask(folder / f"{name}.png", mask, to_ids)
    return len(names)


def _painted(
    path: Path, frames: Iterable[np.ndarray], masks: Iterable[np.ndarray], palette: Sequence[int], opacity: float
) -> Iterator[np.ndarray]:
    """The frames of the video, uint8 [h, w, 3], h and w even."""
    size, names = None, [""] * len(palette)
    for number, (frame, mask) in enumerate(zip_longest(frames, masks)):
        if frame is None or mask is None:
            raise _uneven(path, number, "frames" if frame is None else "masks")
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise UserError(f"frame {number} is {frame.dtype} of shape {frame.shape}", allowed="uint8 [H, W, 3]")
        size = size or frame.shape[:2]
        for what, shape in (("frame", frame.shape[:2]), ("mask", mask.shape)):
            if shape != size:
                raise BadMask(f"{what} {number} is of size {shape}, frame 0 of {size}", allowed="one size")
        if mask.dtype.kind not in "iu":
            raise BadMask(f"mask {number} is {mask.dtype}", allowed="integers: class indices")
        wrong = mask[((mask < 0) | (mask >= len(palette))) & (mask != NONE)]
        if wrong.size:
            raise BadMask(f"mask {number} has class {wrong[0]}", allowed=f"0 to {len(palette) - 1}, {NONE} (none)")
        image = np.asarray(overlay(frame, mask, names, alpha=opacity, legend=False, colours=palette))
        height, width = image.shape[:2]
        yield np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(part: Path, first: np.ndarray, rest: Iterator[np.ndarray], rate: Fraction) -> int:
    with av.open(f"file:{part}", "w", format="mp4") as video:
        try:
            stream = video.add_stream("libx264", rate=rate, options=CODING)
        except UnknownCodecError as error:
            raise UserError(
                "this PyAV has no H.264 encoder (libx264)", fix="install PyAV from PyPI: pip install av"
            ) from error
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        count = 0
        image: np.ndarray | None = first
        while image is not None:
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            frame.pts, frame.time_base = count, 1 / rate
            video.mux(stream.encode(frame))
            count, image = count + 1, next(rest, None)
        video.mux(stream.encode())
    return count


def _uneven(path: Path, number: int, short: str) -> UserError:
    return UserError(f"for {path} the {short} end after {number}", fix="give as many masks as frames")
