"""Batches: one image size per batch, each image once, and a broken file does not stop the others."""

from __future__ import annotations

import itertools
import re

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
def test_batches_have_each_index_once_and_one_size(sizes, batch_size, random, drop_last) -> None:
    order = list(range(len(sizes)))
    random.shuffle(order)
    size_reads: list[int] = []

    def size_of(index: int) -> tuple[int, int]:
        size_reads.append(index)
        if sizes[index] == 0:
            raise UnreadableImage("no header")
        return sizes[index], 8

    sampler = SizeBatchSampler(order, batch_size, drop_last, size_of)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert batches == list(sampler)
    assert sorted(size_reads) == sorted(order)  # each size was read once, in three passes
    assert all(len({sizes[index] for index in batch}) == 1 for batch in batches)
    assert all(len(batch) <= batch_size for batch in batches)
    counts = [sizes.count(size) for size in set(sizes)]
    if drop_last:
        assert len(batches) == sum(count // batch_size for count in counts)
        assert all(len(batch) == batch_size for batch in batches)
    else:
        assert sorted(itertools.chain(*batches)) == sorted(order)
        assert len(batches) == sum((count + batch_size - 1) // batch_size for count in counts)
    for batch in batches:  # the order is kept within a batch
        assert [order.index(index) for index in batch] == sorted(order.index(index) for index in batch)


def test_the_example_of_the_docstring_and_sizes_read_as_needed() -> None:
    size_reads: list[int] = []

    def size_of(index: int) -> tuple[int, int]:
        size_reads.append(index)
        return (1, 1) if "AABABA"[index] == "A" else (2, 1)

    batches = iter(SizeBatchSampler(range(6), 2, False, size_of))
    assert next(batches) == [0, 1]
    assert size_reads == [0, 1]
    assert list(batches) == [[2, 4], [3, 5]]
    with pytest.raises(OutOfRange, match=r"\b0\b"):
        SizeBatchSampler(range(6), 0, False, size_of)


def test_the_shuffled_order_depends_on_seed_and_epoch() -> None:
    first, same_seed, new_seed = EpochShuffle(50, 1), EpochShuffle(50, 1), EpochShuffle(50, 2)
    assert sorted(first) == list(range(50)) != list(first)
    assert list(first) == list(same_seed) != list(new_seed)
    first.set_epoch(3)
    assert list(first) != list(same_seed)
    same_seed.set_epoch(3)
    assert list(first) == list(same_seed)
    assert len(first) == 50


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_reported_and_the_others_are_read(make_folder, workers) -> None:
    root = make_folder([(6, 8), (5, 9), (6, 8), (6, 8), (5, 9), (6, 8)])
    content = (root / "images" / "p2.png").read_bytes()
    (root / "images" / "p2.png").write_bytes(content[:-40])  # a good header, truncated pixels
    (root / "images" / "p4.png").write_bytes(b"")  # no header
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


def test_two_sizes_in_one_batch_are_refused(make_folder) -> None:
    dataset = FolderDataset(make_folder([(6, 8), (5, 9)]))
    with pytest.raises(BadDataset, match=r"p0\.png.*8 x 6.*p1\.png.*9 x 5"):
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
    assert re.search(r"masks/p1\.png.* 3\b", batch["skipped"][0].reason)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 5))
def test_processes_share_the_batches_equally(count, batch_size, world) -> None:
    def all_batches() -> SizeBatchSampler:
        return SizeBatchSampler(EpochShuffle(count, 0), batch_size, False, lambda index: (index % 2 + 1, 8))

    batches = list(all_batches())
    samplers = [SharedBatches(all_batches(), rank, world) for rank in range(world)]
    batches_of_rank = [list(sampler) for sampler in samplers]
    assert set(map(len, batches_of_rank)) == set(map(len, samplers)) == {-(-len(batches) // world)}
    in_order = [batch for step in zip(*batches_of_rank, strict=True) for batch in step]
    assert in_order[: len(batches)] == batches
    assert all(batch in batches[:world] for batch in in_order[len(batches) :])
    samplers[0].sampler.set_epoch(1)  # as Lightning does
    assert count < 6 or list(samplers[0]) != batches_of_rank[0]
