"""Images on their way to be labelled: which share a batch is settled by the whole dataset, before anything is run.

    sizes of all images   ──►  plan: batches of one working size  ──►  every world-th batch is this process's
    worker:  file ──► SHA-256 ──► already labelled, and the same? ──► decoded, brought to the working size ──► Batch

A batch is the same in every run, whatever was done before: one that was half done when a run was killed is computed as
a whole again, and only what is missing is kept. So a resumed run gives the bytes of one that was never stopped, for
floating-point sums depend on the shape of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ca_seg.data.batches import SizeBatchSampler
from ca_seg.data.collate import Skipped
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import BadDataset, OutOfRange, UnreadableImage, UserError

MOST_PIXELS = 2**23  # of a batch of images in their own size: 100 MB


class WorkingSize(Protocol):
    """The size at which images enter a backbone. Raises UserError for an image that cannot."""

    def size(self, height: int, width: int) -> tuple[int, int]: ...

    def __call__(self, images: Tensor) -> Tensor: ...  # [B, 3, H, W] to that size


class UnlabelledBatch(TypedDict):
    image: Tensor  # float32 [B, 3, h, w] in 0..1; B is 0 when nothing of the batch is wanted
    key: list[str]  # of each image: its path without its ending
    file: list[str]  # the same with its ending
    path: list[str]  # for messages
    sha256: list[str]  # of its file
    size: list[tuple[int, int]]  # its own height and width
    wanted: list[bool]  # not labelled yet; the others are company
    skipped: list[Skipped]


class ToLabel(Dataset):
    """Batches of images by their indices. `done` has the SHA-256 of the images that are labelled, by key.

    With `whole`, images stay in their own size (a refinement looks at their pixels), and a batch has one size.
    Raises BadDataset for a dataset whose images are no files.
    """

    def __init__(
        self, dataset: SegmentationDataset, working: WorkingSize, *, done: Mapping[str, str], whole: bool = False
    ) -> None:
        if not dataset.image_path(0).suffix:
            raise BadDataset(f"the images of {dataset.root} are no files", fix="write them to a folder first")
        self.dataset, self.working, self.done, self.whole = dataset, working, done, whole

    def plan(self, batch_size: int) -> list[list[int]]:
        """All batches of the dataset. An image that cannot be used shares one with others of its kind."""
        order = SizeBatchSampler(range(len(self.dataset)), batch_size, drop_last=False, size_of=self._size)
        if not self.whole:
            return list(order)
        batches = []
        for batch in order:
            height, width = order.size(batch[0]) or (1, 1)
            step = max(1, MOST_PIXELS // (height * width))
            batches += [batch[start : start + step] for start in range(0, len(batch), step)]
        return batches

    def __getitem__(self, batch: Sequence[int]) -> UnlabelledBatch:
        read: list[tuple[int, bytes, str]] = []
        skipped: list[Skipped] = []
        for index in batch:
            try:
                content = self.dataset.image_bytes(index)
            except UnreadableImage as problem:
                skipped.append(Skipped(self._name(index), str(problem)))
            else:
                read.append((index, content, hashlib.sha256(content).hexdigest()))
        keys = self.dataset.image_ids
        wanted = [self.done.get(keys[index]) != sha256 for index, _, sha256 in read]
        made = UnlabelledBatch(
            image=torch.empty(0, 3, 0, 0), key=[], file=[], path=[], sha256=[], size=[], wanted=[], skipped=skipped
        )
        images = []
        for (index, content, sha256), missing in zip(read, wanted, strict=True):
            if not any(wanted):
                break
            try:
                image = read_image(HeldFile(content, self.dataset.image_path(index)))
                size = (image.shape[1], image.shape[2])
                self.working.size(*size)
            except UserError as problem:
                skipped.append(Skipped(self._name(index), str(problem)))
                continue
            images.append(image if self.whole else self.working(image[None])[0])
            made["key"].append(keys[index])
            made["file"].append(keys[index] + self.dataset.image_path(index).suffix)
            made["path"].append(self._name(index))
            made["sha256"].append(sha256)
            made["size"].append(size)
            made["wanted"].append(missing)
        if images:
            made["image"] = torch.stack(images)
        return made

    def _size(self, index: int) -> tuple[int, int]:
        own = self.dataset.size(index)
        try:
            working = self.working.size(*own)
        except UserError as problem:
            raise UnreadableImage(str(problem)) from problem
        return own if self.whole else working

    def _name(self, index: int) -> str:
        """The image's path as any file can hold it, for names may have bytes that are no UTF-8."""
        return str(self.dataset.image_path(index)).encode("utf-8", "backslashreplace").decode()


class ImagesToLabel(pl.LightningDataModule):
    """The batches of this process. `images` is called when the loader is made, once all processes have started."""

    def __init__(self, images: Callable[[], ToLabel], *, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__()
        for what, value, lowest in (("batch size", batch_size, 1), ("number of workers", num_workers, 0)):
            if value < lowest:
                raise OutOfRange(f"{what} {value}", allowed=f"{lowest} or more")
        self.images, self.batch_size, self.num_workers = images, batch_size, num_workers

    def predict_dataloader(self) -> Loaded:
        images = self.images()
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return Loaded(images, images.plan(self.batch_size)[rank::world], self.num_workers)


class Loaded:
    """A loader that Lightning takes as it is: a DataLoader it would build anew for prediction, with its own batches.

    Workers come from a server process and not as forks of this one: a fork would keep the locks of a killed run.
    """

    def __init__(self, images: ToLabel, batches: list[list[int]], num_workers: int) -> None:
        self.batches = batches
        self._loader = DataLoader(
            images,
            batch_size=None,
            sampler=batches,  # type: ignore[arg-type]  # any sequence serves
            num_workers=num_workers,
            collate_fn=_as_it_is,
            multiprocessing_context="forkserver" if num_workers else None,
        )

    def __iter__(self) -> Iterator[UnlabelledBatch]:
        yield from self._loader  # a generator: Lightning asks for an iterator once more than it needs, to look at it

    def __len__(self) -> int:
        return len(self.batches)


def _as_it_is(batch: Any) -> Any:
    return batch
