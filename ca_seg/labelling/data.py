"""The images that are to be labelled, in batches that are planned before anything runs.

    sizes of all images   ──►  plan: batches of one working size  ──►  every n-th batch is this process's
    worker:  file ──► SHA-256 ──► labelled already? ──► decoded, resized to the working size ──► UnlabelledBatch

Batches are planned over the whole dataset, so they are the same in every run, whatever is labelled already. A batch
that was half done when a run was killed is computed in full again, and only the missing labels are written. So a
resumed run is byte-identical to an uninterrupted one: floating-point sums depend on the shape of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ca_seg.backbones.images import WorkingSize
from ca_seg.data.batches import SizeBatchSampler
from ca_seg.data.collate import Skipped
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import BadDataset, OutOfRange, UnreadableImage, UserError

BATCHES_PER_WORKER = 16  # starting a worker takes as long as reading hundreds of images
MAX_PIXELS = 2**23  # of a batch of images in their own size: 100 MB


class UnlabelledBatch(TypedDict):
    image: Tensor  # float32 [B, 3, h, w] in 0..1; B is 0 when no image of the batch needs a label
    key: list[str]  # of each image: its relative path without its ending
    file: list[str]  # the same with its ending
    path: list[str]  # for messages
    sha256: list[str]  # of its file
    size: list[tuple[int, int]]  # its own height and width
    wanted: list[bool]  # whether it needs a label; the others are there because a batch is computed in full
    skipped: list[Skipped]


class UnlabelledImages(Dataset):
    """Batches of images, by the indices of a batch.

    Args:
        dataset: the images
        working_size: the size at which images enter the backbone
        labelled: images that have labels already: key -> SHA-256 of the image's file
        full_size: leave images in their own size, for a predictor that looks at their pixels; the images of a batch
            then have one size

    Raises:
        BadDataset: for a dataset whose images are not files
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        working_size: WorkingSize,
        *,
        labelled: Mapping[str, str],
        full_size: bool = False,
    ) -> None:
        if not dataset.image_path(0).suffix:
            raise BadDataset(f"the images of {dataset.root} are not files", fix="write them to a folder first")
        self.dataset, self.working_size, self.labelled, self.full_size = dataset, working_size, labelled, full_size

    def plan(self, batch_size: int) -> list[list[int]]:
        """All batches of the dataset, as indices. Images that cannot be used share batches of their own."""
        order = SizeBatchSampler(range(len(self.dataset)), batch_size, drop_last=False, size_of=self._size)
        if not self.full_size:
            return list(order)
        batches = []
        for batch in order:
            height, width = order.size(batch[0]) or (1, 1)
            step = max(1, MAX_PIXELS // (height * width))
            batches += [batch[start : start + step] for start in range(0, len(batch), step)]
        return batches

    def __getitem__(self, indices: Sequence[int]) -> UnlabelledBatch:
        files: list[tuple[int, bytes, str]] = []
        skipped: list[Skipped] = []
        for index in indices:
            try:
                content = self.dataset.image_bytes(index)
            except UnreadableImage as problem:
                skipped.append(Skipped(self.path(index), str(problem)))
            else:
                files.append((index, content, hashlib.sha256(content).hexdigest()))
        keys = self.dataset.image_ids
        wanted = [self.labelled.get(keys[index]) != sha256 for index, _, sha256 in files]
        batch = UnlabelledBatch(
            image=torch.empty(0, 3, 0, 0), key=[], file=[], path=[], sha256=[], size=[], wanted=[], skipped=skipped
        )
        images = []
        for (index, content, sha256), is_wanted in zip(files, wanted, strict=True):
            if not any(wanted):
                break
            try:
                image = read_image(HeldFile(content, self.dataset.image_path(index)))
                size = (image.shape[1], image.shape[2])
                self.working_size.size(*size)  # raises for an image that is too stretched
            except UserError as problem:
                skipped.append(Skipped(self.path(index), str(problem)))
                continue
            images.append(image if self.full_size else self.working_size(image[None])[0])
            batch["key"].append(keys[index])
            batch["file"].append(keys[index] + self.dataset.image_path(index).suffix)
            batch["path"].append(self.path(index))
            batch["sha256"].append(sha256)
            batch["size"].append(size)
            batch["wanted"].append(is_wanted)
        if images:
            batch["image"] = torch.stack(images)
        return batch

    def _size(self, index: int) -> tuple[int, int]:
        size = self.dataset.size(index)
        try:
            working_size = self.working_size.size(*size)
        except UserError as problem:
            raise UnreadableImage(str(problem)) from problem
        return size if self.full_size else working_size

    def path(self, index: int) -> str:
        """The image's path as any file can hold it: names may have bytes that are not UTF-8."""
        return str(self.dataset.image_path(index)).encode("utf-8", "backslashreplace").decode()


class UnlabelledData(pl.LightningDataModule):
    """The batches of this process, for Lightning.

    Args:
        images: called when the loader is made, which is after all processes have started
        batch_size: images per batch
        num_workers: processes that read images, at most one for 16 batches; 0: this one
    """

    def __init__(self, images: Callable[[], UnlabelledImages], *, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__()
        for what, value, minimum in (("batch size", batch_size, 1), ("number of workers", num_workers, 0)):
            if value < minimum:
                raise OutOfRange(f"{what} {value}", allowed=f"{minimum} or more")
        self.images, self.batch_size, self.num_workers = images, batch_size, num_workers

    def predict_dataloader(self) -> BatchLoader:
        """Where more processes than batches are, there is one empty batch: Lightning refuses a loader without any."""
        images = self.images()
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return BatchLoader(images, images.plan(self.batch_size)[rank::world_size] or [[]], self.num_workers)


class BatchLoader:
    """Loads planned batches. Not a DataLoader itself: Lightning would rebuild that with batches of its own.

    Workers come from a server process instead of being forked from this one. A fork would keep the locks of a run that
    was killed.
    """

    def __init__(self, images: UnlabelledImages, batches: list[list[int]], num_workers: int) -> None:
        self.batches = batches
        num_workers = min(num_workers, len(batches) // BATCHES_PER_WORKER)
        self._loader = DataLoader(
            images,
            batch_size=None,
            sampler=batches,
            num_workers=num_workers,
            collate_fn=_unchanged,
            multiprocessing_context="forkserver" if num_workers else None,
        )

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        yield from self._loader  # a generator: Lightning asks for one iterator more than it uses

    def __len__(self) -> int:
        return len(self.batches)


def _unchanged(batch: Any) -> Any:
    return batch
