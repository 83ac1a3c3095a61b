"""The options that choose images: which dataset, where it is, which part, and in what batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, TypeVar

from ca_seg.data.catalogue import DATASETS, class_words, open_dataset
from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary


@dataclass(frozen=True)
class DataSettings:
    """Which images.

    Args:
        name: a name from `ca-seg data list`
        root: the folder, for datasets that do not ship
        split: a part of the dataset; None: all of it
        batch_size: images per batch
        num_workers: processes that read images; 0: this one
        limit: only the first images of each part
    """

    FOLDER: ClassVar[str] = "folder"  # the name of a dataset that is any folder

    name: str = "scenes"
    root: str | None = None
    split: str | None = None
    batch_size: int = 8
    num_workers: int = 0
    limit: int | None = None

    def open(self) -> SegmentationDataset:
        """The dataset, limited. Raises UnknownName, BadDataset."""
        dataset = open_dataset(self.name, self.root, self.split)
        return dataset if self.limit is None else dataset.first(self.limit)

    def module(self, split: str | None = None) -> SegmentationData:
        """The dataset for Lightning, with `split` in place of `self.split`."""
        return SegmentationData(
            self.name,
            self.root,
            self.split if split is None else split,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            limit=self.limit,
        )

    def synonyms(self, more: dict[str, list[str]] | None) -> dict[str, list[str]]:
        """The dataset's synonyms, and `more`, which take precedence."""
        return class_words(self.name).synonyms | (more or {})

    def vocabulary(
        self,
        classes: Sequence[str],
        *,
        synonyms: dict[str, list[str]] | None = None,
        template: str = "{}",
        background: bool = False,
    ) -> Vocabulary:
        """The words for classes of this dataset.

        Args:
            classes: names
            synonyms: further phrases of a class, in place of the dataset's
            template: a sentence to put each phrase into, with one {}
            background: mark the dataset's background class
        """
        name = class_words(self.name).background if background else None
        return Vocabulary.from_names(classes, synonyms=self.synonyms(synonyms), background=name, template=template)


@dataclass(frozen=True)
class EvaluationData(DataSettings):
    """Which images are scored.

    Args:
        splits: parts of the dataset, each scored on its own; the first gives the headline. None: `split`, or all as one
    """

    splits: list[str] | None = None

    def parts(self) -> list[str | None]:
        """Raises UserError where both `split` and `splits` are given."""
        if self.splits and self.split is not None:
            raise UserError("data.split and data.splits are both given", allowed="one of the two")
        return list(self.splits) if self.splits else [self.split]


Settings = TypeVar("Settings", bound=DataSettings)


def data_named(data: str | Path | DataSettings, kind: type[Settings]) -> Settings:
    """Settings for a dataset's name, or for a folder with images/, masks/ and classes.json.

    Args:
        data: a name, a folder, or settings, which are given back
        kind: the class of the settings

    Raises:
        UserError: for something else
    """
    if isinstance(data, kind):
        return data
    if isinstance(data, DataSettings):
        return kind(**{field.name: getattr(data, field.name) for field in fields(DataSettings)})
    if not isinstance(data, str | Path):
        raise UserError(f"data is {data!r}", allowed=f"the name of a dataset, a folder, or {kind.__name__}")
    if isinstance(data, Path) or (data not in DATASETS and Path(data).is_dir()):
        return kind(name=kind.FOLDER, root=str(data))
    return kind(name=data)
