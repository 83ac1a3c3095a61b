"""Labels for images that have none.

images   ──► record ──► maps ──► refine ──► keep, in the background: decide with confidence, encode, write

(On a GPU the decision is made there, before.)
`record` is whatever gives class maps: a frozen backbone asked for words, or a head on its features. It is called with
images [B, 3, H, W] and a seed each, as in `zero_shot.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from ca_seg.confidence.confident_mask import agreement, predict_confident_mask
from ca_seg.confidence.measures import AGREEMENT, check_probabilities
from ca_seg.confidence.temperature import apply_temperature
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.errors import UserError
from ca_seg.labelling.keys import check_relative
from ca_seg.labelling.label_files import LabelPrediction
from ca_seg.predictors.predictor import Predictor, Refine
from ca_seg.vocabulary import Vocabulary

SaveLabel = Callable[
    [str, int, Callable[[], LabelPrediction]], None
]  # an image's path, bytes held until then, and its label
MOST_NUMBERS = 2**30  # class scores of one image in its own size: 4 GB


class PseudoLabel(pl.LightningModule):
    """Labels the images of `UnlabelledBatch`es; nothing is trained.

    `measure` is one of `MEASURES`, "agreement" (of several draws, which what `record` gives must have), or
    None. `scores` keeps the shares of all classes. With `whole`, maps come in the image's own size on the way, and a
    image for which they would be too large is skipped. `skipped` lists (image, reason).
    """

    def __init__(
        self,
        predictor: Predictor,
        vocabulary: Vocabulary,
        keep: SaveLabel,
        *,
        measure: str | None = "margin",
        temperature: float = 1.0,
        scores: bool = False,
        refine: Refine | None = None,
        whole: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.predictor, self.vocabulary, self.keep = predictor, vocabulary, keep
        self.measure, self.temperature, self.scores = measure, temperature, scores
        self.refine, self.whole, self.seed = refine, whole, seed
        self.skipped: list[tuple[str, str]] = []

    def predict_step(self, batch: Any, batch_index: int) -> int:
        """How many images were labelled."""
        start = time.monotonic()
        self.skipped.extend((skipped.path, skipped.reason) for skipped in batch["skipped"])
        wanted = [i for i, missing in enumerate(batch["wanted"]) if missing and self._usable(batch, i)]
        if not wanted:
            return 0
        prediction = self.predictor.predict(batch["image"], [image_seed(self.seed, key) for key in batch["key"]])
        maps = prediction.maps(self.vocabulary)
        noised_copies = prediction.maps_per_copy(self.vocabulary) if self.measure == AGREEMENT else []  # type: ignore[attr-defined]
        each = [[own[i : i + 1] for own in (maps, *noised_copies)] for i in wanted]
        if self.refine is not None:
            for own, i in zip(each, wanted, strict=True):
                alone, image = prediction.select(i), batch["image"][i : i + 1]
                own[:] = [self.refine(one, image, alone) for one in own]
        spent = (time.monotonic() - start) / len(batch["key"])
        for own, i in zip(each, wanted, strict=True):
            decide_it = partial(self._found, batch, i, own, spent)
            if maps.device.type != "cpu":  # there it is quick, and what comes back is small
                made = decide_it()
                decide_it = partial(_same, made)
            self.keep(batch["path"][i], self._bytes(batch["size"][i], own), decide_it)
        return len(wanted)

    @torch.inference_mode()
    def _found(self, batch: Any, i: int, maps: list[torch.Tensor], spent: float) -> LabelPrediction:
        """The label of one image, from its maps and those of its draws. BadMask: its maps are no shares."""
        start = time.monotonic()
        mask, sure, scores = self._label(maps[0], maps[1:], batch["size"][i])
        return LabelPrediction(
            batch["key"][i],
            batch["file"][i],
            batch["sha256"][i],
            mask.cpu().numpy(),
            None if sure is None else sure.cpu().numpy(),
            None if scores is None else scores.cpu().numpy(),
            spent + time.monotonic() - start,
        )

    def _label(
        self, maps: torch.Tensor, noised_copies: list[torch.Tensor], size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Mask uint8 [H, W], confidence float32 [H, W] and scores [K, H, W] of one image."""
        if self.refine is not None and self.measure is not None:
            maps = maps.clamp_min(0)  # a guided filter overshoots at edges; below 0 nothing wins
        if self.measure == AGREEMENT:
            check_probabilities(maps)
            mask = predict_confident_mask(maps, *size, measure=None).mask
            sure: torch.Tensor | None = agreement(noised_copies, mask)
        else:
            decided = predict_confident_mask(maps, *size, measure=self.measure, temperature=self.temperature)
            mask, sure = decided.mask, decided.confidence
        if not self.scores:
            return mask, sure, None
        scores = predict_mask(maps, *size).scores
        return mask, sure, (scores if self.temperature == 1 else apply_temperature(scores, self.temperature))[0]

    def _bytes(self, size: tuple[int, int], maps: list[torch.Tensor]) -> int:
        """What an image holds until it is written: its maps; mask and confidence; scores."""
        numbers = size[0] * size[1] * (len(self.vocabulary.classes) if self.scores else 0)
        return sum(own.nbytes for own in maps) + 5 * size[0] * size[1] + 4 * numbers

    def _usable(self, batch: Any, i: int) -> bool:
        height, width = batch["size"][i]
        classes = len(self.vocabulary.classes)
        try:
            check_relative(batch["file"][i], "the image's name")
            if (self.scores or self.whole) and classes * height * width > MOST_NUMBERS:
                raise UserError(
                    f"{classes} maps of {width} x {height} pixels are too large",
                    fix="cut it, or leave out scores, windows, and refinement by pixels",
                )
        except UserError as problem:
            self.skipped.append((batch["path"][i], str(problem)))
            return False
        return True


def _same(made: LabelPrediction) -> LabelPrediction:
    return made
