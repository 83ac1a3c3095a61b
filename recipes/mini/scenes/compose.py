"""Composed scenes: one to four objects on one or two stuffs, with their caption and their exact mask.

stuff ──split by a wavy line──► ground ──objects, far to near, each with light and shadow──► image
  mask: the stuff's class, then each object's      caption: the words of everything visible
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from recipes.mini.scenes.objects import SIDE, ObjectLibrary
from recipes.mini.scenes.stuff import KINDS, render

MIN_SIDE, MAX_SIDE = 26, 72  # pixels of an object's long side
MAX_FRACTION = 0.8  # an object's long side / the image's short side
MAX_HIDDEN = 0.4  # of an object's area outside the border; and of its visible area, behind each later object
MIN_VISIBLE = 40  # pixels of an object or stuff for which its word is in the caption
MAX_TRIES = 12  # positions tried for an object


@dataclass(frozen=True)
class Scene:
    image: np.ndarray  # uint8 [H, W, 3]
    mask: np.ndarray  # uint8 [H, W]: 1 + the word's index in the composer's words
    words: tuple[str, ...]  # the caption: visible objects, then visible stuffs


class SceneComposer:
    """Composes scenes of the words of `objects` and of all stuffs. All randomness comes from the caller's generator."""

    def __init__(self, objects: ObjectLibrary, *, height: int = 128, width: int = 128) -> None:
        self.objects, self.height, self.width = objects, height, width
        self.stuff_words = tuple(KINDS)
        self.words = (*objects.words, *self.stuff_words)
        self._number = {word: i + 1 for i, word in enumerate(self.words)}

    def compose(
        self,
        rng: np.random.Generator,
        *,
        height: int | None = None,
        width: int | None = None,
        objects: int | tuple[int, int] = (1, 4),
        stuffs: tuple[int, int] = (1, 2),
        words: Sequence[str] | None = None,
        stuff_words: Sequence[str] | None = None,
    ) -> Scene:
        """One scene.

        Args:
            rng: the source of all randomness
            height, width: in pixels (default: the composer's)
            objects: how many, a number or an inclusive range
            stuffs: how many, an inclusive range
            words: the objects to choose from (default: all)
            stuff_words: the stuffs to choose from (default: all)
        """
        h, w = height or self.height, width or self.width
        kinds = rng.choice(stuff_words or self.stuff_words, rng.integers(stuffs[0], stuffs[1] + 1), replace=False)
        image, mask = self._ground(rng, kinds, h, w)
        count = objects if isinstance(objects, int) else int(rng.integers(objects[0], objects[1] + 1))
        pool = self.objects.words if words is None else words
        chosen = [pool[i] for i in rng.permutation(len(pool))[:count]]
        for word in chosen:
            self._place(rng, image, mask, word)
        image = self._light(rng, image)
        visible = np.bincount(mask.ravel(), minlength=len(self.words) + 1) >= MIN_VISIBLE
        return Scene(
            np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8),
            mask,
            tuple(word for word in (*chosen, *map(str, kinds)) if visible[self._number[word]]),
        )

    def _ground(self, rng: np.random.Generator, kinds: Sequence[str], h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
        image = render(kinds[0], rng, h, w).astype(np.float32)
        mask = np.full((h, w), self._number[str(kinds[0])], np.uint8)
        if len(kinds) == 2:
            along, across = (w, h) if rng.random() < 0.75 else (h, w)
            position = np.arange(along, dtype=np.float32)
            line = across * rng.uniform(0.3, 0.7) + rng.normal(0, 0.15) * (position - along / 2)
            line += rng.uniform(0, 5) * np.sin(position * rng.uniform(0.02, 0.12) + rng.uniform(0, 6))
            beyond = np.arange(across)[:, None] > np.clip(line, 0.2 * across, 0.8 * across)
            beyond = beyond if along == w and across == h else beyond.T
            image = np.where(beyond[..., None], render(kinds[1], rng, h, w), image).astype(np.float32)
            mask[beyond] = self._number[str(kinds[1])]
        return image, mask

    def _place(self, rng: np.random.Generator, image: np.ndarray, mask: np.ndarray, word: str) -> None:
        """Draw one object where it hides at most MAX_HIDDEN of each earlier one; omit it after MAX_TRIES positions."""
        h, w = mask.shape
        images = self.objects.images[word]
        pyramid = images[rng.integers(len(images))]
        long = rng.uniform(MIN_SIDE, min(MAX_SIDE, MAX_FRACTION * min(h, w)))
        flip = rng.random() < 0.5
        angle = rng.uniform(-25, 25)
        before = np.bincount(mask.ravel(), minlength=len(self.words) + 1)
        objects = len(self.objects.words)
        for _ in range(MAX_TRIES):
            cx, cy = rng.uniform(0.25 * long, w - 0.25 * long), rng.uniform(0.25 * long, h - 0.25 * long)
            layer = _drawn(pyramid, long, angle, flip, cx, cy, h, w)
            solid = layer[..., 3] > 0.5
            whole = _area(pyramid, long)
            hidden = np.bincount(mask[solid], minlength=len(before))[1 : objects + 1]
            visible = np.maximum(before[1 : objects + 1], 1)
            if solid.sum() >= max(MIN_VISIBLE, (1 - MAX_HIDDEN) * whole) and (hidden <= MAX_HIDDEN * visible).all():
                break
        else:
            return
        if rng.random() < 0.5:
            _shadow(rng, image, layer[..., 3], long)
        colour = _relit(rng, layer[..., :3], layer[..., 3:])
        image *= 1 - layer[..., 3:]
        image += colour
        mask[solid] = self._number[word]

    def _light(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        h, w = image.shape[:2]
        corners = rng.normal(1.0, 0.08, (2, 2)).astype(np.float32)
        image = image * cv2.resize(corners, (w, h))[..., None] * rng.normal(1, 0.03, 3).astype(np.float32)
        if rng.random() < 0.2:
            image = cv2.GaussianBlur(image, (3, 3), 0.7)
        if rng.random() < 0.3:
            image = image + rng.standard_normal(image.shape, dtype=np.float32) * 0.02
        return image


def _drawn(
    pyramid: tuple[np.ndarray, ...], long: float, angle: float, flip: bool, cx: float, cy: float, h: int, w: int
) -> np.ndarray:
    """The object on an empty h x w layer (premultiplied RGBA), its centre at (cx, cy)."""
    level = min(len(pyramid) - 1, max(0, int(np.log2(SIDE / long) + 0.25)))
    image = pyramid[level]
    scale = long / max(image.shape[:2])
    turn = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), angle, scale)
    if flip:
        turn = turn @ np.array([[-1, 0, image.shape[1]], [0, 1, 0], [0, 0, 1]])
    turn[:, 2] += (cx - image.shape[1] / 2, cy - image.shape[0] / 2)
    return cv2.warpAffine(image, turn, (w, h), flags=cv2.INTER_LINEAR)


def _area(pyramid: tuple[np.ndarray, ...], long: float) -> float:
    small = pyramid[-1]
    return float((small[..., 3] > 0.5).sum()) * (long / max(small.shape[:2])) ** 2


def _shadow(rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, long: float) -> None:
    shift = np.float32([[1, 0, rng.uniform(-0.12, 0.12) * long], [0, 1, rng.uniform(0.03, 0.12) * long]])
    soft = cv2.warpAffine(alpha, shift, alpha.shape[::-1])
    soft = cv2.GaussianBlur(soft, (0, 0), 1 + 0.03 * long)
    image *= 1 - rng.uniform(0.2, 0.5) * soft[..., None]


def _relit(rng: np.random.Generator, colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """An object with random brightness, contrast, warmth and saturation, premultiplied."""
    warmth = rng.normal(1, 0.05, 3).astype(np.float32)
    grey = colour.mean(axis=-1, keepdims=True)
    saturated = grey + (colour - grey) * rng.uniform(0.75, 1.15)
    contrast = rng.uniform(0.8, 1.15)
    lit = (saturated * contrast + 0.5 * (1 - contrast) * alpha) * rng.uniform(0.75, 1.15) * warmth
    return np.clip(lit, 0, alpha)
