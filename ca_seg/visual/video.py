"""Videos with their classes laid over them, as MP4 files.

PyAV writes the video, not an ffmpeg process behind a pipe: when the disk is full, PyAV raises an error, while the pipe
would silently leave a truncated file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from ca_seg.atomic import atomic_write
from ca_seg.errors import BadMask, OutOfRange, UserError
from ca_seg.visual.overlay import LegendRow, overlay, with_legend
from ca_seg.visual.palette import colour
from ca_seg.vocabulary import IGNORE_INDEX

MIN_FPS, MAX_FPS = 0.1, 240.0
MAX_DENOMINATOR = 1001  # rates such as 30000 / 1001 stay exact
CODING = {"crf": "18", "preset": "medium", "movflags": "faststart"}  # close to the original; plays while it loads


def write_overlay_video(
    path: Path,
    frames: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    palette: Sequence[int],
    fps: float = 24.0,
    opacity: float = 0.55,
    names: Sequence[str] = (),
) -> int:
    """Write the frames of a video with their masks laid over them.

    The video is H.264, yuv420p, BT.709, without sound: it plays in every browser. It has the size in which `overlay`
    shows an image (small ones are enlarged, huge ones reduced). H.264 needs even numbers, so an odd height or width
    gets one more row below or column on the right, a copy of the last one. The file is written atomically.

    Args:
        path: ends in .mp4
        frames: uint8 [H, W, 3] each, all of one size; taken one at a time, so that memory does not grow with the video
        masks: [H, W] each, class indices 0..K-1, or IGNORE_INDEX (255) where nothing is painted
        palette: for each of the K classes its number in `ca_seg.visual.palette`
        fps: frames per second, 0.1 to 240
        opacity: weight of the class colour, 0..1
        names: of the classes, for a legend beside every frame; none: no legend

    Returns:
        The number of frames.

    Raises:
        UserError: for a path that cannot be written or does not end in .mp4, for no frames, and for more frames than
            masks or the reverse
        OutOfRange: for `fps` or `opacity` outside its range
        BadMask: for a frame or mask of another size than the first, and for a class beyond `palette`
    """
    if path.suffix.lower() != ".mp4":
        raise UserError(f"a video named {path.name}", allowed="names that end in .mp4")
    if not MIN_FPS <= fps <= MAX_FPS:
        raise OutOfRange(f"{fps} frames a second", allowed=f"{MIN_FPS} to {MAX_FPS}")
    if len(palette) > IGNORE_INDEX:
        raise OutOfRange(f"a palette of {len(palette)} classes", allowed=f"up to {IGNORE_INDEX}, which is no class")
    if not 0 <= opacity <= 1:
        raise OutOfRange(f"an opacity of {opacity}", allowed="0 to 1")
    if names and len(names) != len(palette):
        raise UserError(f"{len(names)} names for {len(palette)} classes", allowed="one for each, or none")
    legend: list[LegendRow] = [(colour(index), name, "") for index, name in zip(palette, names, strict=False)]
    painted = _painted(path, frames, masks, palette, opacity, legend)
    with atomic_write(path) as part:
        first = next(painted, None)
        if first is None:
            raise UserError(f"{path.name} would have no frames", allowed="one or more")
        return _encode(part, first, painted, Fraction(fps).limit_denominator(MAX_DENOMINATOR))


def _painted(
    path: Path,
    frames: Iterable[np.ndarray],
    masks: Iterable[np.ndarray],
    palette: Sequence[int],
    opacity: float,
    legend: Sequence[LegendRow],
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
        wrong = mask[((mask < 0) | (mask >= len(palette))) & (mask != IGNORE_INDEX)]
        if wrong.size:
            raise BadMask(
                f"mask {number} has class {wrong[0]}", allowed=f"0 to {len(palette) - 1}, {IGNORE_INDEX} (none)"
            )
        shown = overlay(frame, mask, names, alpha=opacity, legend=False, colours=palette)
        image = np.asarray(with_legend(shown, legend) if legend else shown)
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
