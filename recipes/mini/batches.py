"""Captioned images for one training step, composed on the fly.

The step number is part of the seed, so that a resumed run sees the same images as an uninterrupted one.

Three kinds of image, chosen by the step:

    small    64 x 64,   0 to 2 objects        cheap, and the caption is nearly a label
    full     128 x 128, 1 to 4 objects        as in the evaluation scenes
    quilt    128 x 128, four small images     each quarter has a separate caption
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recipes.mini.scenes.compose import SceneComposer

SMALL, FULL = 64, 128
TOKEN = 8  # pixels


@dataclass(frozen=True)
class Batch:
    """The images of one training step, with their captions."""

    step: int
    kind: str
    images: np.ndarray  # uint8 [B, H, W, 3]
    captions: list[tuple[str, ...]]  # the true words of each image
    words: list[str]  # the C concepts of this step, in some captions or in none: objects, then stuffs
    objects: int  # how many of the words are objects
    true: np.ndarray  # bool [B, C, h, w]: the word is in the caption of this token's image (or quarter of an image)


@dataclass(frozen=True)
class Plan:
    """How many images of a kind make a step, and how many words are its concepts."""

    kind: str
    images: int
    objects: int
    stuffs: int
    fraction: float  # of the steps


EARLY = (
    Plan("small", 48, 16, 10, 0.30),
    Plan("quilt", 14, 30, 12, 0.25),
    Plan("full", 14, 30, 12, 0.30),
    Plan("full", 10, 150, 16, 0.15),
)
# After this step objects are separated from stuff. What remains is to separate similar objects, which takes more words.
WIDEN_AT = 4_500
LATE = (
    Plan("small", 36, 60, 16, 0.30),
    Plan("quilt", 10, 150, 16, 0.25),
    Plan("full", 10, 150, 16, 0.45),
)


class StepBatches:
    """Batches by step number; a batch depends on the seed and its number alone."""

    def __init__(self, composer: SceneComposer, seed: int, object_words: list[str], stuff_words: list[str]) -> None:
        self.composer, self.seed = composer, seed
        self.object_words, self.stuff_words = object_words, stuff_words

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        plans = EARLY if step < WIDEN_AT else LATE
        plan = plans[rng.choice(len(plans), p=[p.fraction for p in plans])]
        objects = self._choose(rng, self.object_words, plan.objects)
        stuffs = self._choose(rng, self.stuff_words, plan.stuffs)
        words = [*objects, *stuffs]
        compose = {"small": self._small, "full": self._full, "quilt": self._quilt}[plan.kind]
        examples = [compose(rng, objects, stuffs, words) for _ in range(plan.images)]
        images, true, captions = zip(*examples, strict=True)
        return Batch(step, plan.kind, np.stack(images), list(captions), words, len(objects), np.stack(true))

    @staticmethod
    def _choose(rng: np.random.Generator, words: list[str], count: int) -> list[str]:
        return [words[i] for i in rng.permutation(len(words))[:count]]

    @staticmethod
    def _ground_truth(caption: tuple[str, ...], words: list[str], side: int) -> np.ndarray:
        row = np.array([word in caption for word in words])
        return np.broadcast_to(row[:, None, None], (len(words), side // TOKEN, side // TOKEN))

    def _small(self, rng, objects, stuffs, words):
        count = int(rng.choice(3, p=(0.15, 0.6, 0.25)))
        scene = self.composer.compose(
            rng,
            height=SMALL,
            width=SMALL,
            objects=count,
            stuffs=(1, 1) if rng.random() < 0.7 else (2, 2),
            words=objects,
            stuff_words=stuffs,
        )
        return scene.image, self._ground_truth(scene.words, words, SMALL), scene.words

    def _full(self, rng, objects, stuffs, words):
        scene = self.composer.compose(
            rng, height=FULL, width=FULL, objects=(1, 4), stuffs=(1, 2), words=objects, stuff_words=stuffs
        )
        return scene.image, self._ground_truth(scene.words, words, FULL), scene.words

    def _quilt(self, rng, objects, stuffs, words):
        parts = [self._small(rng, objects, stuffs, words) for _ in range(4)]
        image, ground_truth = (
            np.concatenate(
                [
                    np.concatenate([p[i] for p in parts[:2]], axis=1 + i),
                    np.concatenate([p[i] for p in parts[2:]], axis=1 + i),
                ],
                axis=i,
            )
            for i in (0, 1)
        )
        return image, ground_truth, tuple(dict.fromkeys(word for part in parts for word in part[2]))
