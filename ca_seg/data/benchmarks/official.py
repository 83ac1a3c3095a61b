"""What the readers of official releases share: the folder of a release, its lists, and its classes as a data file.

benchmarks/class_lists/NAME.yaml     ids and names, ids that are void, background and synonyms, and their source
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml

from ca_seg.bounded_files import read_text
from ca_seg.data.classes import ClassList
from ca_seg.data.dataset import ImageMaskPair
from ca_seg.errors import BadDataset, UnknownName


@dataclass(frozen=True)
class ClassWords:
    """Phrases for the classes of a dataset, as `Vocabulary.from_names` takes them.

    Args:
        synonyms: further phrases of a class; for the background class its background words
        background: the class that stands for everything else, or None
    """

    synonyms: dict[str, list[str]]
    background: str | None = None


def class_list(name: str) -> ClassList:
    """The classes of class_lists/NAME.yaml."""
    content = _content(name)
    classes = dict(sorted(content["classes"].items()))
    return ClassList(tuple(classes.values()), tuple(classes), tuple(content["ignore"]), (), content["source"])


def class_list_words(name: str) -> ClassWords:
    """The synonyms and the background class in class_lists/NAME.yaml."""
    content = _content(name)
    synonyms = dict(content.get("synonyms", {}))
    background = content.get("background")
    if background is not None:
        synonyms[background] = list(content["background_words"])
    return ClassWords(synonyms, background)


def release(root: str, inside: Sequence[str], parts: Sequence[str], how_to_get: str) -> Path:
    """The folder of a release: `root` itself or one of the folders `inside` it, whichever has all `parts`.

    Raises BadDataset, saying which part is missing and how to get it.
    """
    if not Path(root).is_dir():
        raise BadDataset(f"there is no dataset folder {root}", fix=how_to_get)
    folders = [Path(root), *(Path(root) / folder for folder in inside)]
    best = max(folders, key=lambda folder: sum((folder / part).exists() for part in parts))
    missing = [part for part in parts if not (best / part).exists()]
    if missing:
        raise BadDataset(f"{best} has no {missing[0]}", fix=how_to_get)
    return best


def listed(file: Path, split: str, known: Iterable[str]) -> list[str]:
    """The image names in a split's list: the first word of every line that is not empty or a comment.

    Raises:
        UnknownName: for a split that is not among `known`
        BadDataset: for a list that is empty, names a path, or has a name twice
    """
    known = sorted(known)
    if split not in known:
        raise UnknownName("split", split, known, fix=f"see {file.parent}")
    try:
        lines = read_text(file).splitlines()
    except (OSError, ValueError) as problem:
        raise BadDataset(f"{file} cannot be read ({problem})", fix="unpack the release again") from problem
    names = [line.split()[0] for line in lines if line.strip()]
    names = [name for name in names if not name.startswith("#")]
    for name in names:
        if name in (".", "..") or any(mark in name for mark in "/\\\0"):
            raise BadDataset(f"{file} lists {name!r:.60}", allowed="names without a folder")
    if len(set(names)) != len(names) or not names:
        raise BadDataset(f"{file} is empty, or lists a name twice")
    return names


def pairs_of(
    names: Sequence[str], images: Path, image_suffix: str, masks: Path, mask_suffix: str
) -> list[ImageMaskPair]:
    """Images and masks of the same names. Raises BadDataset for the first file that is missing."""
    pairs = [ImageMaskPair(name, images / f"{name}{image_suffix}", masks / f"{name}{mask_suffix}") for name in names]
    for pair in pairs:
        for file in (pair.image_path, pair.mask_path):
            if not os.path.isfile(file):
                raise BadDataset(f"{file} is missing", fix="unpack the release again: it is incomplete")
    return pairs


def check_count(count: int, official: int | None, what: str) -> None:
    """Raises BadDataset where a part of a release has not the published number of images (None: unknown)."""
    if official is not None and count != official:
        raise BadDataset(f"{what} has {count} images", allowed=f"{official}", fix="unpack the release again")


def _content(name: str) -> dict:
    folder = Path(str(files("ca_seg.data.benchmarks"))) / "class_lists"
    return yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
