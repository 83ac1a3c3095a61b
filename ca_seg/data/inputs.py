"""What users give as images to segment: files, folders, globs, standard input, PIL images, arrays and tensors.

    "photo.jpg"                   one file
    "photos"                      a folder, with its sub-folders
    "photos/*.jpg"                a glob
    "-"                           an encoded image on standard input
    a PIL image                   turned upright by its EXIF note
    an array [H, W, 3] or [H, W]  uint8, or float in 0..1
    a tensor [3, H, W]            float in 0..1; [B, 3, H, W] is B images
    a list of any of these

All of it is checked at once for being there; an image is decoded, and torch imported, when it is used.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ca_seg.data.image_files import IMAGE_SUFFIXES, MAX_NAME_BYTES, has_image_suffix, images_below
from ca_seg.errors import UnreadableImage, UserError, close_matches

if TYPE_CHECKING:
    import numpy as np
    import torch

STANDARD_INPUT = "-"
ALLOWED = (
    "a file, a folder, a glob, '-' for standard input, a PIL image, a uint8 array [H, W, 3] or [H, W], "
    "a float tensor [3, H, W] or [B, 3, H, W] in 0..1, or a list of these"
)
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True, eq=False)
class NamedImage:
    """One image. It is decoded when `pixels` is first used, and stays in memory as long as this object.

    Args:
        image_id: of a file its name without suffix, of a file in a folder with the sub-folders ("a/0001"); "stdin";
            of an image in memory "image", or "image_0" and so on by its position
        path: its file, or None
        load: reads the image
    """

    image_id: str
    path: Path | None
    load: Callable[[], torch.Tensor]

    @property
    def file_name(self) -> str | None:
        """The image_id with the ending of the file; None for an image without a file."""
        return None if self.path is None else self.image_id + self.path.suffix

    @cached_property
    def pixels(self) -> torch.Tensor:
        """float32 [3, H, W] in 0..1, upright. Raises UnreadableImage for what is not a whole image."""
        return self.load()


def open_images(source: Any) -> Iterator[NamedImage]:
    """The images of a source, one after another.

    The call checks that everything is there. An image is decoded when it is used, so a broken file does not end a run,
    and memory does not grow with the number of images.

    Args:
        source: one of the forms above

    Raises:
        UserError: for a source of an unknown type, shape or range, a URL, a glob without match, a folder without
            images, and for two images of one name
        UnreadableImage: for a file that is missing

    Example:
        >>> for image in open_images("photos"):
        ...     print(image.image_id, image.pixels.shape)
    """
    images = _named(_images_of(source))
    if not images:
        raise UserError("no image was given", allowed=ALLOWED)
    _check_names(images)
    return (replace(image) for image in images)  # copies, which are freed with their pixels after use


def expand_paths(sources: Sequence[str | Path]) -> list[Path]:
    """The files that files, folders and globs stand for; "-" is passed on. Raises as `open_images`."""
    return [path for source in sources for _, path in _files(os.fspath(source))]


def is_single(source: Any) -> bool:
    """Whether a source is one image, and not a list, a folder, a glob or a batch."""
    if isinstance(source, list | tuple):
        return False
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        return not (os.path.isdir(text) or _is_glob(text))
    return getattr(source, "ndim", 3) != 4


def looks_like_image(text: str) -> bool:
    """Whether an argument of a command means images and not a word: whatever is on the disk, or is named like one."""
    if text == STANDARD_INPUT or URL.match(text) or glob.has_magic(text) or has_image_suffix(text):
        return True
    return bool(text) and os.path.exists(text)


def _images_of(source: Any) -> list[NamedImage]:
    """The images; those in memory have no name yet."""
    if isinstance(source, list | tuple):
        return [image for part in source for image in _images_of(part)]
    if isinstance(source, str | os.PathLike):
        return [
            NamedImage(image_id, None if str(path) == STANDARD_INPUT else path, partial(_read_file, path))
            for image_id, path in _files(os.fspath(source))
        ]
    torch = sys.modules.get("torch")  # where it was not imported yet, nothing is a tensor
    if torch is not None and isinstance(source, torch.Tensor):
        return [NamedImage("", None, partial(_from_tensor, image)) for image in _tensors(source)]
    import numpy as np
    from PIL import Image

    if isinstance(source, Image.Image):
        return [NamedImage("", None, partial(_from_pil, source))]
    if isinstance(source, np.ndarray):
        _check_array(source)
        return [NamedImage("", None, partial(_from_array, source))]
    raise UserError(f"an image is {type(source).__name__} {source!r:.60}", allowed=ALLOWED)


def _named(images: list[NamedImage]) -> list[NamedImage]:
    if len(images) == 1:
        return [replace(image, image_id=image.image_id or "image") for image in images]
    return [replace(image, image_id=image.image_id or f"image_{index}") for index, image in enumerate(images)]


def _check_names(images: list[NamedImage]) -> None:
    """Results are stored under the image_id."""
    for image in images:
        try:
            image.image_id.encode()
        except UnicodeEncodeError as problem:
            raise UserError(f"the file name {image.image_id!r} is not UTF-8", fix="rename the file") from problem
        longest = max(len(part.encode()) for part in image.image_id.split("/"))
        if longest > MAX_NAME_BYTES:
            what = f"the file name {image.image_id!r:.80} has {longest} bytes"
            raise UserError(what, allowed=f"up to {MAX_NAME_BYTES}: results get an ending", fix="rename the file")
    image_id, count = Counter(image.image_id for image in images).most_common(1)[0]
    if count > 1:
        paths = [str(image.path or "an image in memory") for image in images if image.image_id == image_id][:2]
        raise UserError(
            f"two images are called {image_id!r}: {paths[0]} and {paths[1]}",
            allowed="one image of each name, for the results of one would overwrite those of the other",
            fix="rename one, or leave it out",
        )


def _is_glob(text: str) -> bool:
    return glob.has_magic(text) and not os.path.exists(text)


def _files(text: str) -> list[tuple[str, Path]]:
    """The image_id and path of every file that a file, folder or glob stands for."""
    path = Path(text)
    if text == STANDARD_INPUT:
        if sys.stdin.isatty():
            raise UserError("no image is on standard input", fix="pipe one in: ... < photo.jpg")
        return [("stdin", path)]
    if URL.match(text):
        raise UserError(f"{text} is a URL", allowed="files on this machine", fix="download it first and give the file")
    if _is_glob(text):
        return _glob(text)
    if os.path.isdir(text):
        names = list(images_below(path))
        if not names:
            raise UserError(f"the folder {path} has no image", allowed=f"one or more of {', '.join(IMAGE_SUFFIXES)}")
        return [(_without_suffix(name), path / name) for name in names]
    if not os.path.exists(text):
        folder = path.parent
        close = close_matches(path.name, os.listdir(folder)) if os.path.isdir(folder) else []
        raise UnreadableImage(f"{path} is missing", allowed=f"{', '.join(close)} in {folder}" if close else "")
    return [(path.stem, path)]


def _glob(pattern: str) -> list[tuple[str, Path]]:
    """Named by their path below the folder where the pattern begins, so that a/1.jpg and b/1.jpg are two names."""
    names = [name for name in sorted(glob.glob(pattern, recursive=True)) if has_image_suffix(name)]
    if not names:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise UserError(f"no image matches {pattern!r}", allowed=f"a pattern that names files of {suffixes}")
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    return [(_without_suffix("/".join(Path(name).parts[fixed:])), Path(name)) for name in names]


def _without_suffix(name: str) -> str:
    image_id = os.path.splitext(name)[0]
    return Path(image_id).name if ".." in image_id.split("/") else image_id


def _read_file(path: Path) -> torch.Tensor:
    from ca_seg.data.read import HeldFile, read_image

    if str(path) != STANDARD_INPUT:
        return read_image(path)
    content = sys.stdin.buffer.read()
    if not content:
        raise UnreadableImage("standard input is empty", fix="pipe an image in: ... < photo.jpg")
    return read_image(HeldFile(content, "standard input"))


def _from_pil(image: Any) -> torch.Tensor:
    from ca_seg.data.read import image_tensor

    return image_tensor(image, getattr(image, "filename", "") or "the PIL image")


def _check_array(array: np.ndarray) -> None:
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] != 3) or 0 in shape:
        fix = "drop its alpha channel: array[..., :3]" if array.ndim == 3 and shape[2] == 4 else ""
        if array.ndim == 3 and shape[0] == 3:
            fix = "move its channels to the end: array.transpose(1, 2, 0)"
        raise UserError(f"an array of shape {shape}", allowed="[H, W, 3], or [H, W] for gray", fix=fix)
    if array.dtype.kind == "f":
        _check_range("array", float(array.min()), float(array.max()))
    elif array.dtype != "uint8":
        raise UserError(f"an array of type {array.dtype}", allowed="uint8, or float in 0..1")


def _from_array(array: np.ndarray) -> torch.Tensor:
    import torch

    tensor = torch.from_numpy(array.copy()).float() / (255 if array.dtype == "uint8" else 1)
    return tensor.expand(3, *tensor.shape).contiguous() if array.ndim == 2 else tensor.permute(2, 0, 1).contiguous()


def _tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3 or 0 in tensor.shape:
        raise UserError(f"a tensor of shape {tuple(tensor.shape)}", allowed="[3, H, W] or [B, 3, H, W]")
    if not tensor.is_floating_point():
        raise UserError(f"a tensor of type {tensor.dtype}", allowed="float in 0..1", fix="divide it: tensor / 255")
    _check_range("tensor", float(tensor.min()), float(tensor.max()))
    return [tensor] if tensor.ndim == 3 else list(tensor)


def _from_tensor(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().float().cpu()


def _check_range(what: str, low: float, high: float) -> None:
    if not (low >= 0 and high <= 1):  # NaN too
        fix = "divide it by 255" if high > 2 else ""
        raise UserError(f"a float {what} with values from {low:g} to {high:g}", allowed="0 to 1", fix=fix)
