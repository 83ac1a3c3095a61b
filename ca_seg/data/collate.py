"""What a dataset gives: an image with its mask, or the reason why it could not be read.

    dataset[i] ──►  Sample                       ┐
    dataset[i] ──►  Skipped(path, reason)        ├─ collate ──►  Batch: the samples stacked, the skipped listed
    dataset[i] ──►  Sample                       ┘

So one broken file among thousands does not end the run, and it is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import NotRequired

from ca_seg.errors import BadDataset, BadMask, UnreadableImage


class Sample(TypedDict):
    """An image with its mask."""

    image: Tensor  # float32 [3, H, W] in 0..1, in the size of the file
    mask: Tensor  # int64 [H, W], class indices, 255 is void
    image_id: str  # the name of the image in its dataset
    path: str  # of the image
    weight: NotRequired[Tensor]  # float32 [H, W], how much each pixel counts in training


class Skipped(NamedTuple):
    """An image that could not be used. (A tuple, because Lightning cannot carry a frozen dataclass in a batch.)"""

    path: str
    reason: str


class Batch(TypedDict):
    """Images of one size with their masks."""

    image: Tensor  # float32 [B, 3, H, W]; B is 0 where every image of the batch was skipped
    mask: Tensor  # int64 [B, H, W]
    image_id: list[str]
    path: list[str]
    skipped: list[Skipped]
    weight: NotRequired[Tensor]  # float32 [B, H, W], where the samples have one


class ImageFiles(Protocol):
    """A dataset of a known length whose images have paths."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...

    def image_path(self, index: int) -> Path: ...


class SkipUnreadable(Dataset):
    """A dataset in which an image or mask that cannot be used is a `Skipped` and not an error.

    Only UnreadableImage and BadMask are caught; any other error is a bug, and ends the run.
    """

    def __init__(self, dataset: ImageFiles) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample | Skipped:
        try:
            return self.dataset[index]
        except (UnreadableImage, BadMask) as error:
            return Skipped(str(self.dataset.image_path(index)), str(error))


def collate(items: Sequence[Sample | Skipped]) -> Batch:
    """Items to one batch. Raises BadDataset for images of several sizes (see `SizeBatchSampler`)."""
    return batch_of(items, "image", torch.empty(0, 3, 0, 0))  # type: ignore[return-value]


def batch_of(items: Sequence[Any], content: str, nothing: Tensor) -> dict[str, Any]:
    """Items to one batch of images or of features.

    Args:
        items: samples with a `mask`, and skipped ones
        content: the key of the tensor to stack: "image" or "features"
        nothing: the stack of no samples

    Raises:
        BadDataset: for samples of several sizes
    """
    skipped = [item for item in items if isinstance(item, Skipped)]
    samples = [item for item in items if not isinstance(item, Skipped)]
    sizes = {(tuple(s["mask"].shape), tuple(s[content].shape[1:])): s["path"] for s in samples}
    if len(sizes) > 1:
        ((size_a, _), path_a), ((size_b, _), path_b) = list(sizes.items())[:2]
        raise BadDataset(
            f"images of {len(sizes)} sizes in one batch: {path_a} is {_size(size_a)}, {path_b} is {_size(size_b)}",
            fix="use batch size 1, or batches by size",
        )
    batch = {
        content: torch.stack([s[content] for s in samples]) if samples else nothing,
        "mask": torch.stack([s["mask"] for s in samples]) if samples else torch.empty(0, 0, 0, dtype=torch.int64),
        "image_id": [s["image_id"] for s in samples],
        "path": [s["path"] for s in samples],
        "skipped": skipped,
    }
    if samples and "weight" in samples[0]:
        batch["weight"] = torch.stack([s["weight"] for s in samples])
    return batch


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"
