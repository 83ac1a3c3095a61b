"""Video clips in the DAVIS layout: DAVIS 2016, DAVIS 2017, and anyone's clips laid out alike.

ROOT/JPEGImages/480p/SEQ/00000.jpg ...       the frames
ROOT/Annotations/480p/SEQ/00000.png ...      gray or palette PNGs of object ids, for all frames or for some
ROOT/ImageSets/2017/val.txt                  one name of a sequence a line
ROOT/words.json (or words.yaml)              optional: {"bear": {"1": "bear"}}, a word for each object of a sequence

number in a mask file    0             1, 2 ...        255
in the mask, 2017        background    that object     void (255)
in the mask, 2016        background    object 1        object 1        one object; its files hold 0 and 255
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import yaml
from torch import Tensor

from ca_seg.data.classes import read_json
from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.errors import BadDataset, BadMask, OutOfRange, UnknownName, UserError
from ca_seg.vocabulary import IGNORE_INDEX

YEARS = (2016, 2017)
ObjectWords = Mapping[str, Mapping[str, str]]  # sequence -> object id -> word
LAYOUT = "a DAVIS folder has JPEGImages/480p/SEQ/, Annotations/480p/SEQ/ and ImageSets/YEAR/SPLIT.txt"
WORDS = 'an example: {"bear": {"1": "bear"}}'


@dataclass(frozen=True)
class Clip:
    """One sequence as paths: nothing of it is kept in memory."""

    name: str
    size: tuple[int, int]  # height, width of every frame and mask
    frame_paths: tuple[Path, ...]  # in the order of time
    mask_paths: tuple[Path | None, ...]  # one for each frame; None: the frame is unlabelled
    object_ids: tuple[int, ...]  # rising; of all labelled frames
    words: tuple[str, ...]  # what each object is, in the order of `object_ids`

    def __len__(self) -> int:
        return len(self.frame_paths)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different words, in the order of the objects: two people are one class."""
        return tuple(dict.fromkeys(self.words))


class DavisVideo:
    """The clips of one split, in the order of its list.

    `words` says what the objects are, for DAVIS has numbers only: a table {"bear": {"1": "bear"}}, or a JSON or YAML
    file of it; by default words.json or words.yaml in `root`, if there is one. A sequence that the table does not name
    takes its own name up to the first "-" for all of its objects: "car-roundabout" is "car". That rule is rough
    ("bike-packing" shows a rider too): give words for figures that count.

    With `require_masks` a clip with an unlabelled frame is refused. The lists and folders are checked here, the files
    of a clip when it is asked for. Raises BadDataset for a wrong layout or a listed name that is no plain folder name
    (so that no list leads out of `root`), UnknownName for an unknown year, split, resolution or sequence with words.
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
            raise UnknownName("DAVIS year", str(year), [str(known) for known in YEARS])
        images = self.root / "JPEGImages"
        known = _folders(images)
        if resolution not in known:
            raise UnknownName("resolution", resolution, known, fix=f"see {images}")
        self._images, self._masks = images / resolution, self.root / "Annotations" / resolution
        self._words = _checked(*_given_words(self.root, words), _folders(self._images))
        self.names: tuple[str, ...] = _listed(self.root / "ImageSets" / str(year), split, self._images)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """One clip, with the size of every file checked and the object ids gathered from all its masks.

        Raises BadDataset for a frame without mask (under `require_masks`), a mask without frame, a frame of another
        size or a file name that is no number; BadMask for a mask of another size; UnreadableImage for a broken file.
        """
        name = self.names[index]
        frames = _by_stem(self._images / name, (".jpg", ".jpeg", ".png"))
        if not frames:
            raise BadDataset(f"{self._images / name} has no frames", fix=LAYOUT)
        masks = _by_stem(self._masks / name, (".png",)) if (self._masks / name).is_dir() else {}
        for image_id in masks:
            if image_id not in frames:
                raise BadDataset(f"{masks[image_id]} has no frame", fix=f"add {self._images / name / image_id}.jpg")
        for image_id in frames:
            if self.require_masks and image_id not in masks:
                raise BadDataset(f"{frames[image_id]} has no mask", fix=f"add {self._masks / name / image_id}.png")
        size = _one_size(list(frames.values()))
        ids = sorted({number for path in masks.values() for number in self._ids(path, size)})
        return Clip(
            name=name,
            size=size,
            frame_paths=tuple(frames.values()),
            mask_paths=tuple(masks.get(image_id) for image_id in frames),
            object_ids=tuple(ids),
            words=_words_of(name, ids, self._words),
        )

    def frames(self, clip: Clip, start: int = 0, count: int | None = None, *, at_once: int = 8) -> Iterator[Tensor]:
        """The frames `start`, `start` + 1 ... as float32 [F, 3, H, W] in 0..1, F at most `at_once`.

        `count` frames, or as many as there are from there on. Only one such piece is in memory at a time. Raises
        OutOfRange on the call, UnreadableImage when a file turns out broken.
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
        """The masks that belong to `frames` of the same numbers: int64 [F, H, W], 0 background, 255 void.

        By "object" a pixel holds its object id; by "word" 1 + the index of its word in `clip.classes`, for words alone
        cannot tell two people apart. An unlabelled frame is void throughout.
        """
        if by not in ("object", "word"):
            raise UserError(f"masks by {by!r}", allowed="'object' or 'word'")
        table = np.arange(IGNORE_INDEX + 1)
        if by == "word":
            for number, word in zip(clip.object_ids, clip.words, strict=True):
                table[number] = 1 + clip.classes.index(word)
        pieces = _pieces(clip, start, count, at_once)
        return (torch.stack([self._mask(path, clip.size, table) for path in clip.mask_paths[p]]) for p in pieces)

    def _mask(self, path: Path | None, size: tuple[int, int], table: np.ndarray) -> Tensor:
        if path is None:
            return torch.full(size, IGNORE_INDEX)
        return torch.from_numpy(table[self._numbers(path, size)])

    def _ids(self, path: Path, size: tuple[int, int]) -> list[int]:
        found = np.flatnonzero(np.bincount(self._numbers(path, size).reshape(-1))).tolist()
        return [number for number in found if number not in (0, IGNORE_INDEX)]

    def _numbers(self, path: Path, size: tuple[int, int]) -> np.ndarray:
        """A mask file to 0, object ids and void, [H, W], as the year has them."""
        numbers = read_mask(path)
        if numbers.shape != size:
            raise BadMask(
                f"{path} is {numbers.shape[1]} x {numbers.shape[0]} pixels, its frame is {size[1]} x {size[0]}",
                allowed="the same size",
            )
        if self.year == 2016:
            return (numbers != 0).astype(np.uint8)
        if numbers.max() > IGNORE_INDEX:
            raise BadMask(f"{path} has object id {numbers.max()}", allowed="0 to 254, 255 (void)")
        return numbers


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
    """The sequences of ImageSets/YEAR/SPLIT.txt, each a plain name of a folder in `images`."""
    if not folder.is_dir():
        raise BadDataset(f"{folder} is missing", fix=LAYOUT)
    known = sorted(path.stem for path in folder.glob("*.txt"))
    if split not in known:
        raise UnknownName("split", split, known, fix=f"see {folder}")
    path = folder / f"{split}.txt"
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadDataset(f"{path} cannot be read ({error})") from error
    if not names:
        raise BadDataset(f"{path} lists no sequence", fix="write one name a line")
    for name in names:
        if name in (".", "..") or any(mark in name for mark in "/\\\0"):
            raise BadDataset(f"{path} lists {name!r}", allowed=f"names of folders in {images}, one a line")
        if not (images / name).is_dir():
            raise BadDataset(f"{path} lists {name!r}, but {images / name} is missing", fix="add it, or take it out")
        if names.count(name) > 1:
            raise BadDataset(f"{path} lists {name!r} twice", fix="remove one of them")
    return tuple(names)


def _by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """The files of a sequence by stem, in the order of their numbers ("10" after "9")."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in endings:
            continue
        if not (path.stem.isascii() and path.stem.isdigit()):
            raise BadDataset(f"{path} has no number for a name", allowed="00000, 00001 and so on")
        if path.stem in found:
            one, two = sorted((found[path.stem].name, path.name))
            raise BadDataset(f"{folder} has both {one} and {two}", fix="keep one of them")
        found[path.stem] = path
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _one_size(paths: list[Path]) -> tuple[int, int]:
    """Height and width that all frames have, from the heads of their files."""
    size = read_size(paths[0])
    for path in paths[1:]:
        other = read_size(path)
        if other != size:
            raise BadDataset(
                f"{path} is {other[1]} x {other[0]} pixels, {paths[0].name} is {size[1]} x {size[0]}",
                allowed="one size for all frames of a sequence",
            )
    return size


def _given_words(root: Path, given: ObjectWords | Path | str | None) -> tuple[str, object]:
    """Where the words come from, for errors, and the table as it stands there."""
    if isinstance(given, Mapping):
        return "words", given
    beside = [root / name for name in ("words.json", "words.yaml") if (root / name).is_file()]
    files = beside if given is None else [Path(given)]
    if len(files) > 1:
        raise BadDataset(f"{root} has both words.json and words.yaml", fix="keep one of them")
    if not files:
        return "words", {}
    path = files[0]
    if path.suffix not in (".yaml", ".yml"):
        return str(path), read_json(path)
    try:
        return str(path), yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadDataset(f"{path} is not readable YAML ({' '.join(str(error).split())})") from error


def _checked(where: str, content: object, known: list[str]) -> ObjectWords:
    if not isinstance(content, Mapping):
        raise BadDataset(f"{where} is not a table of sequences", fix=WORDS)
    for name, words in content.items():
        if name not in known:
            raise UnknownName(f"sequence in {where}", str(name), known)
        if not isinstance(words, Mapping) or not all(isinstance(w, str) and w.strip() for w in words.values()):
            raise BadDataset(f"{where}: {name!r} has no table of object ids and words", fix=WORDS)
    return {name: {str(number): word for number, word in words.items()} for name, words in content.items()}


def _words_of(name: str, ids: list[int], words: ObjectWords) -> tuple[str, ...]:
    if name not in words:
        return (name.split("-")[0] or name,) * len(ids)
    missing, over = {str(number) for number in ids} - set(words[name]), set(words[name]) - {str(n) for n in ids}
    if missing:
        raise BadDataset(f"the words of {name!r} leave out object {min(missing)}", fix=WORDS)
    if over and ids:
        raise BadDataset(f"the words of {name!r} name object {min(over)}", allowed=f"the objects of its masks: {ids}")
    return tuple(words[name][str(number)] for number in ids)
