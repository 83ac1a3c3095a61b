"""A labelled image, small enough for a page.

image       WebP, at most 320 pixels on its long side
labels      PNG of the same size: red = class index (255: none), green = confidence in whole percent
"""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ca_seg.data.image_files import open_regular
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import UnreadableImage
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.labelling.statistics import confidence_level

MAX_SIDE = 320  # pixels


@dataclass(frozen=True)
class Thumbnail:
    """An image and its labels as data URIs."""

    width: int
    height: int
    image: str
    labels: str


def thumbnail(run: LabelRun, entry: Entry) -> Thumbnail:
    """The thumbnail of an image; a small image keeps its size. Labels are resized by nearest neighbour.

    Raises UnreadableImage and BadMask for files that are missing, broken, or not those that were labelled.
    """
    path = run.image_path(entry)
    with open_regular(path) as file:
        content = file.read()
    pixels = read_image(HeldFile(content, path))
    if tuple(pixels.shape[1:]) != (entry.height, entry.width):
        raise UnreadableImage(
            f"{path} is {pixels.shape[2]} x {pixels.shape[1]} pixels, and was {entry.width} x {entry.height} when it "
            "was labelled",
            fix="label it again",
        )
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UnreadableImage(f"{path} is not the image that was labelled: its content differs", fix="label it again")
    mask, level = run.mask(entry), confidence_level(run.confidence(entry))
    scale = min(1.0, MAX_SIDE / max(entry.height, entry.width))
    size = max(1, round(entry.width * scale)), max(1, round(entry.height * scale))
    image = Image.fromarray((pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    labels = Image.fromarray(np.stack([mask, level, np.zeros_like(mask)], axis=-1))
    return Thumbnail(
        *size,
        _uri(image.resize(size, Image.Resampling.LANCZOS), "WEBP", quality=80),
        _uri(labels.resize(size, Image.Resampling.NEAREST), "PNG"),
    )


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
