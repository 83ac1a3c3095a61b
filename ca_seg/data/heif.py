"""HEIC images (iPhones) and AVIF images: Pillow reads them with the libraries of the extra `heif`.

A HEIF container says how its image is turned, and the decoder obeys; an orientation in its EXIF note does not count.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL import features

from ca_seg.errors import UnreadableImage
from ca_seg.optional import MissingExtra, optional_imports

# the brands of the ftyp box (ISO 23008-12, annex B; AVIF 1.1)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF = (b"avif", b"avis")


def know_heif(file: BinaryIO, name: str) -> None:
    """Let Pillow read a file in which HEIC or AVIF is found. Others are left alone.

    Args:
        file: open, at its start, where it is left
        name: for messages

    Raises:
        UnreadableImage: where the library that reads it is not installed; it names the extra
    """
    start = file.read(256)
    file.seek(0)
    if start[4:8] != b"ftyp":
        return
    length = int.from_bytes(start[:4], "big")
    brands = [start[at : at + 4] for at in (8, *range(16, min(length, len(start)), 4))]  # 12 to 15 are a version
    if any(brand in _AVIF for brand in brands):
        if not features.check("avif"):
            fix = "install it: pip install 'ca-seg[heif]'"
            raise UnreadableImage(f"{name} is an AVIF image, which needs Pillow 11.3 or later", fix=fix)
    elif any(brand in _HEIC for brand in brands):
        try:
            with optional_imports(f"{name} is a HEIC image, which"):
                import pillow_heif
        except MissingExtra as problem:  # of one image: a run over many skips it
            raise UnreadableImage(problem.what, allowed=problem.allowed, fix=problem.fix) from problem
        pillow_heif.register_heif_opener()
