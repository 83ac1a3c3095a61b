"""Random labels with holes, islands in holes, single pixels and ignored pixels, down to an image of one pixel."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np

from ca_seg.labelling.label import Label

NAMES = ("background", "cat", 'a "b" & <c>', "Straße 道", "traffic light", "x: y, z")


def random_mask(seed: int, height: int, width: int, classes: int, kind: str) -> np.ndarray:
    """uint8 [height, width] of 0..classes-1 and 255."""
    rng = np.random.default_rng(seed)
    values = np.append(np.arange(classes), 255).astype(np.uint8)
    if kind == "ignored":
        return np.full((height, width), 255, np.uint8)
    if kind == "uniform":
        return np.full((height, width), values[rng.integers(classes)], np.uint8)
    if kind == "noise":
        return rng.choice(values, (height, width))
    if kind == "specks":  # one class with single pixels of others
        mask = np.full((height, width), values[rng.integers(classes)], np.uint8)
        return np.where(rng.random(mask.shape) < 0.1, rng.choice(values, mask.shape), mask)
    if kind == "rings":  # rings in rings: holes with islands with holes
        y, x = np.mgrid[:height, :width]
        distance = np.maximum(abs(y - rng.integers(height)), abs(x - rng.integers(width)))
        return values[distance // int(rng.integers(1, 3)) % len(values)]
    coarse = rng.choice(values, (height // 3 + 1, width // 3 + 1))
    return coarse.repeat(3, 0).repeat(3, 1)[:height, :width]


KINDS = ("ignored", "uniform", "noise", "specks", "rings", "blocks")


@st.composite
def masks(draw, classes: int = len(NAMES)) -> np.ndarray:
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    return random_mask(draw(st.integers(0, 2**32 - 1)), height, width, classes, draw(st.sampled_from(KINDS)))


def label_of(mask: np.ndarray, key: str = "a/b/0001", ending: str = ".jpg", classes: int = len(NAMES)) -> Label:
    """A label with this mask, random scores and a confidence."""
    rng = np.random.default_rng(int(mask.astype(int).sum()))
    scores = rng.dirichlet(np.ones(classes), mask.shape).transpose(2, 0, 1).astype(np.float32)
    return Label(key, f"{key}{ending}", *mask.shape, mask, scores, scores.max(axis=0))
