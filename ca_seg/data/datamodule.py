"""Any dataset of the catalogue for Lightning: its loaders for training, validation, test and prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset

from ca_seg.data.batches import EpochShuffle, SharedBatches, SizeBatchSampler
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.classes import ClassList
from ca_seg.data.collate import SkipUnreadable, collate
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.few_shot import few_shot
from ca_seg.errors import BadDataset, OutOfRange, UserError
from ca_seg.vocabulary import IGNORE_INDEX


class Items(NamedTuple):
    """What a loader reads: the items, the height and width of each by index, and how they become a batch."""

    dataset: Dataset
    size: Callable[[int], tuple[int, int]]
    collate: Callable[[list], Mapping[str, Any]]


# what a loader reads of a dataset, given the order of training (None for all other uses)
View = Callable[[SegmentationDataset, EpochShuffle | None], Items]


def images(dataset: SegmentationDataset, order: EpochShuffle | None) -> Items:
    """The view of images and masks as they are in their files."""
    return Items(SkipUnreadable(dataset), dataset.size, collate)


class SegmentationData(pl.LightningDataModule):
    """Images and masks of one dataset, in batches.

    Batches are dicts, see `ca_seg.data.collate.Batch`. Images keep their size: a batch has images of one size, so it
    may have fewer than `batch_size`. With `augment`, training images are random crops of one size instead. An image
    that cannot be read is listed in the batch's "skipped", and the run goes on.

    Args:
        name: a dataset of the catalogue
        root: its folder; None for one that ships
        split: the part to test and predict on; None: all
        train_split: the part to train on; training needs it, so that nobody trains on what is tested by accident
        val_split: the part to validate on during training; None: no validation
        batch_size: the largest number of images in a batch
        num_workers: processes that read images; 0: this one
        augment: train on random views, scaled, cropped, flipped and recoloured
        crop: side of these views in pixels; None: the short side of the first training image
        limit: use only the first images of each part; None: all
        shots: train on so few images that every class is in at least this many; None: on all
        val_name: the dataset to validate on, where it is another one (such as ground truth, beside made labels)
        val_root: its folder
        seed: of the order of training images, and of the views

    Raises:
        OutOfRange: for a batch size or number of workers out of range
    """

    def __init__(
        self,
        name: str = "scenes",
        root: str | None = None,
        split: str | None = None,
        train_split: str | None = None,
        val_split: str | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        augment: bool = False,
        crop: int | None = None,
        limit: int | None = None,
        shots: int | None = None,
        val_name: str | None = None,
        val_root: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for what, value, lowest in (("batch size", batch_size, 1), ("number of workers", num_workers, 0)):
            if value < lowest:
                raise OutOfRange(f"{what} {value}", allowed=f"{lowest} or more")
        self.dataset_name, self.root, self.split = name, root, split
        self.train_split, self.val_split = train_split, val_split
        self.batch_size, self.num_workers = batch_size, num_workers
        self.augment, self.crop, self.limit, self.shots, self.seed = augment, crop, limit, shots, seed
        self.view: View = images  # or features from a cache
        self.val_name, self.val_root = val_name, val_root
        self._validation: SegmentationDataset | None = None
        self._training: SegmentationDataset | None = None
        self.done: frozenset[str] = frozenset()  # image_ids that are not to be tested again
        self.first_epoch = 0  # of a resumed training: workers begin to read before Lightning sets the epoch
        self._open: dict[str | None, SegmentationDataset] = {}

    def dataset(self, split: str | None) -> SegmentationDataset:
        """One part of the dataset, limited; opened once."""
        if split not in self._open:
            dataset = open_dataset(self.dataset_name, self.root, split)
            self._open[split] = dataset if self.limit is None else dataset.first(self.limit)
        return self._open[split]

    def training_set(self) -> SegmentationDataset:
        """The part to train on, or a few images of each of its classes. Raises BadDataset where none is named."""
        if self.train_split is None:
            raise BadDataset(
                f"training on the dataset {self.dataset_name!r} needs train_split",
                fix="name a split of its splits.json that is not the one to be tested",
            )
        if self._training is None:
            whole = self.dataset(self.train_split)
            self._training = whole if self.shots is None else whole.only(few_shot(whole, self.shots, self.seed))
        return self._training

    def validation_set(self) -> SegmentationDataset:
        """The part to validate on. Raises BadDataset where another dataset has other classes."""
        if self.val_name is None and self.val_root is None:
            return self.dataset(self.val_split)
        if self._validation is None:
            whole = open_dataset(self.val_name or self.dataset_name, self.val_root, self.val_split)
            trained, names = self.training_set().class_list.names, whole.class_list.names
            if names != trained:
                expected, actual = next((a, b) for a, b in zip_longest(trained, names) if a != b)
                raise BadDataset(
                    f"the validation set {self.val_name or self.dataset_name} has other classes than "
                    f"{self.dataset_name}: {actual!r} for {expected!r}",
                    allowed="the same names in the same order",
                )
            self._validation = whole if self.limit is None else whole.first(self.limit)
        return self._validation

    def has_ground_truth(self) -> bool:
        """Whether any pixel of the validation set has a class; reads masks until one has."""
        dataset = self.validation_set()
        for index in range(len(dataset)):
            try:
                if bool((dataset.mask(index, *dataset.size(index)) != IGNORE_INDEX).any()):
                    return True
            except UserError:
                continue  # it is skipped in validation too
        return False

    @property
    def class_list(self) -> ClassList:
        return self.dataset(self.split).class_list

    def train_dataloader(self) -> DataLoader:
        dataset = self.training_set()
        overfit = getattr(self.trainer, "overfit_batches", 0)
        order = EpochShuffle(len(dataset), self.seed, repeated=overfit > 0)
        order.set_epoch(self.first_epoch)
        if not self.augment:
            return self._shared(self.view(dataset, order), order)
        from ca_seg.data.transforms import Augment, Augmented  # only here: albumentations takes seconds to import

        crop = self.crop or min(dataset.size(0))
        views = Augmented(SkipUnreadable(dataset), Augment(crop), self.seed, order)
        return self._shared(Items(views, lambda _: (crop, crop), collate), order)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        validate = (self.val_split, self.val_name, self.val_root) != (None, None, None)
        return self._in_order(self.validation_set()) if validate else []

    def test_dataloader(self) -> DataLoader:
        return self._in_order(self.dataset(self.split), self.done)

    def predict_dataloader(self) -> DataLoader:
        return self._in_order(self.dataset(self.split))

    def _in_order(self, dataset: SegmentationDataset, done: frozenset[str] = frozenset()) -> DataLoader:
        """The images of this process; each image belongs to exactly one process.

        Where none is left, there is one empty batch: Lightning passes over a loader without batches, and its results
        and the other processes would wait for this one.
        """
        rank, world = self._rank_and_world()
        image_ids = dataset.image_ids
        indices = [i for i in range(rank, len(image_ids), world) if image_ids[i] not in done]
        items = self.view(dataset, None)
        return self._loader(items, self._batches(items, indices) if indices else [[]])

    def _shared(self, items: Items, order: EpochShuffle) -> DataLoader:
        """The batches of a training epoch, divided among the processes."""
        rank, world = self._rank_and_world()
        batches = self._batches(items, order)
        return self._loader(items, batches if world == 1 else SharedBatches(batches, rank, world))

    def _loader(self, items: Items, batches: BatchSampler | list[list[int]]) -> DataLoader:
        return DataLoader(
            items.dataset,
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=items.collate,
            generator=torch.Generator().manual_seed(self.seed),
        )

    def _batches(self, items: Items, order: Sequence[int] | EpochShuffle) -> SizeBatchSampler:
        return SizeBatchSampler(order, self.batch_size, drop_last=False, size_of=items.size)

    def _rank_and_world(self) -> tuple[int, int]:
        """The number of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
