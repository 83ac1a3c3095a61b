"""Augmentation moves image and mask together."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from ca_seg.data.batches import EpochShuffle
from ca_seg.data.collate import Skipped, SkipUnreadable, collate
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.data.transforms import Augment, Augmented
from ca_seg.errors import OutOfRange


def halves(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image of red above blue, and its mask of class 3 above class 70."""
    mask = torch.full((height, width), 3)
    mask[height // 2 :] = 70
    return torch.stack([(mask == 3).float(), torch.zeros(height, width), (mask == 70).float()]), mask


@pytest.mark.parametrize(("height", "width"), [(96, 96), (40, 150), (20, 20)])
def test_mask_follows_the_image(height, width) -> None:
    augment = Augment(64)
    image, mask = halves(height, width)
    agreeing = counted = void = 0
    for seed in range(30):
        view, labels = augment(image, mask, seed)
        assert view.shape == (3, 64, 64)
        assert labels.shape == (64, 64)
        assert view.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert 0 <= view.min() <= view.max() <= 1
        assert set(labels.unique().tolist()) <= {3, 70, 255}
        assert (view[:, labels == 255] == view[:, labels == 255][:, :1]).all()  # padding is one colour
        seen = labels != 255
        agreeing += int(((view[0] > view[2]) == (labels == 3))[seen].sum())
        counted += int(seen.sum())
        void += int((~seen).sum())
    assert agreeing / counted > 0.97  # the edge is blurred by scaling, nothing else may differ
    assert (void > 0) == (min(height, width) / 2 < 64)
    assert torch.equal(mask, halves(height, width)[1])


def test_the_seed_determines_the_view() -> None:
    image, mask = torch.rand(3, 50, 50), torch.randint(0, 5, (50, 50))
    first, second = Augment(32), Augment(32)
    for seed in (0, 7, 2**31 - 1):
        assert torch.equal(first(image, mask, seed)[0], second(image, mask, seed)[0])
        assert torch.equal(first(image, mask, seed)[1], second(image, mask, seed)[1])
    views = {first(image, mask, seed)[0].sum().item() for seed in range(10)}
    assert len(views) == 10
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        Augment(0)


def views(dataset: FolderDataset, workers: int, seed: int, epochs: int) -> list[torch.Tensor]:
    order, images = EpochShuffle(len(dataset), seed), list[torch.Tensor]()
    data = Augmented(SkipUnreadable(dataset), Augment(16), seed, order)
    loader = DataLoader(data, batch_size=1, num_workers=workers, collate_fn=collate)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        images += [batch["image"] for batch in loader]
    return images


@pytest.mark.parametrize("workers", [0, 2])
def test_views_differ_between_images_and_epochs_and_depend_on_the_seed(make_folder, workers) -> None:
    root = make_folder([(24, 24)] * 4)
    for number in range(1, 4):  # the same image four times: only the seed can make a difference
        for part in ("images", "masks"):
            (root / part / f"p{number}.png").write_bytes((root / part / "p0.png").read_bytes())
    dataset = FolderDataset(root)
    first, same_seed, new_seed = (views(dataset, workers, seed, 2) for seed in (5, 5, 6))
    assert len({view.sum().item() for view in first}) == 8
    assert all(torch.equal(a, b) for a, b in zip(first, same_seed, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, new_seed, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, views(dataset, 2 - workers, 5, 2), strict=True))


def test_skipped_images_pass_through(make_folder) -> None:
    root = make_folder()
    (root / "images" / "p1.png").write_bytes(b"")
    data = Augmented(SkipUnreadable(FolderDataset(root)), Augment(16), 0, EpochShuffle(3, 0))
    assert isinstance(data[1], Skipped)
    assert data[2]["image_id"] == "p2"
    assert data[2]["path"] == str(root / "images" / "p2.png")
    assert len(data) == 3
