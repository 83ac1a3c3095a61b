"""Predicts the labels of images that have none, batch by batch.

images ──► predictor ──► class maps ──► refine ──► save_label: mask and confidence are computed, encoded and written
                                                   in the background

On a GPU, mask and confidence are computed before `save_label`: that is fast there, and they are smaller than maps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from ca_seg.confidence.confident_mask import agreement, predict_confident_mask
from ca_seg.confidence.measures import AGREEMENT, check_probabilities
from ca_seg.confidence.temperature import apply_temperature
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.errors import CorruptWeights, UserError
from ca_seg.labelling.image_words import ImageWords
from ca_seg.labelling.keys import check_relative
from ca_seg.labelling.label_files import LabelPrediction
from ca_seg.predictors.predictor import Prediction, Predictor, Refine, maps_of_images
from ca_seg.predictors.presence import ImagePresence, WordPresence
from ca_seg.vocabulary import Vocabulary

# an image's path, the bytes that are held until its label is made, and what makes it
SaveLabel = Callable[[str, int, Callable[[], LabelPrediction]], None]
MANY = 8  # images
MAX_SCORES = 2**30  # class scores of one image in its own size: 4 GB


class PseudoLabel(pl.LightningModule):
    """Labels the images of an `UnlabelledBatch`. Nothing is trained.

    Args:
        predictor: gives the class maps; for the measure "agreement" one that reads several noised copies
        vocabulary: the K classes
        save_label: takes the labels, one by one
        measure: a name of MEASURES, "agreement", or None
        temperature: of the class probabilities
        scores: keep the probabilities of all classes
        refine: what comes between maps and mask
        full_size: images, and so maps, come in the image's own size; one whose maps would be too large is skipped
        seed: of the noise
        presence: whether words are in an image; where none is likely, its confidence is lower. None: not measured
        image_words: what each image is offered; None: all classes

    Attributes:
        skipped: (image, reason) of the images without a label
        labelled: images that have a label; who continues a run sets it, so that its weights are known to be sound
    """

    def __init__(
        self,
        predictor: Predictor,
        vocabulary: Vocabulary,
        save_label: SaveLabel,
        *,
        measure: str | None = "margin",
        temperature: float = 1.0,
        scores: bool = False,
        refine: Refine | None = None,
        full_size: bool = False,
        seed: int = 0,
        presence: WordPresence | None = None,
        image_words: ImageWords | None = None,
    ) -> None:
        super().__init__()
        self.predictor, self.vocabulary, self.save_label = predictor, vocabulary, save_label
        self.measure, self.temperature, self.scores = measure, temperature, scores
        self.refine, self.full_size, self.seed, self.presence = refine, full_size, seed, presence
        self.image_words = image_words
        self.skipped: list[tuple[str, str]] = []
        self.labelled, self._not_finite = 0, 0  # images so far

    def predict_step(self, batch: Any, batch_index: int) -> int:
        """How many images were labelled. An image whose maps are not finite is skipped.

        Raises CorruptWeights where the maps of the first MANY images were not finite: the weights are at fault.
        """
        self.skipped.extend((skipped.path, skipped.reason) for skipped in batch["skipped"])
        try:
            count = self._label_batch(batch)
        except CorruptWeights as problem:
            if len(batch["key"]) > 1:
                return sum(self.predict_step(_only(batch, i), batch_index) for i in range(len(batch["key"])))
            self._not_finite += 1
            if not self.labelled and self._not_finite == MANY:
                raise
            self.skipped.append((batch["path"][0], str(problem)))
            return 0
        self.labelled += count
        return count

    def _label_batch(self, batch: Any) -> int:
        start = time.monotonic()
        wanted = [i for i, is_wanted in enumerate(batch["wanted"]) if is_wanted and self._usable(batch, i)]
        if not wanted:
            return 0
        prediction = self.predictor.predict(batch["image"], [image_seed(self.seed, key) for key in batch["key"]])
        present: list[ImagePresence] | None = None
        if self.image_words is not None:
            maps_of_image = self._maps_by_words(prediction, {i: batch["key"][i] for i in wanted})
        else:
            if self.presence is None:
                all_maps = [prediction.maps(self.vocabulary)]
            else:
                class_maps, by_class = self.presence.maps(prediction)
                all_maps, present = [class_maps], [self.presence.of_image(row) for row in by_class]
            if self.measure == AGREEMENT:
                all_maps += prediction.maps_per_copy(self.vocabulary)  # type: ignore[attr-defined]
            maps_of_image = {i: [maps[i : i + 1] for maps in all_maps] for i in wanted}
        if self.refine is not None:
            for i in wanted:
                image, alone = batch["image"][i : i + 1], prediction.select(i)
                maps_of_image[i] = [self.refine(maps, image, alone) for maps in maps_of_image[i]]
        seconds = (time.monotonic() - start) / len(batch["key"])
        for i, maps in maps_of_image.items():
            presence = None if present is None else present[i]
            predict: Callable[[], LabelPrediction] = partial(self._predict, batch, i, maps, presence, seconds)
            if maps[0].device.type != "cpu":
                predict = partial(_unchanged, predict())
            self.save_label(batch["path"][i], self._bytes(batch["size"][i], maps), predict)
        return len(wanted)

    @torch.inference_mode()
    def _predict(
        self, batch: Any, i: int, maps: list[torch.Tensor], presence: ImagePresence | None, seconds: float
    ) -> LabelPrediction:
        """The label of one image, from its maps and those of its noised copies.

        Raises BadMask for maps that are not probabilities.
        """
        start = time.monotonic()
        mask, confidence, scores = self._label(maps[0], maps[1:], batch["size"][i])
        if self.image_words is not None:
            mask, scores = self._in_classes(self.image_words.classes_of(batch["key"][i]), mask, scores)
        if confidence is not None and presence is not None:
            confidence = confidence * presence.factor
        return LabelPrediction(
            key=batch["key"][i],
            file_name=batch["file"][i],
            sha256=batch["sha256"][i],
            mask=mask.cpu().numpy(),
            confidence=None if confidence is None else confidence.cpu().numpy(),
            scores=None if scores is None else scores.cpu().numpy(),
            presence=None if presence is None else presence.highest,
            seconds=seconds + time.monotonic() - start,
        )

    def _maps_by_words(self, prediction: Prediction, keys: Mapping[int, str]) -> dict[int, list[torch.Tensor]]:
        """For each image of the batch the maps of what it is offered, then those of its noised copies."""
        assert self.image_words is not None
        words = {i: offered for i, key in keys.items() if (offered := self.image_words.of(key)) is not None}
        maps_of_image = {i: [maps] for i, maps in maps_of_images(prediction, words).items()}
        if self.measure == AGREEMENT:
            for i, offered in words.items():
                maps_of_image[i] += prediction.select(i).maps_per_copy(offered)  # type: ignore[attr-defined]
        return maps_of_image

    def _in_classes(
        self, classes: list[int], mask: torch.Tensor, scores: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mask and scores of what an image is offered, in the dataset's classes; others have a score of 0."""
        index = torch.tensor(classes, device=mask.device)
        if scores is not None:
            every = scores.new_zeros(len(self.vocabulary.classes), *scores.shape[1:])
            scores = every.index_copy(0, index.to(scores.device), scores)
        return index.to(mask.dtype)[mask.long()], scores

    def _label(
        self, maps: torch.Tensor, noised_copies: list[torch.Tensor], size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Mask uint8 [H, W], confidence float32 [H, W] and scores [K, H, W] of one image."""
        if self.refine is not None and self.measure is not None:
            maps = maps.clamp_min(0)  # a guided filter overshoots at edges; no class wins below 0
        confidence: torch.Tensor | None
        if self.measure == AGREEMENT:
            check_probabilities(maps)
            mask = predict_confident_mask(maps, *size, measure=None).mask
            confidence = agreement(noised_copies, mask)
        else:
            prediction = predict_confident_mask(maps, *size, measure=self.measure, temperature=self.temperature)
            mask, confidence = prediction.mask, prediction.confidence
        if not self.scores:
            return mask, confidence, None
        scores = predict_mask(maps, *size).scores
        return mask, confidence, (scores if self.temperature == 1 else apply_temperature(scores, self.temperature))[0]

    def _bytes(self, size: tuple[int, int], all_maps: list[torch.Tensor]) -> int:
        """What an image holds until it is written: its maps; mask and confidence; scores."""
        pixels = size[0] * size[1]
        scores = pixels * len(self.vocabulary.classes) if self.scores else 0
        return sum(maps.nbytes for maps in all_maps) + 5 * pixels + 4 * scores

    def _usable(self, batch: Any, i: int) -> bool:
        height, width = batch["size"][i]
        classes = len(self.vocabulary.classes)
        try:
            check_relative(batch["file"][i], "the image's name")
            if self.image_words is not None and self.image_words.of(batch["key"][i]) is None:
                raise UserError("its caption names nothing to look for", fix="give words")
            if (self.scores or self.full_size) and classes * height * width > MAX_SCORES:
                raise UserError(
                    f"{classes} maps of {width} x {height} pixels are too large",
                    fix="cut the image, or leave out scores, windows, and refinement by pixels",
                )
        except UserError as problem:
            self.skipped.append((batch["path"][i], str(problem)))
            return False
        return True


def _only(batch: dict[str, Any], i: int) -> dict[str, Any]:
    """A batch of one of its images."""
    return {name: value[i : i + 1] for name, value in batch.items() if name != "skipped"} | {"skipped": []}


def _unchanged(label: LabelPrediction) -> LabelPrediction:
    return label
