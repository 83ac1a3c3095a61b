"""The protocol of the ConceptAttention paper: one object against background words.

The backbone is asked the class of the image and the background words; a method that does not see any word is asked the
class and "background". There are two ways to decide what is foreground:

    threshold    where the map of the class is above its mean               (in the paper on ImageNet-Segmentation)
    argmax       where no background word has a larger map                  (in the paper on VOC, single-class)

Maps and masks are brought to `size` x `size` pixels by nearest neighbour (224 in the paper). Figures are counted twice:
`paper` as the paper's reference code counts (see metrics/paper.py), `true` as is usual.
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
from ca_seg.predictors.multi_view import MultiViewPrediction
from ca_seg.predictors.predictor import Prediction, Predictor
from ca_seg.predictors.prompted import PromptedPrediction
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary

DECISIONS = ("threshold", "argmax")
SIZE = 224  # pixels (paper, appendix on settings; reference code)


def object_vocabulary(
    word: str,
    background_words: Sequence[str],
    *,
    template: str = "{}",
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> Vocabulary:
    """What an image is asked: the word of its object, then the background words other than it, each with its synonyms.

    Raises UserError for a template without one {}, and for two phrases that are the same.
    """
    words = (word, *(other for other in background_words if other != word))
    further = {name: phrases for name, phrases in (synonyms or {}).items() if name in words}
    return Vocabulary.from_names(words, synonyms=further, template=template)


class TwoClass(pl.LightningModule):
    """Scores `predictor` on images that show one class beside the background.

    After `trainer.test`, `figures[decision]` has accuracy, paper_miou, true_miou and map. Images that show several
    classes or none are in `skipped`, and `unsuitable` is how many they are.

    Args:
        predictor: gives the class maps
        classes: the dataset's classes
        background_words: words for everything but the object
        background: the class that is the background; None if there is none
        stuff: further classes that count as background
        words: by image id, a word to ask in place of the class (as in ImageNet-Segmentation)
        size: pixels; maps and masks are compared at size x size
        seed: seed of the noise
        any_words: the predictor sees any word; false: it is asked "background" in place of the background words,
            without template and synonyms
        template: a sentence to put each phrase into, with one {}
        synonyms: further phrases of a word
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
        any_words: bool = True,
        template: str = "{}",
        synonyms: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        if not background_words:
            raise UserError("no background word was given", fix="name some: --background_words floor grass sky")
        self.predictor: Predictor | None = predictor
        self.classes, self.background_words = tuple(classes), tuple(background_words)
        self.background_classes = {background, *stuff}
        self.words, self.size, self.seed, self.any_words = dict(words or {}), size, seed, any_words
        self.template, self.synonyms = template, synonyms or {}
        self.confusion: Mapping[str, ConfusionMatrix] = torch.nn.ModuleDict(  # type: ignore[assignment]
            {decision: ConfusionMatrix(2) for decision in DECISIONS}
        )
        self.precision = MeanAveragePrecision("paper")
        self.scored = 0
        self.skipped: list[tuple[str, str]] = []
        self.unsuitable = 0
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
            present = mask[mask != IGNORE_INDEX].unique().tolist()
            objects = [index for index in present if self.classes[index] not in self.background_classes]
            if len(objects) != 1:
                self.skipped.append((batch["path"][i], f"it shows {len(objects)} classes, not one"))
                self.unsuitable += 1
                continue
            self._score(prediction.select(i), self.words.get(image_id, self.classes[objects[0]]), mask, objects[0])
            self.scored += 1

    def _score(self, prediction: Prediction, word: str, mask: torch.Tensor, object_class: int) -> None:
        if self.any_words:
            asked = object_vocabulary(word, self.background_words, template=self.template, synonyms=self.synonyms)
        else:
            asked = object_vocabulary(word, ("background",))
        if isinstance(prediction, PromptedPrediction | MultiViewPrediction):
            prediction = prediction.showing([word])
        maps = prediction.maps(asked).to(mask.device)
        ground_truth = torch.where(mask == IGNORE_INDEX, mask, (mask == object_class).long())
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
            scores = two_class_scores(self.confusion[decision].compute())
            self.figures[decision] = {
                "accuracy": scores.accuracy,
                "paper_miou": scores.paper_miou,
                "true_miou": scores.true_miou,
                "map": float(self.precision.compute()),
            }
