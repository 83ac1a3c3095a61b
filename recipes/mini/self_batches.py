"""Views of scenes that `mini` labelled itself, for the second stage of its training.

    whole   a scene, or most of it, at 208, 192 or 128 pixels     nearly as in use
    part    a quarter of a scene at 96 pixels                         cheap, and other places of the same objects

Half of the views are mirrored. The step number is part of the seed, so that a resumed run sees the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from recipes.mini.batches import FULL, TOKEN
from recipes.mini.images import pixels, resized


@dataclass(frozen=True)
class LabelledBatch:
    """The views of one training step.

    Attributes:
        images: [B, 3, S, S] in -1..1
        words: indices of the C concepts of this step
        target: [B, C, N], the share of each token's pixels that each concept has; the rest of a token is unsure
        captions: the words of each view
    """

    images: Tensor
    words: list[int]
    target: Tensor
    captions: list[tuple[str, ...]]


@dataclass(frozen=True)
class Plan:
    """What the views of a step are, and how often such a step comes."""

    images: int
    side: int  # pixels of a view
    crop: tuple[int, int]  # pixels of a scene that a view shows, at least and at most
    words: int  # concepts asked; views' words are always among them
    fraction: float  # of the steps


PLANS = (
    Plan(8, 208, (FULL, FULL), 166, 0.25),
    Plan(8, 208, (FULL, FULL), 64, 0.15),
    Plan(8, 192, (88, FULL), 64, 0.15),
    Plan(16, 128, (FULL, FULL), 166, 0.10),
    Plan(28, 96, (64, 64), 64, 0.35),
)


class LabelledScenes:
    """All shards of a folder that `recipes.mini.self_labels` wrote.

    Raises FileNotFoundError if there is none.
    """

    def __init__(self, folder: Path) -> None:
        shards = [np.load(path) for path in sorted(folder.glob("shard_*.npz"))]
        if not shards:
            fix = f"python -m recipes.mini.self_labels --out {folder}"
            raise FileNotFoundError(f"no shard_*.npz in {folder}; first: {fix}")
        self.images = np.concatenate([shard["images"] for shard in shards])
        self.labels = np.concatenate([shard["labels"] for shard in shards])

    def __len__(self) -> int:
        return len(self.images)

    def view(self, index: int, rng: np.random.Generator, side: int, crop: int) -> tuple[Tensor, Tensor]:
        """A square of `crop` pixels of one scene, at `side` pixels: image [3, S, S] and labels [S, S]."""
        height, width = self.labels[index].shape
        y, x = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
        step = -1 if rng.random() < 0.5 else 1
        image = np.ascontiguousarray(self.images[index, y : y + crop, x : x + crop][:, ::step])
        label = np.ascontiguousarray(self.labels[index, y : y + crop, x : x + crop][:, ::step])
        labels = interpolate(torch.from_numpy(label)[None, None].float(), size=(side, side), mode="nearest-exact")
        return resized(pixels(image[None]), side)[0], labels[0, 0].long()


def token_shares(labels: Tensor, words: list[int]) -> Tensor:
    """The share of each token's pixels that each word has: [B, C, N].

    Args:
        labels: long [B, S, S], 1 + index of the word, 0 = unsure
        words: indices of C words; other words' pixels count as unsure
    """
    batch, side, _ = labels.shape
    grid, concepts = side // TOKEN, len(words)
    column = torch.full((max(int(labels.max()), max(words) + 1) + 1,), concepts)
    column[torch.tensor(words) + 1] = torch.arange(concepts)
    rows = torch.arange(side) // TOKEN
    token = (rows[:, None] * grid + rows[None]).expand(batch, -1, -1)
    place = (torch.arange(batch)[:, None, None] * (concepts + 1) + column[labels]) * grid * grid + token
    counts = torch.bincount(place.flatten(), minlength=batch * (concepts + 1) * grid * grid)
    return counts.view(batch, concepts + 1, grid * grid)[:, :concepts].float() / TOKEN**2


class SelfBatches:
    """Batches by number; a batch depends on the seed, its number and the number of processes alone.

    Processes of one step have the same plan: none waits long for another.
    """

    def __init__(self, scenes: LabelledScenes, seed: int, words: Sequence[str], *, processes: int = 1) -> None:
        self.scenes, self.seed, self.words, self.processes = scenes, seed, words, processes

    def __getitem__(self, number: int) -> LabelledBatch:
        of_step = np.random.default_rng((self.seed, number // self.processes, 2))
        plan = PLANS[of_step.choice(len(PLANS), p=[plan.fraction for plan in PLANS])]
        rng = np.random.default_rng((self.seed, number))
        views = [
            self.scenes.view(int(index), rng, plan.side, int(rng.integers(plan.crop[0], plan.crop[1] + 1)))
            for index in rng.integers(len(self.scenes), size=plan.images)
        ]
        images, labels = (torch.stack(part) for part in zip(*views, strict=True))
        seen = [[int(i) - 1 for i in label.unique() if i > 0] for label in labels]
        captions = [tuple(self.words[i] for i in view) for view in seen]
        shown = sorted({word for view in seen for word in view})
        others = [int(i) for i in rng.permutation(len(self.words)) if i not in shown]
        words = shown + others[: max(0, plan.words - len(shown))]
        return LabelledBatch(images, words, token_shares(labels, words), captions)
