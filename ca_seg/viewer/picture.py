"""A photograph that was uploaded, checked before it is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from ca_seg.data.inputs import NamedImage
from ca_seg.data.read import HeldFile, read_image, read_size
from ca_seg.errors import UnreadableImage, UserError
from ca_seg.viewer.limits import check_pixels


@dataclass(frozen=True, eq=False)
class Picture:
    """One photograph.

    Args:
        image: its pixels, and its name, which seeds the noise
        key: the same for the same bytes under the same name
        place: how a command names the file
    """

    image: NamedImage
    key: str
    place: str


def open_picture(path: Path, max_megapixels: float, places: Mapping[str, Path]) -> Picture:
    """The photograph in a file. It is decoded here.

    Args:
        path: of the file
        max_megapixels: the largest that is decoded
        places: photographs of this machine by their name without suffix: a copy of one is named by its path

    Raises:
        UnreadableImage: for a file that is not a whole picture
        UserError: for one that is too large, or that moves
    """
    if not path.is_file():
        raise UnreadableImage(f"{path.name} is missing", fix="upload it again")
    content = path.read_bytes()
    key = f"{path.stem}:{hashlib.sha256(content).hexdigest()}"
    check_pixels(*read_size(HeldFile(content, path.name)), path.name, max_megapixels)
    frames = _frames(content, path.name)
    if frames > 1:
        raise UserError(
            f"{path.name} moves: it has {frames} frames",
            allowed="a picture of one frame",
            fix="save one of its frames, or give it as a video",
        )
    image = NamedImage(path.stem, path, partial(read_image, HeldFile(content, path.name)))
    _ = image.pixels  # decoded now, so that a broken file is refused now
    known = places.get(path.stem)
    same = known is not None and known.is_file() and known.read_bytes() == content
    return Picture(image, key, str(known) if same else path.name)


def _frames(content: bytes, name: str) -> int:
    with Image.open(HeldFile(content, name)) as opened:
        if opened.format == "MPO":  # a photograph and its preview, as many telephones save it
            return 1
        return getattr(opened, "n_frames", 1)
