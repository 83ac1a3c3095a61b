"""Batches: one size each, every image once, and a broken file costs only itself."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from lightning_fabric.utilities.apply_func import move_data_to_device
from PIL import Image
from torch.utils.data import DataLoader

from ca_seg.data.batches import EpochShuffle, SharedBatches, SizeBatchSampler
from ca_seg.data.collate import Skipped, SkipUnreadable, collate
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.errors import BadDataset, OutOfRange, UnreadableImage


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 6), st.randoms(use_true_random=False), st.booleans())
def test_every_index_once_and_one_size_a_batch(sizes, batch_size, random, drop_last) -> None:
    order = list(range(len(sizes)))
    random.shuffle(order)
    asked: list[int] = []

    def size_of(index: int) -> tuple[int, int]:
        asked.append(index)
        if sizes[index] == 0:
            raise UnreadableImage("no head")
        return sizes[index], 8

    sampler = SizeBatchSampler(order, batch_size, drop_last, size_of)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert batches == list(sampler)
    assert sorted(asked) == sorted(order)  # each head was read once, in three passes
    assert all(len({sizes[index] for index in batch}) == 1 for batch in batches)
    assert all(len(batch) <= batch_size for batch in batches)
    counts = [sizes.count(size) for size in set(sizes)]
    if drop_last:
        assert len(batches) == sum(count // batch_size for count in counts)
        assert all(len(batch) == batch_size for batch in batches)
    else:
        assert sorted(itertools.chain(*batches)) == sorted(order)
        assert len(batches) == sum((count + batch_size - 1) // batch_size for count in counts)
    for batch in batches:  # neighbours stay neighbours
        assert [order.index(index) for index in batch] == sorted(order.index(index) for index in batch)


def test_the_drawing_of_the_docstring_and_heads_read_as_needed() -> None:
    asked: list[int] = []

    def size_of(index: int) -> tuple[int, int]:
        asked.append(index)
        return (1, 1) if "AABABA"[index] == "A" else (2, 1)

    batches = iter(SizeBatchSampler(range(6), 2, False, size_of))
    assert next(batches) == [0, 1]
    assert asked == [0, 1]
    assert list(batches) == [[2, 4], [3, 5]]
    with pytest.raises(OutOfRange, match="batch size 0"):
        SizeBatchSampler(range(6), 0, False, size_of)


def test_shuffle_follows_from_seed_and_epoch() -> None:
    first, again, other = EpochShuffle(50, 1), EpochShuffle(50, 1), EpochShuffle(50, 2)
    assert sorted(first) == list(range(50)) != list(first)
    assert list(first) == list(again) != list(other)
    first.set_epoch(3)
    assert list(first) != list(again)
    again.set_epoch(3)
    assert list(first) == list(again)
    assert len(first) == 50


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_reported_and_the_rest_goes_on(make_folder, workers) -> None:
    root = make_folder([(6, 8), (5, 9), (6, 8), (6, 8), (5, 9), (6, 8)])
    whole = (root / "images" / "p2.png").read_bytes()
    (root / "images" / "p2.png").write_bytes(whole[:-40])  # a good head, cut pixels
    (root / "images" / "p4.png").write_bytes(b"")  # no head
    dataset = FolderDataset(root)
    sampler = SizeBatchSampler(range(6), 3, False, dataset.size)
    batches = list(DataLoader(SkipUnreadable(dataset), batch_sampler=sampler, num_workers=workers, collate_fn=collate))
    assert [batch["image_id"] for batch in batches] == [["p0", "p3"], ["p1"], [], ["p5"]]
    skipped = [item for batch in batches for item in batch["skipped"]]
    assert [item.path for item in skipped] == [str(root / "images" / f"p{n}.png") for n in (2, 4)]
    assert all(item.path in item.reason for item in skipped)
    assert batches[0]["image"].shape == (2, 3, 6, 8)
    assert torch.equal(batches[0]["mask"][1], dataset[3]["mask"])
    assert batches[2]["image"].shape[0] == batches[2]["mask"].shape[0] == 0


def test_other_errors_are_not_hidden() -> None:
    class Faulty:
        def __getitem__(self, index: int) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        SkipUnreadable(Faulty())[0]


def test_two_sizes_in_one_batch_are_named(make_folder) -> None:
    dataset = FolderDataset(make_folder([(6, 8), (5, 9)]))
    with pytest.raises(BadDataset, match=r"p0.png is 8 x 6, .*p1.png is 9 x 5. Use batch size 1"):
        collate([dataset[0], dataset[1]])


def test_lightning_can_move_a_batch_with_skipped_images(make_folder) -> None:
    batch = collate([FolderDataset(make_folder())[0], Skipped("a.png", "broken")])
    assert move_data_to_device(batch, torch.device("cpu"))["skipped"] == [Skipped("a.png", "broken")]


def test_a_bad_mask_is_skipped_too(make_folder) -> None:
    root = make_folder()
    Image.new("L", (8, 6), 3).save(root / "masks" / "p1.png")
    dataset = SkipUnreadable(FolderDataset(root))
    batch = collate([dataset[index] for index in range(3)])
    assert batch["image_id"] == ["p0", "p2"]
    assert batch["skipped"][0].path == str(root / "images" / "p1.png")
    assert "masks/p1.png: the mask has label 3" in batch["skipped"][0].reason


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 5))
def test_processes_share_the_batches_and_take_equally_many(count, batch_size, world) -> None:
    def whole() -> SizeBatchSampler:
        return SizeBatchSampler(EpochShuffle(count, 0), batch_size, False, lambda index: (index % 2 + 1, 8))

    every = list(whole())
    shares = [SharedBatches(whole(), rank, world) for rank in range(world)]
    taken = [list(share) for share in shares]
    assert {len(own) for own in taken} == {len(share) for share in shares} == {-(-len(every) // world)}
    in_order = [batch for step in zip(*taken, strict=True) for batch in step]
    assert in_order[: len(every)] == every
    assert all(batch in every[:world] for batch in in_order[len(every) :])
    shares[0].sampler.set_epoch(1)  # as Lightning does
    assert count < 6 or list(shares[0]) != taken[0]
