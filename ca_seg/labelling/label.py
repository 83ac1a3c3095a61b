"""The label of one image, and what a label format must be able to do with it.

run -> Label -> writer.write(label)   per image: its own files, and a piece of the dataset's files
                writer.close()        at the end: the dataset's files, from the pieces on disk
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from ca_seg.errors import BadMask, UserError
from ca_seg.labelling.keys import check_relative
from ca_seg.vocabulary import IGNORE_INDEX


@dataclass(frozen=True, eq=False)
class Label:
    """The label of one image, in the image's own size.

    Raises:
        UserError: for a key that cannot be a path inside a folder, or is not `file_name` without its ending
        BadMask: for an array of another type or shape, and a confidence that is not a finite number of 0..1
    """

    key: str  # the relative path of the image without its ending: "a/b/0001"; no two images of a run share one
    file_name: str  # the same with its ending: "a/b/0001.jpg"
    height: int
    width: int
    mask: np.ndarray  # uint8 [H, W], class indices 0..K-1, 255 = ignore
    scores: np.ndarray | None = None  # float [K, H, W]
    confidence: np.ndarray | None = None  # float [H, W], 0..1

    def __post_init__(self) -> None:
        check_relative(self.key, "the key")
        check_relative(self.file_name, "the image's name")
        if self.file_name[: -len(self.ending)] != self.key:
            raise UserError(
                f"the image {self.file_name!r} has the key {self.key!r}",
                allowed="a name with an ending, and as its key the name without it: 'a/b/0001.jpg' and 'a/b/0001'",
            )
        size = (self.height, self.width)
        if min(size) < 1 or self.mask.dtype != np.uint8 or self.mask.shape != size:
            raise BadMask(
                f"{self.key}: a mask of {self.mask.dtype} {self.mask.shape} for an image of {self.width} x "
                f"{self.height} pixels",
                allowed="uint8 [height, width]",
            )
        if self.scores is not None and (
            not _is_float(self.scores) or self.scores.ndim != 3 or self.scores.shape[1:] != size
        ):
            raise BadMask(f"{self.key}: scores of {self.scores.dtype} {self.scores.shape}", allowed="float [K, H, W]")
        if self.confidence is not None and not _is_confidence(self.confidence, size):
            raise BadMask(
                f"{self.key}: a confidence of {self.confidence.dtype} {self.confidence.shape}",
                allowed="float [H, W] of 0..1",
            )

    @property
    def ending(self) -> str:
        """The ending of the image's file name, with its dot: ".jpg"."""
        return PurePosixPath(self.file_name).suffix

    @cached_property
    def areas(self) -> np.ndarray:
        """Number of pixels of each label, int64 [256]."""
        return np.bincount(self.mask.ravel(), minlength=256)

    @property
    def present(self) -> list[int]:
        """The classes that have a pixel, in ascending order."""
        return np.flatnonzero(self.areas[:IGNORE_INDEX]).tolist()

    def check(self, class_count: int) -> None:
        """Raises BadMask for a label that is not 0..class_count - 1 or 255, and for scores of another class count."""
        wrong = np.flatnonzero(self.areas[class_count:IGNORE_INDEX])
        if len(wrong):
            raise BadMask(
                f"{self.key}: the mask has label {class_count + int(wrong[0])}",
                allowed=f"0 to {class_count - 1}, and {IGNORE_INDEX} (ignore)",
            )
        if self.scores is not None and len(self.scores) != class_count:
            raise BadMask(f"{self.key}: scores of {len(self.scores)} classes", allowed=str(class_count))


class LabelWriter(Protocol):
    """Writes the labels of one run into one folder.

    Several processes may each have a writer for the same folder, for different images. One of them calls `close` when
    all have written. A killed run resumes with a new writer, which continues from what is on disk.
    """

    def write(self, label: Label) -> list[str]:
        """Write the files of one image, each of them atomically. Writing an image again replaces it.

        Returns:
            Its label files (not the pieces), relative to the folder.

        Raises:
            UserError: when the label does not fit the classes or the format, or a file cannot be written
        """
        ...

    def close(self) -> list[str]:
        """Assemble the files of the whole dataset from the pieces on disk. May be called again after more images.

        Returns:
            Those files, relative to the folder. They do not depend on the order in which images were written.
        """
        ...


class LabelFormat(Protocol):
    """A kind of label file, with its options as fields."""

    @property
    def name(self) -> str:
        """Its name in the registry, and of its folder."""
        ...

    @property
    def summary(self) -> str:
        """One line on what it writes and what it loses."""
        ...

    @property
    def needs_scores(self) -> bool:
        """Whether labels must have scores."""
        ...

    def open(self, folder: Path, classes: Sequence[str]) -> LabelWriter:
        """A writer for labels of these K classes. Raises UserError for class names that no file can hold."""
        ...


def _is_float(array: np.ndarray) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating))


def _is_confidence(array: np.ndarray, size: tuple[int, int]) -> bool:
    return _is_float(array) and array.shape == size and bool(array.min() >= 0 and array.max() <= 1)  # nan is neither
