"""Video clips in the DAVIS layout: DAVIS 2016, DAVIS 2017, and a user's own clips in the same layout.

ROOT/JPEGImages/480p/CLIP/00000.jpg ...      the frames
ROOT/Annotations/480p/CLIP/00000.png ...     gray or palette PNGs of object ids, for all frames or for some
ROOT/ImageSets/2017/val.txt                  the names of clips, one per line
ROOT/words.json (or words.yaml)              optional: a word for each object, see `object_words.py`

number in a mask file    0             1, 2 ...        255
in the mask, 2017        background    that object     void (255)
in the mask, 2016        background    object 1        object 1        one object; its files hold 0 and 255
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ca_seg.bounded_files import read_text
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.data.video.object_words import ObjectWords, object_words, word_of_name, words_of_clip
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnknownName, UserError
from ca_seg.vocabulary import IGNORE_INDEX

YEARS = (2016, 2017)
LAYOUT = "a DAVIS folder has JPEGImages/480p/CLIP/, Annotations/480p/CLIP/ and ImageSets/YEAR/SPLIT.txt"


@dataclass(frozen=True)
class Clip:
    """One clip as paths: its frames are not kept in memory.

    Args:
        name: of the clip
        size: height and width of every frame and mask
        frame_paths: in the order of time
        mask_paths: one for each frame; None for a frame without mask
        object_ids: of all masks, rising
        words: what each object is, in the order of `object_ids`
    """

    name: str
    size: tuple[int, int]
    frame_paths: tuple[Path, ...]
    mask_paths: tuple[Path | None, ...]
    object_ids: tuple[int, ...]
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame_paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different words, in the order of the objects: two people are one class."""
        return tuple(dict.fromkeys(self.words))


class DavisVideo:
    """The clips of one split, in the order of its list.

    Lists and folders are checked here, the files of a clip when it is opened (`clips[i]`). A listed name must be the
    plain name of a folder, so that no list leads out of `root`.

    Args:
        root: the folder
        year: 2016 (one object per clip, its masks have 0 and 255) or 2017
        split: a list in ImageSets/YEAR
        resolution: the folder below JPEGImages and Annotations
        words: what the objects are, as a table or its file; None: words.json or words.yaml in `root`. A clip without
            words takes its own name up to the first "-" for all objects, which is rough ("bike-packing" shows a rider
            too): give words for figures that count
        require_masks: refuse clips with a frame that has no mask

    Raises:
        BadDataset: for a wrong layout or list
        UnknownName: for an unknown year, split or resolution, or words for an unknown clip
    """

    def __init__(
        self,
        root: Path | str,
        year: int = 2017,
        split: str = "val",
        resolution: str = "480p",
        *,
        words: ObjectWords | Path | str | None = None,
        require_masks: bool = False,
    ) -> None:
        self.root, self.year, self.split, self.resolution = Path(root), year, split, resolution
        self.require_masks = require_masks
        if not self.root.is_dir():
            raise BadDataset(f"there is no dataset folder {self.root}", fix=LAYOUT)
        if year not in YEARS:
            raise UnknownName("DAVIS year", str(year), map(str, YEARS))
        images = self.root / "JPEGImages"
        resolutions = _folders(images)
        if resolution not in resolutions:
            raise UnknownName("resolution", resolution, resolutions, fix=f"see {images}")
        self._images, self._masks = images / resolution, self.root / "Annotations" / resolution
        self._words = object_words(self.root, words, _folders(self._images))
        self.names: tuple[str, ...] = _listed(self.root / "ImageSets" / str(year), split, self._images)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all clips, each once; no file of a clip is read."""
        by_clip = (self._words[name].values() if name in self._words else (word_of_name(name),) for name in self.names)
        return tuple(dict.fromkeys(word for words in by_clip for word in words))

    def __getitem__(self, index: int) -> Clip:
        """One clip. The size of every file is checked, and all masks are read for their object ids.

        Raises:
            BadDataset: for a frame without mask (with `require_masks`), a mask without frame, a frame of another size,
                and a file name that is not a number
            BadMask: for a mask of another size
            UnreadableImage: for a broken file
        """
        name = self.names[index]
        frames = _files_by_number(self._images / name, (".jpg", ".jpeg", ".png"))
        if not frames:
            raise BadDataset(f"{self._images / name} has no frames", fix=LAYOUT)
        masks = _files_by_number(self._masks / name, (".png",)) if (self._masks / name).is_dir() else {}
        for number in masks:
            if number not in frames:
                raise BadDataset(f"{masks[number]} has no frame", fix=f"add {self._images / name / number}.jpg")
        for number in frames:
            if self.require_masks and number not in masks:
                raise BadDataset(f"{frames[number]} has no mask", fix=f"add {self._masks / name / number}.png")
        size = _one_size(list(frames.values()))
        ids = sorted({object_id for path in masks.values() for object_id in self._ids(path, size)})
        return Clip(
            name=name,
            size=size,
            frame_paths=tuple(frames.values()),
            mask_paths=tuple(masks.get(number) for number in frames),
            object_ids=tuple(ids),
            words=words_of_clip(name, ids, self._words),
        )

    def frames(self, clip: Clip, start: int = 0, count: int | None = None, *, at_once: int = 8) -> Iterator[Tensor]:
        """The frames of a clip, some at a time; only these are in memory.

        Args:
            clip: one of this split
            start: index of the first frame
            count: how many frames; None: all from there on
            at_once: the largest number of frames in a piece

        Returns:
            pieces, float32 [F, 3, H, W] in 0..1

        Raises:
            OutOfRange: for a number out of range, in this call
            UnreadableImage: for a broken file, when it is read
        """
        pieces = _pieces(clip, start, count, at_once)
        return (torch.stack([read_image(path) for path in clip.frame_paths[piece]]) for piece in pieces)

    def masks(
        self,
        clip: Clip,
        start: int = 0,
        count: int | None = None,
        *,
        at_once: int = 8,
        by: Literal["object", "word"] = "object",
    ) -> Iterator[Tensor]:
        """The masks of the same frames as `frames` gives. The mask of a frame without one is void throughout.

        Args:
            clip: as for `frames`
            start: as for `frames`
            count: as for `frames`
            at_once: as for `frames`
            by: "object": a pixel has its object id; "word": 1 + the index of its word in `clip.classes` (two people
                are one word)

        Returns:
            pieces, int64 [F, H, W], 0 background, 255 void
        """
        if by not in ("object", "word"):
            raise UserError(f"masks by {by!r}", allowed="'object' or 'word'")
        table = np.arange(IGNORE_INDEX + 1)
        if by == "word":
            for object_id, word in zip(clip.object_ids, clip.words, strict=True):
                table[object_id] = 1 + clip.classes.index(word)
        pieces = _pieces(clip, start, count, at_once)
        return (torch.stack([self._mask(path, clip.size, table) for path in clip.mask_paths[p]]) for p in pieces)

    def _mask(self, path: Path | None, size: tuple[int, int], table: np.ndarray) -> Tensor:
        if path is None:
            return torch.full(size, IGNORE_INDEX)
        return torch.from_numpy(table[self._read_ids(path, size)])

    def _ids(self, path: Path, size: tuple[int, int]) -> list[int]:
        """The object ids in a mask file."""
        values = np.flatnonzero(np.bincount(self._read_ids(path, size).reshape(-1))).tolist()
        return [value for value in values if value not in (0, IGNORE_INDEX)]

    def _read_ids(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """A mask file to 0, object ids and void, [H, W], by the rule of the year."""
        ids = read_mask(path)
        if ids.shape != size:
            raise BadMask(
                f"{path} is {ids.shape[1]} x {ids.shape[0]} pixels, its frame is {size[1]} x {size[0]}",
                allowed="the same size",
            )
        if self.year == 2016:
            return (ids != 0).astype(np.uint8)
        if ids.max() > IGNORE_INDEX:
            raise BadMask(f"{path} has object id {ids.max()}", allowed="0 to 254, 255 (void)")
        return ids


def _pieces(clip: Clip, start: int, count: int | None, at_once: int) -> list[slice]:
    if not 0 <= start < len(clip):
        raise OutOfRange(f"frame {start} of {clip.name}", allowed=f"0 to {len(clip) - 1}")
    if count is not None and count < 1:
        raise OutOfRange(f"a count of {count} frames", allowed="1 or more, or none")
    if at_once < 1:
        raise OutOfRange(f"{at_once} frames at once", allowed="1 or more")
    end = len(clip) if count is None else min(len(clip), start + count)
    return [slice(first, min(end, first + at_once)) for first in range(start, end, at_once)]


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise BadDataset(f"{folder} is missing", fix=LAYOUT)
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _listed(folder: Path, split: str, images: Path) -> tuple[str, ...]:
    """The clips of ImageSets/YEAR/SPLIT.txt, each the plain name of a folder in `images`."""
    if not folder.is_dir():
        raise BadDataset(f"{folder} is missing", fix=LAYOUT)
    splits = sorted(path.stem for path in folder.glob("*.txt"))
    if split not in splits:
        raise UnknownName("split", split, splits, fix=f"see {folder}")
    path = folder / f"{split}.txt"
    try:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise BadDataset(f"{path} cannot be read ({error})") from error
    if not names:
        raise BadDataset(f"{path} lists no clip", fix="write one name per line")
    for name in names:
        if name in (".", "..") or any(mark in name for mark in "/\\\0"):
            raise BadDataset(f"{path} lists {name!r:.60}", allowed=f"names of folders in {images}, one per line")
        if not (images / name).is_dir():
            raise BadDataset(f"{path} lists {name!r}, but {images / name} is missing", fix="add it, or take it out")
        if names.count(name) > 1:
            raise BadDataset(f"{path} lists {name!r} twice", fix="remove one of them")
    return tuple(names)


def _files_by_number(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of a clip by their names without suffix, in the order of their numbers ("10" after "9")."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise BadDataset(f"the name of {path} is not a number", allowed="00000, 00001 and so on")
        if path.stem in files:
            first, second = sorted((files[path.stem].name, path.name))
            raise BadDataset(f"{folder} has both {first} and {second}", fix="keep one of them")
        files[path.stem] = path
    return dict(sorted(files.items(), key=lambda item: int(item[0])))


def _one_size(paths: list[Path]) -> tuple[int, int]:
    """Height and width that all frames have, from the headers of their files."""
    height, width = read_size(paths[0])
    for path in paths[1:]:
        h, w = read_size(path)
        if (h, w) != (height, width):
            raise BadDataset(
                f"{path} is {w} x {h} pixels, {paths[0].name} is {width} x {height}",
                allowed="one size for all frames of a clip",
            )
    return height, width
