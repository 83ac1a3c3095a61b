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
from ca_seg.review.choice import Choice, image_confidence

NAMES = ("cat", "cow", "dog", "sky")


def entries(count: int, seed: int = 0) -> Iterator[Entry]:
    """Some without a label, some alike."""
    draw = random.Random(seed)
    for number in range(count):
        present = draw.sample(NAMES, draw.randint(0, 3))
        area = {name: draw.randint(1, 30) for name in present}
        sure = {name: draw.choice([0.1, 0.25, 0.5, 0.9]) for name in present}
        yield Entry(f"{number:06d}", f"{number:06d}.jpg", 10, 10, "0" * 64, (), area, sure, 0.1)


def keys(count: int, by: str, given: list[Entry]) -> list[str]:
    choice = Choice(count, by)
    for entry in given:
        choice.add(entry)
    return [entry.key for entry in choice.chosen]


def test_the_least_certain_against_sorting() -> None:
    given = list(entries(300))
    random.Random(1).shuffle(given)
    score = {e.key: sum(e.area[n] * e.confidence[n] for n in e.area) / 100 for e in given}
    assert keys(40, "confidence", given) == sorted(score, key=lambda key: (score[key], key))[:40]
    assert keys(1000, "confidence", given) == sorted(score, key=lambda key: (score[key], key))
    pixels = np.zeros(100)  # an ignored pixel counts as 0
    pixels[:30] = 0.5
    half = Entry("a", "a.jpg", 10, 10, "", (), {"cat": 30}, {"cat": 0.5}, 0)
    assert image_confidence(half) == pytest.approx(pixels.mean())


def test_the_smallest_area_against_sorting() -> None:
    given = list(entries(300))
    random.Random(1).shuffle(given)
    score = {e.key: min(e.area.values()) for e in given if e.area}
    assert keys(40, "area", given) == sorted(score, key=lambda key: (score[key], key))[:40]


def test_classes_take_turns() -> None:
    given = list(entries(300))
    chosen = keys(8, "class", given)
    for turn in range(2):
        for place, name in enumerate(sorted(NAMES)):
            own = sorted((e.confidence[name], e.key) for e in given if name in e.area)
            assert own[turn][1] in chosen[: 4 * turn + place + 1]  # here, or before as the turn of another class
    assert len(set(chosen)) == 8


def test_the_sample_is_fair() -> None:
    given, drawn = list(entries(20)), Counter()
    for seed in range(2000):
        choice = Choice(1, "confidence", sample=5, seed=seed)
        for entry in given:
            choice.add(entry)
        assert len({entry.key for entry in choice.sampled}) == 5
        drawn.update(entry.key for entry in choice.sampled)
    assert all(abs(drawn[entry.key] - 500) < 100 for entry in given)  # 5 deviations


def test_memory_does_not_grow_with_the_run() -> None:
    def peak(count: int) -> int:
        choice = Choice(20, "class", sample=20)
        tracemalloc.start()
        for entry in entries(count):
            choice.add(entry)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)
    assert peak(20_000) < 1.3 * peak(1000)


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UnknownName, match="size"):
        Choice(1, "size")
    with pytest.raises(UserError, match=r"^a "):
        Choice(1, "area").add(Entry("a", "a.jpg", 10, 10, "", (), {"cat": 30}, {}, 0))
