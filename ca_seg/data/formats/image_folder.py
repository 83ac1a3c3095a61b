"""Images without masks, for labelling: a folder with all its sub-folders, or a text file that lists images.

DIR/a/0001.jpg      image_id a/0001          LIST.txt    one path per line, relative to the folder of LIST.txt
DIR/b/0001.jpg      image_id b/0001

Nothing outside the folder is read: links and listed paths that lead out of it are refused, and so are links to
folders, which may lead in circles.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from ca_seg.bounded_files import read_text
from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import ImageMaskPair
from ca_seg.data.formats.without_masks import ImagesWithoutMasks
from ca_seg.data.image_files import IMAGE_SUFFIXES, has_image_suffix, images_below, lies_within
from ca_seg.errors import BadDataset, UnknownName

HOW_TO_GET = "a folder of images, also in sub-folders, or a text file with one path per line, relative to its folder"


class ImageFolder(ImagesWithoutMasks):
    """The images of a folder or list.

    An image_id is the path in the folder without its suffix, with "/". A folder is read in the order of
    `images_below`, a list in its own order. In a folder only files with one of IMAGE_SUFFIXES are read; a listed file
    may have any suffix. `mask_path` is the image, and the class list has one class, "unlabelled".

    Args:
        root: the folder, or the list

    Raises:
        BadDataset: for no image, two of one image_id (a.jpg and a.png would get the same label file), a list that
            cannot be read or names a file that is not there, and a path that leads out of the folder
    """

    def __init__(self, root: Path | str) -> None:
        root = Path(root)
        if os.path.isdir(root):
            folder, names = root, images_below(root)
        elif os.path.isfile(root) and has_image_suffix(root.name):
            fix = "give its folder, or segment it: ca-seg segment"
            raise BadDataset(f"{root} is one image", allowed=HOW_TO_GET, fix=fix)
        elif os.path.isfile(root):
            folder, names = root.parent, _listed(root)
        else:
            raise BadDataset(f"there is no folder or list of images {root}", fix=HOW_TO_GET)
        pairs = _pairs(folder, names)
        if not pairs:
            raise BadDataset(f"{root} has no image", allowed=f"one or more of {', '.join(IMAGE_SUFFIXES)}")
        super().__init__(folder, None, UNLABELLED, pairs)


def _pairs(folder: Path, names: Iterable[str]) -> list[ImageMaskPair]:
    pairs: dict[str, ImageMaskPair] = {}
    for name in names:
        image_id, path = PurePath(name).with_suffix("").as_posix(), folder / name
        if image_id in pairs:
            first = pairs[image_id].image_path
            what = f"{path} is listed twice" if first == path else f"{folder} has both {first.name} and {path.name}"
            raise BadDataset(f"{what} (image_id {image_id!r})", fix="keep one of them, or rename it")
        pairs[image_id] = ImageMaskPair(image_id, path, path)
    return list(pairs.values())


def _listed(file: Path) -> Iterator[str]:
    folder = file.parent
    try:
        lines = read_text(file).splitlines()
    except (OSError, ValueError) as problem:
        raise BadDataset(f"{file} is no list of images ({problem})", fix=HOW_TO_GET) from problem
    for line in filter(None, map(str.strip, lines)):
        path = folder / line
        if ".." in PurePath(line).parts or not path.is_relative_to(folder):
            raise BadDataset(f"{file} lists {line!r}", allowed=f"images inside {folder}")
        if not os.path.isfile(path):
            raise BadDataset(f"{file} lists {line!r}, and {path} is missing", fix="add it, or take it out of the list")
        if not lies_within(path, folder):
            raise BadDataset(f"{file} lists {line!r}, which leads out of {folder}", fix="copy the image there")
        yield str(path.relative_to(folder))


def open_dataset(name: str, root: str, split: str | None) -> ImageFolder:
    if split is not None:
        raise UnknownName("split", split, ("none",), fix="images have no splits; give a list file as root")
    return ImageFolder(root)
