"""Images without masks, for labelling: a folder with all its sub-folders, or a text file that lists images.

DIR/a/0001.jpg      a/0001                   LIST.txt    one path a line, relative to the folder of LIST.txt
DIR/b/0001.jpg      b/0001: another image

Nothing outside the folder is read: links and listed paths that lead out of it are refused, and so are links to
folders, which may lead in circles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from ca_seg.data.classes import UNLABELLED
from ca_seg.data.dataset import Pair
from ca_seg.data.formats.unmasked import Unmasked
from ca_seg.data.image_files import IMAGE_SUFFIXES, images_below
from ca_seg.errors import BadDataset, UnknownName

HOW_TO_GET = "a folder of images, also in sub-folders, or a text file with one path a line, relative to its own folder"


class ImageFolder(Unmasked):
    """The images of a folder or list; their masks are void throughout, [H, W] of 255.

    A stem is the path in the folder without its ending, with "/". Images of a folder come folder by folder in the
    order of their names, those of a list in its order. In a folder, files whose name begins with a dot and files with
    another ending than IMAGE_SUFFIXES are left alone; a listed file may have any. `mask_path` gives the image: there is no
    mask. `class_list` has one class to stand there, "unlabelled".

    Raises BadDataset for no image, two of one stem (a.jpg and a.png would get one label file), a list that cannot be
    read or names a file that is not there, and what leads out of the folder.
    """

    def __init__(self, root: Path | str) -> None:
        given = Path(root)
        if given.is_dir():
            folder, found = given, images_below(given)
        elif given.is_file():
            folder, found = given.parent, _listed(given)
        else:
            raise BadDataset(f"there is no folder or list of images {given}", fix=HOW_TO_GET)
        pairs = _pairs(folder, found)
        if not pairs:
            raise BadDataset(f"{given} has no image", allowed=f"one or more of {', '.join(IMAGE_SUFFIXES)}")
        super().__init__(folder, None, UNLABELLED, pairs)


def _pairs(folder: Path, names: Iterable[str]) -> list[Pair]:
    found: dict[str, Pair] = {}
    for name in names:
        image_id, path = PurePath(name).with_suffix("").as_posix(), folder / name
        if image_id in found:
            other = found[image_id].image
            wrong = f"{other} stands twice" if other == path else f"{folder} has both {other.name} and {path.name}"
            raise BadDataset(f"{wrong} (name {image_id!r})", fix="keep one of them, or rename it")
        found[image_id] = Pair(image_id, path, path)
    return list(found.values())


def _listed(file: Path) -> Iterator[str]:
    folder = file.parent
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise BadDataset(f"{file} is no list of images ({problem})", fix=HOW_TO_GET) from problem
    for line in filter(None, map(str.strip, lines)):
        path = folder / line
        if ".." in PurePath(line).parts or not path.is_relative_to(folder):
            raise BadDataset(f"{file} lists {line!r}", allowed=f"images inside {folder}")
        if not path.is_file():
            raise BadDataset(f"{file} lists {line!r}, and {path} is missing", fix="add it, or take it out of the list")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadDataset(f"{file} lists {line!r}, which leads out of {folder}", fix="copy the image there")
        yield str(path.relative_to(folder))


def open_dataset(name: str, root: str, split: str | None) -> ImageFolder:
    if split is not None:
        raise UnknownName("split", split, ("none",), fix="images have no splits; give a list file as root")
    return ImageFolder(root)
