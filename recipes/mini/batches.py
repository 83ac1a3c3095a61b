"""Captioned images for one training step, composed on the fly; the step number is the seed, so a run can resume.

Three kinds of image, chosen by the step:

    small    64 x 64,   0 to 2 objects        cheap, and the caption is nearly a label
    full     128 x 128, 1 to 4 objects        as in the evaluation scenes
    quilt    128 x 128, four small images     each quarter has a caption of its own
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recipes.mini.scenes.compose import SceneComposer

SMALL, FULL = 64, 128
TOKEN = 8  # pixels


@dataclass(frozen=True)
class Batch:
    step: int
    kind: str
    images: np.ndarray  # uint8 [B, H, W, 3]
    captions: list[tuple[str, ...]]  # the true words of each image
    words: list[str]  # the words that are asked, true of some image or of none: objects, then stuffs
    objects: int  # how many of the words are objects
    true: np.ndarray  # bool [B, C, h, w]: the word is in the caption of the image (or quarter) that this token lies in


@dataclass(frozen=True)
class Plan:
    """How many images of a kind make a step, and how many words are asked."""

    kind: str
    images: int
    objects: int
    stuffs: int
    share: float  # of the steps


EARLY = (
    Plan("small", 48, 16, 10, 0.30),
    Plan("quilt", 14, 30, 12, 0.25),
    Plan("full", 14, 30, 12, 0.30),
    Plan("full", 10, 150, 16, 0.15),
)
# Once objects stand out from stuff, what is left is to tell look-alikes apart: every word is asked.
WIDEN_AT = 4_500  # step
LATE = (
    Plan("small", 36, 60, 16, 0.30),
    Plan("quilt", 10, 150, 16, 0.25),
    Plan("full", 10, 150, 16, 0.45),
)


class StepBatches:
    """Batch number `step` is the same in every run with this seed."""

    def __init__(self, composer: SceneComposer, seed: int, object_words: list[str], stuff_words: list[str]) -> None:
        self.composer, self.seed = composer, seed
        self.object_words, self.stuff_words = object_words, stuff_words

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self.seed, step))
        plans = EARLY if step < WIDEN_AT else LATE
        plan = plans[rng.choice(len(plans), p=[p.share for p in plans])]
        objects = self._some(rng, self.object_words, plan.objects)
        stuffs = self._some(rng, self.stuff_words, plan.stuffs)
        words = [*objects, *stuffs]
        make = {"small": self._small, "full": self._full, "quilt": self._quilt}[plan.kind]
        made = [make(rng, objects, stuffs, words) for _ in range(plan.images)]
        images, true, captions = zip(*made, strict=True)
        return Batch(step, plan.kind, np.stack(images), list(captions), words, len(objects), np.stack(true))

    @staticmethod
    def _some(rng: np.random.Generator, words: list[str], count: int) -> list[str]:
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
