"""Views of scenes that `mini` labelled itself, for the second stage of its training.

    whole   a scene, or most of it, at 256, 224 or 128 pixels     as in use
    part    a part of a scene at the same scale                   cheap, and other places of the same objects

Half of the views are mirrored, and some are in other colours (`recipes.mini.restyle`). The step number is part of the
seed, so that a resumed run sees the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from recipes.mini.batches import FULL
from recipes.mini.images import pixels, resized
from recipes.mini.restyle import restyled


@dataclass(frozen=True)
class LabelledBatch:
    """The views of one training step.

    Attributes:
        images: [B, 3, S, S] in -1..1
        words: indices of the C concepts of this step
        labels: long [B, S / 2, S / 2], the index of each pixel's word in `words`, -1 = unsure
        captions: the words of each view
    """

    images: Tensor
    words: list[int]
    labels: Tensor
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
    Plan(6, 256, (FULL, FULL), 166, 0.20),
    Plan(6, 256, (FULL, FULL), 64, 0.10),
    Plan(8, 224, (88, FULL), 64, 0.15),
    Plan(20, 128, (64, 64), 166, 0.20),
    Plan(28, 96, (48, 48), 64, 0.30),
    Plan(16, 128, (FULL, FULL), 166, 0.05),
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
        """A square of `crop` pixels of one scene: image [3, S, S] at `side` pixels, labels [S / 2, S / 2].

        A label is 1 + the index of the word among all words, 0 = unsure.
        """
        height, width = self.labels[index].shape
        y, x = int(rng.integers(height - crop + 1)), int(rng.integers(width - crop + 1))
        step = -1 if rng.random() < 0.5 else 1
        image = np.ascontiguousarray(self.images[index, y : y + crop, x : x + crop][:, ::step])
        label = np.ascontiguousarray(self.labels[index, y : y + crop, x : x + crop][:, ::step])
        labels = interpolate(
            torch.from_numpy(label)[None, None].float(), size=(side // 2, side // 2), mode="nearest-exact"
        )
        return resized(pixels(restyled(image, rng)[None]), side)[0], labels[0, 0].long()


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
        place = torch.full((len(self.words) + 1,), -1)
        place[torch.tensor(words) + 1] = torch.arange(len(words))
        return LabelledBatch(images, words, place[labels], captions)
