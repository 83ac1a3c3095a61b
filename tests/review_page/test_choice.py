"""The chosen images against sorting all of them."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from ca_seg.errors import UnknownName, UserError
from ca_seg.labelling.entry import Entry
from ca_seg.review_page.choice import Choice, image_confidence

NAMES = ("cat", "cow", "dog", "sky")


def entries(count: int, seed: int = 0) -> Iterator[Entry]:
    """Random entries: some without a label, some with the same values."""
    rng = random.Random(seed)
    for number in range(count):
        present = rng.sample(NAMES, rng.randint(0, 3))
        area = {name: rng.randint(1, 30) for name in present}
        confidence = {name: rng.choice([0.1, 0.25, 0.5, 0.9]) for name in present}
        yield Entry(f"{number:06d}", f"{number:06d}.jpg", 10, 10, "0" * 64, (), area, confidence, 0.1)


def chosen_keys(count: int, by: str, candidates: list[Entry]) -> list[str]:
    choice = Choice(count, by)
    for entry in candidates:
        choice.add(entry)
    return [entry.key for entry in choice.chosen]


def test_the_least_confident_against_sorting() -> None:
    candidates = list(entries(300))
    random.Random(1).shuffle(candidates)
    score = {e.key: sum(e.area[n] * e.confidence[n] for n in e.area) / 100 for e in candidates}
    assert chosen_keys(40, "confidence", candidates) == sorted(score, key=lambda key: (score[key], key))[:40]
    assert chosen_keys(1000, "confidence", candidates) == sorted(score, key=lambda key: (score[key], key))
    pixels = np.zeros(100)  # an ignored pixel counts as 0
    pixels[:30] = 0.5
    partly_labelled = Entry("a", "a.jpg", 10, 10, "", (), {"cat": 30}, {"cat": 0.5}, 0)
    assert image_confidence(partly_labelled) == pytest.approx(pixels.mean())


def test_the_smallest_area_against_sorting() -> None:
    candidates = list(entries(300))
    random.Random(1).shuffle(candidates)
    score = {e.key: min(e.area.values()) for e in candidates if e.area}
    assert chosen_keys(40, "area", candidates) == sorted(score, key=lambda key: (score[key], key))[:40]


def test_classes_take_turns() -> None:
    candidates = list(entries(300))
    chosen = chosen_keys(8, "class", candidates)
    for turn in range(2):
        for index, name in enumerate(sorted(NAMES)):
            by_confidence = sorted((e.confidence[name], e.key) for e in candidates if name in e.area)
            assert by_confidence[turn][1] in chosen[: 4 * turn + index + 1]  # an earlier class may have chosen it
    assert len(set(chosen)) == 8


def test_the_sample_is_uniform() -> None:
    candidates, counts = list(entries(20)), Counter()
    for seed in range(2000):
        choice = Choice(1, "confidence", sample=5, seed=seed)
        for entry in candidates:
            choice.add(entry)
        assert len({entry.key for entry in choice.sampled}) == 5
        counts.update(entry.key for entry in choice.sampled)
    assert all(abs(counts[entry.key] - 500) < 100 for entry in candidates)  # 5 deviations


def test_memory_does_not_grow_with_the_run() -> None:
    def peak(count: int) -> int:
        choice = Choice(20, "class", sample=20)
        tracemalloc.start()
        for entry in entries(count):
            choice.add(entry)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(100)
    assert peak(20_000) < 1.3 * peak(1000)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(UnknownName, match="size"):
        Choice(1, "size")
    with pytest.raises(UserError, match=r"^a "):
        Choice(1, "area").add(Entry("a", "a.jpg", 10, 10, "", (), {"cat": 30}, {}, 0))
