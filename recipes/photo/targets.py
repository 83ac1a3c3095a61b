"""What the labels of pictures become in a training step: shares of words per cell, and which pictures are drawn.

A token has 2 x 2 cells: the segmenters see finer than a token, and maps are compared with them after enlargement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set

import numpy as np
import torch

from recipes.photo.data import Example
from recipes.photo.labels import SMALLEST_BOX, TEACHER_WORDS, UNKNOWN, area, inside
from recipes.photo.pictures import TOKENS
from recipes.photo.segmenters import GRID
from recipes.photo.words import ALIKE

CELLS = 2 * TOKENS  # along a side of a picture of 20 x 20 tokens
MOST_IMPORTANT = 3.0  # times as much as a word of mean frequency
MERGED = 0.3  # of the steps, for each group of words that are alike


def chances(words: Sequence[Set[str]]) -> np.ndarray:
    """How likely each picture is drawn: half of the pictures evenly, half by the rarest of their words.

    Args:
        words: of each picture; a picture without words counts as one with a frequent word
    """
    if not words:
        return np.zeros(0)
    counts = Counter(word for of_picture in words for word in of_picture)
    rarity = np.array([max((counts[w] ** -0.5 for w in of_picture), default=0.0) for of_picture in words])
    rarity = np.maximum(rarity, rarity[rarity > 0].min(initial=1.0))
    return (rarity / rarity.sum() + 1 / len(rarity)) / 2


def merge_alike(
    words: Sequence[str], shares: torch.Tensor, rng: np.random.Generator, without: Set[str] = frozenset()
) -> tuple[list[str], torch.Tensor, set[str]]:
    """Ask for one word of some groups of similar words, as users do.

        asked: floor, road, dog          asked: road, dog
        floor | floor | dog       ->     road  | road  | dog

    Who asks for "road" and "dog" alone means the ground by "road". A transformer that was always asked for all words
    learns nothing about which of "road" and "dog" a floor is nearer to.

    Args:
        words: W words
        shares: [P, W, 40, 40]
        rng: decides which groups are merged, and which word stands for each
        without: words that must not stand for a group

    Returns:
        Words and shares after it, and the words of the merged groups, which must not be asked as negatives.
    """
    words, merged = list(words), set()
    kept = torch.ones(len(words), dtype=torch.bool)
    for alike in ALIKE:
        group = [word for word in alike if word not in without]
        if rng.random() >= MERGED:
            continue
        columns = [k for k, word in enumerate(words) if word in group and kept[k]]
        if not columns or float(shares[:, columns].sum()) == 0:
            continue
        chosen = group[int(rng.integers(len(group)))]
        total = shares[:, columns].sum(dim=1, keepdim=True)
        kept[columns] = False
        words.append(chosen)
        shares, kept = torch.cat([shares, total], dim=1), torch.cat([kept, torch.ones(1, dtype=torch.bool)])
        merged |= set(group)
    return [word for word, keep in zip(words, kept.tolist(), strict=True) if keep], shares[:, kept], merged


def importances(votes: Iterable[np.ndarray]) -> dict[str, float]:
    """How much a cell of each of TEACHER_WORDS counts in the loss: its frequency to the power of -0.2, 1 at the mean.

    A wall is a thousand times as frequent as a banana, and mIoU counts both alike.

    Args:
        votes: of all pictures that are drawn, [2, 64, 64] each
    """
    counts = sum((np.bincount(v.ravel(), minlength=UNKNOWN + 1)[: len(TEACHER_WORDS)] for v in votes), np.zeros(1))
    relative = counts / counts.mean()
    factors = np.clip(np.maximum(relative, 1e-9) ** -0.2, None, MOST_IMPORTANT)
    return dict(zip(TEACHER_WORDS, factors.tolist(), strict=True))


def cell_weights(shares: torch.Tensor, importance: torch.Tensor) -> torch.Tensor:
    """How much each cell counts in the loss: float [P, H, W].

    Small objects and rare words count for more than their area, as mIoU counts every class alike: a word of a picture
    has the weight of its area in tokens to the power of -1/4, times its importance.

    Args:
        shares: of the words [P, C, H, W], which sum to how much of each cell the teachers name
        importance: of each word [C]
    """
    area = shares.sum(dim=(2, 3), keepdim=True) / 4
    return (shares * area.clamp_min(1).pow(-0.25) * importance[:, None, None]).sum(dim=1)


def cell_shares(votes: np.ndarray) -> torch.Tensor:
    """The share of each of TEACHER_WORDS among the votes [P, 2, 64, 64] of a cell: [P, W, 40, 40]."""
    pictures, classes = len(votes), UNKNOWN + 1
    cell = ((np.arange(GRID) + 0.5) * CELLS / GRID).astype(int)  # of each row and column of votes
    place = (np.arange(pictures)[:, None, None] * CELLS + cell[:, None]) * CELLS + cell
    counts = np.bincount((place[:, None] * classes + votes).ravel(), minlength=pictures * CELLS**2 * classes)
    counts = counts.reshape(pictures, CELLS, CELLS, classes)
    shares = counts[..., : len(TEACHER_WORDS)] / counts.sum(axis=-1, keepdims=True)
    return torch.from_numpy(shares.astype(np.float32).transpose(0, 3, 1, 2).copy())


def where(word: str, example: Example) -> np.ndarray:
    """The tokens [20, 20] of which the word may be true: in its boxes if only a detector saw it, or else all."""
    boxes = [inside(b, 0.0, TOKENS) for b in example.boxes if b.word == word and area(b) >= SMALLEST_BOX]
    return np.any(boxes, axis=0) if boxes and word != example.name else np.ones((TOKENS, TOKENS), bool)
