"""The paper's own protocol: one object against its background, with background words; its figures and the true ones.

words   [ the image's class | background words ]
        threshold    foreground where the class's map is above its mean       (the paper on ImageNet-Segmentation)
        argmax       foreground where no background word is the largest        (the paper on VOC, single-class)
size    the map nearest to `size` x `size` pixels, the mask nearest to the same; 224 in the paper

`paper` figures count as the reference code counts (see metrics/paper.py), `true` ones as everyone else does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.functional import interpolate

from ca_seg.data.seeds import image_seed
from ca_seg.errors import UserError
from ca_seg.metrics.average_precision import MeanAveragePrecision
from ca_seg.metrics.confusion import ConfusionMatrix
from ca_seg.metrics.paper import two_class_scores
from ca_seg.predictors.predictor import Prediction, Predictor
from ca_seg.vocabulary import Vocabulary

DECISIONS = ("threshold", "argmax")
SIZE = 224  # pixels (paper, appendix on settings; reference code)


class TwoClass(pl.LightningModule):
    """Scores `predictor` on images that show one class of `classes` beside the background.

    `background` is the name of the background class (or None: every class but the image's counts as background when
    `stuff` names it). `words` gives single images a word of their own (ImageNet-Segmentation's classes). An image
    with several classes, or none, is listed in `skipped`. After `trainer.test`, `figures[decision]` has accuracy,
    paper_miou, true_miou and map.
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: Sequence[str],
        background_words: Sequence[str],
        *,
        background: str | None = "background",
        stuff: Sequence[str] = (),
        words: Mapping[str, str] | None = None,
        size: int = SIZE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not background_words:
            raise UserError("no background word was given", fix="name some: floor grass sky")
        self.predictor: Predictor | None = predictor
        self.classes, self.background_words = tuple(classes), tuple(background_words)
        self.behind = {background, *stuff}
        self.words, self.size, self.seed = dict(words or {}), size, seed
        self.confusion = torch.nn.ModuleDict({d: ConfusionMatrix(2) for d in DECISIONS})
        self.precision = MeanAveragePrecision("paper")
        self.scored = 0
        self.skipped: list[tuple[str, str]] = []
        self.figures: dict[str, dict[str, float]] = {}

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self.skipped.extend((skipped.path, skipped.reason) for skipped in batch["skipped"])
        if not batch["image_id"]:
            return
        assert self.predictor is not None
        prediction = self.predictor.predict(
            batch["image"], [image_seed(self.seed, image_id) for image_id in batch["image_id"]]
        )
        for i, image_id in enumerate(batch["image_id"]):
            mask = batch["mask"][i]
            there = [c for c in mask[mask != 255].unique().tolist() if self.classes[c] not in self.behind]
            if len(there) != 1:
                self.skipped.append((batch["path"][i], f"it shows {len(there)} classes, not one"))
                continue
            self._score(prediction.select(i), self.words.get(image_id, self.classes[there[0]]), mask, there[0])
            self.scored += 1

    def _score(self, prediction: Prediction, word: str, mask: torch.Tensor, own: int) -> None:
        others = tuple(other for other in self.background_words if other != word)
        maps = prediction.maps(Vocabulary((word, *others), tuple((w,) for w in (word, *others)))).to(mask.device)
        ground_truth = torch.where(mask == 255, mask, (mask == own).long())
        target = interpolate(ground_truth[None, None].float(), (self.size, self.size), mode="nearest")[0, 0].long()
        score = maps[0, 0]
        guesses = {"threshold": score > score.mean(), "argmax": maps[0].argmax(dim=0) == 0}
        for decision, guess in guesses.items():
            large = interpolate(guess[None, None].float(), (self.size, self.size), mode="nearest")[0, 0].long()
            self.confusion[decision].update(large, target)
        shown = interpolate(score[None, None], (self.size, self.size), mode="nearest")[0]
        self.precision.update(shown, target[None])

    def on_test_epoch_end(self) -> None:
        for decision in DECISIONS:
            found = two_class_scores(self.confusion[decision].compute())
            self.figures[decision] = {
                "accuracy": found.accuracy,
                "paper_miou": found.paper_miou,
                "true_miou": found.true_miou,
                "map": float(self.precision.compute()),
            }
