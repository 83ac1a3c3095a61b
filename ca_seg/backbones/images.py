"""Images in, maps out: how an image of any size becomes a grid of tokens.

The short side is scaled to the backbone's resolution, both sides are rounded to whole tokens (so the shape changes by
less than half a token), and maps are scaled back to the size of the image, bilinear:

    640 x 480  ──►  176 x 128 (22 x 16 tokens of 8 pixels)  ──►  maps 22 x 16  ──►  640 x 480

Video autoencoders turn 4k + 1 frames into k + 1 latent frames: one for the first frame, then one for every four (Mochi:
every six). A clip of another length is extended with its last frame. All frames of a latent frame get its maps:

    frames   0 | 1 2 3 4 | 5 6 7 8        latent frame   0 | 1 | 2
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch.nn.functional import interpolate

from ca_seg.errors import UserError
from ca_seg.pixels import upright_tensor

MAX_ASPECT_RATIO = 16  # long side to short side: the work grows with its square
TOLERANCE = 0.01  # of values beyond 0..1, as resizing leaves them
FRAMES = 4  # per latent frame (CogVideoX, HunyuanVideo); a family says where it has another number
Images = Any  # what `as_tensor` accepts


def as_tensor(images: Images) -> torch.Tensor:
    """Images of any usual kind as one tensor.

    Args:
        images: a float tensor [B, 3, H, W] or [3, H, W] in 0..1, a PIL image (read as `ca_seg.pixels`
            says: upright, RGB), a uint8 array [H, W, 3], or a list of them of one size; a clip [B, 3, F, H, W]

    Returns:
        [B, 3, H, W] in 0..1, or the clip [B, 3, F, H, W]

    Raises:
        UserError: for anything else, such as a path
    """
    if images is None:
        raise UserError("no image was given (None)", allowed="a PIL image, an array, a tensor, or a list of them")
    if isinstance(images, str | bytes | os.PathLike):
        raise UserError(f"{images!r} is a path, not an image", fix="open it first, or use ca_seg.segment")
    if isinstance(images, torch.Tensor):
        batch = images[None] if images.ndim == 3 else images
        if batch.ndim not in (4, 5) or batch.shape[1] != 3 or not batch.is_floating_point():
            raise UserError(
                f"images of shape {tuple(images.shape)}, {images.dtype}",
                allowed="float [B, 3, H, W], 0..1; a video [B, 3, F, H, W]",
            )
        _check_range(batch)
        return batch
    if isinstance(images, Sequence):
        if not images:
            raise UserError("no image was given")
        parts = [as_tensor(image) for image in images]
        sizes = {tuple(part.shape[-2:]) for part in parts}
        if len(sizes) > 1:
            raise UserError(f"images of {len(sizes)} sizes in one batch", fix="give them one by one, or resize them")
        return torch.cat(parts)
    if isinstance(images, Image):
        return upright_tensor(images, getattr(images, "filename", "") or "the PIL image")[None]
    array = np.asarray(images)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise UserError(f"an image of shape {array.shape}, {array.dtype}", allowed="uint8 [H, W, 3]")
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255


def _check_range(images: torch.Tensor) -> None:
    """Raises UserError for NaN, for bytes as floats, and for images that are normalised to a mean of 0."""
    if not images.numel():
        return
    low, high = (float(value) for value in images.aminmax())
    if not (low >= -TOLERANCE and high <= 1 + TOLERANCE):  # NaN too
        fix = "divide them by 255" if high > 2 else ""
        raise UserError(f"images with values from {low:g} to {high:g}", allowed="0 to 1", fix=fix)


def working_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """The height and width at which an image enters the backbone. Raises UserError for a very long image."""
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise UserError(
            f"an image of {width} x {height} pixels", allowed=f"sides of at most 1 : {MAX_ASPECT_RATIO}", fix="crop it"
        )
    scale = resolution / min(height, width)
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))  # type: ignore[return-value]


def resize_in(images: torch.Tensor, resolution: int, multiple: int, frames_per_latent: int = FRAMES) -> torch.Tensor:
    """[B, 3, H, W] in its working size; unchanged if it has that size. A clip also gets whole latent frames: 4k + 1."""
    if images.ndim == 5:
        missing = -(images.shape[2] - 1) % frames_per_latent
        extended = torch.cat([images, images[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
        frames = resize_in(extended.transpose(1, 2).flatten(0, 1), resolution, multiple)
        return frames.unflatten(0, (len(images), -1)).transpose(1, 2)
    size = working_size(images.shape[-2], images.shape[-1], resolution, multiple)
    if tuple(images.shape[-2:]) == size:
        return images
    return interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


@dataclass(frozen=True)
class WorkingSize:
    """The working size of one backbone, for code that resizes images beforehand."""

    resolution: int  # of the short side
    multiple: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width at which an image enters the backbone. Raises UserError for a very long image."""
        return working_size(height, width, self.resolution, self.multiple)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return resize_in(images, self.resolution, self.multiple)


def resize_out(
    maps: torch.Tensor, height: int, width: int, *, frames: int | None = None, frames_per_latent: int = FRAMES
) -> torch.Tensor:
    """Class maps [B, K, h, w] in the size of the image; those of a clip [B, K, f, h, w] for its `frames`.

    The result is in channels-last order, in which resizing and the argmax are several times faster.
    """
    if frames is not None:
        maps = maps[:, :, None] if maps.ndim == 4 else maps
        latent = latent_frames(frames, maps.shape[2], frames_per_latent)
        return torch.stack([resize_out(maps[:, :, index], height, width) for index in latent], dim=2)
    ordered = maps.contiguous(memory_format=torch.channels_last)
    return interpolate(ordered, (height, width), mode="bilinear", align_corners=False)


def latent_frames(frames: int, latents: int, per_latent: int = FRAMES) -> list[int]:
    """For each frame of a clip the latent frame that it is decoded from."""
    even = frames == per_latent * latents  # CogVideoX decodes an even number of latent frames to 4 frames each
    return [(frame + (0 if even else per_latent - 1)) // per_latent for frame in range(frames)]


def resize_maps(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, K, h, w] to [B, K, height, width], bilinear; unchanged if it has that size."""
    if maps.shape[-2:] == (height, width):
        return maps
    return interpolate(maps, (height, width), mode="bilinear", align_corners=False)
