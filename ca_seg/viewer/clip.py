"""A video of a tab: the project's video job, and one frame of its overlay at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import av
from PIL.Image import Image

from ca_seg.data.video.reader import video_frames
from ca_seg.errors import OutOfRange, UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.jobs.video import VideoSegmentation, VideoSettings, video
from ca_seg.predictors.settings import BackboneSettings
from ca_seg.viewer.backbones import Backbones
from ca_seg.viewer.limits import check_pixels
from ca_seg.viewer.settings import ViewSettings


def segment_clip(
    backbones: Backbones, path: Path, words: Sequence[str], settings: SegmentSettings, limits: ViewSettings, out: Path
) -> VideoSegmentation:
    """Segment a video by words with `ca_seg.video`.

    Args:
        backbones: the loaded ones
        path: of the video
        words: to look for
        settings: the backbone and how its maps are read; background, threshold and refinement are not used
        limits: the most frames and pixels
        out: the folder of the result

    Raises:
        UnreadableImage: for a file that is no video
        UserError: for a video that is too long, and for words and options that cannot be used
    """
    if not words:
        raise UserError("no word was given", fix="type what to look for, such as: dog, grass")
    for frames, piece in enumerate(video_frames(path, 1), start=1):
        check_pixels(piece.shape[-2], piece.shape[-1], path.name, limits.max_megapixels)
        if frames > limits.max_frames:
            raise UserError(
                f"{path.name} has more than {limits.max_frames} frames",
                allowed=f"1 to {limits.max_frames}",
                fix="cut it, use ca-seg video, or start with --max-frames",
            )
    model = BackboneSettings(**{field.name: getattr(settings, field.name) for field in fields(BackboneSettings)})
    with backbones.computing:
        chosen = VideoSettings(model=model, seed=settings.seed, device=backbones.device, out=str(out))
        return video(path, list(words), chosen, backbone=backbones.get(settings))


def overlay_frame(overlay: Path, number: int) -> Image:
    """One frame of an overlay video, from 0. Raises OutOfRange for a frame that it does not have."""
    with av.open(str(overlay)) as opened:
        for index, frame in enumerate(opened.decode(video=0)):
            if index == number:
                return frame.to_image()
    raise OutOfRange(f"frame {number}", allowed="a frame of the video")
