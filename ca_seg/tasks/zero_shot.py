"""Zero-shot segmentation of a dataset, scored under both protocols in one run.

    oracle-presence    only the classes that the image shows are offered (as in every published figure of a
                       diffusion transformer)
    full-vocabulary    every class of the dataset is offered

The method looks at each image once and gives class maps once per protocol. Maps are decided and scored by one thread in
the background, image after image, while the method looks at the next ones:

    images ──► method ──► class maps ──► queue ──► mask, scores, saved masks
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.metrics.gather import gather_objects
from ca_seg.predictors.predictor import Predictor, Refine, maps_of_images
from ca_seg.tasks.scores import ProtocolScores, image_miou
from ca_seg.thread_pool import BoundedThreadPool
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary

PROTOCOLS = ("oracle-presence", "full-vocabulary")
SaveMask = Callable[[str, str, torch.Tensor], None]  # (protocol, image_id, class indices [H, W])


class ZeroShot(pl.LightningModule):
    """Scores a method on a dataset. It has no parameters, and nothing of it is in a checkpoint.

    After `trainer.test`, also in each of several processes, for the whole dataset and by protocol:

        figures        all 0..1
        intervals      their 95 % bootstrap intervals
        reliability    the bins of the reliability plot
        images         mIoU of each image, by image id
        skipped        (not by protocol) path and reason of each image that could not be scored

    Args:
        predictor: the method
        classes: the dataset's classes
        synonyms: further phrases for a class
        template: a sentence to put each phrase into, with {} for the phrase
        refine: changes the class maps of an image before the decision
        calibrated: the maps are probabilities, so that calibration can be measured
        seed: seed of the noise
        save_mask: called with each predicted mask, in a thread
    """

    def __init__(
        self,
        predictor: Predictor,
        classes: Sequence[str],
        *,
        synonyms: dict[str, list[str]] | None = None,
        template: str = "{}",
        refine: Refine | None = None,
        calibrated: bool = True,
        seed: int = 0,
        save_mask: SaveMask | None = None,
    ) -> None:
        super().__init__()
        self.predictor: Predictor | None = predictor
        self.refine, self.seed, self.save_mask = refine, seed, save_mask
        self.classes, self.synonyms, self.template = tuple(classes), synonyms or {}, template
        by_protocol = {protocol: ProtocolScores(len(self.classes), calibrated=calibrated) for protocol in PROTOCOLS}
        self.scores: Mapping[str, ProtocolScores] = nn.ModuleDict(by_protocol)  # type: ignore[assignment]
        self.everything = self.vocabulary(range(len(self.classes)))
        self.images: dict[str, dict[str, float]] = {protocol: {} for protocol in PROTOCOLS}
        self.skipped: list[tuple[str, str]] = []
        self.figures: dict[str, dict[str, float]] = {}
        self.intervals: dict[str, dict[str, list[float]]] = {}
        self.reliability: dict[str, list[dict[str, float]]] = {}
        self._background: BoundedThreadPool | None = None

    @property
    def scored(self) -> int:
        return len(self.images[PROTOCOLS[1]])

    def vocabulary(self, indices: Sequence[int]) -> Vocabulary:
        """The vocabulary of some of the classes."""
        names = [self.classes[i] for i in indices]
        synonyms = {n: s for n, s in self.synonyms.items() if n in names}
        return Vocabulary.from_names(names, synonyms=synonyms, template=self.template)

    def on_test_start(self) -> None:
        self._background = BoundedThreadPool()

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self.skipped.extend((skipped.path, skipped.reason) for skipped in batch["skipped"])
        if not batch["image_id"]:
            return
        images, masks = batch["image"], batch["mask"]
        assert self.predictor is not None
        seeds = [image_seed(self.seed, image_id) for image_id in batch["image_id"]]
        ground_truth = (lambda i: masks[i]) if self.predictor.needs_ground_truth else None
        prediction = self.predictor.predict(images, seeds, ground_truth)
        full = prediction.maps(self.everything).to(masks.device)
        everything = list(range(len(self.classes)))
        present = {i: mask[mask != IGNORE_INDEX].unique().tolist() for i, mask in enumerate(masks)}
        void = [i for i, classes in present.items() if not classes]
        self.skipped.extend((batch["path"][i], "every pixel of its mask is void") for i in void)
        shown = {i: classes for i, classes in present.items() if classes}
        oracle = maps_of_images(prediction, {i: self.vocabulary(classes) for i, classes in shown.items()})
        assert self._background is not None
        for i, classes in shown.items():
            both = [oracle[i].to(masks.device), full[i : i + 1]]
            if self.refine is not None:
                single = prediction.select(i)
                image = images[i : i + 1]
                both = [self.refine(m, image, single, known=k) for m, k in zip(both, (True, False), strict=True)]
            work = partial(self._score, batch["image_id"][i], both, masks[i], (classes, everything))
            self._background.submit(sum(maps.nbytes for maps in both) + masks[i].nbytes, work)

    def wait(self) -> None:
        """Wait until every image so far is scored. Raises the first error of the background."""
        if self._background is not None:
            self._background.wait()

    def stop(self) -> None:
        """End the background thread; what it has not started is not scored."""
        if self._background is not None:
            self._background.abandon()
            self._background = None

    @torch.inference_mode()
    def _score(
        self, image_id: str, both: Sequence[torch.Tensor], mask: torch.Tensor, offered: Sequence[Sequence[int]]
    ) -> None:
        """Count an image under both protocols: it is counted whole, or not at all."""
        for protocol, maps, classes in zip(PROTOCOLS, both, offered, strict=True):
            prediction = predict_mask(maps, *mask.shape)
            indices = torch.tensor(classes, device=mask.device)
            guess = self.scores[protocol].update(image_id, prediction, indices, mask)
            self.images[protocol][image_id] = image_miou(guess, mask)
            if self.save_mask is not None:
                self.save_mask(protocol, image_id, guess)

    def on_test_epoch_end(self) -> None:
        self.wait()
        self.stop()
        self.figures = {protocol: self.scores[protocol].figures() for protocol in PROTOCOLS}
        self.intervals = {protocol: self.scores[protocol].interval_table() for protocol in PROTOCOLS}
        self.reliability = {protocol: self.scores[protocol].reliability() for protocol in PROTOCOLS}
        for protocol in PROTOCOLS:
            every = gather_objects(self.images[protocol])
            self.images[protocol] = dict(sorted(item for part in every for item in part.items()))
        self.skipped = sorted({pair for part in gather_objects(self.skipped) for pair in part})

    def counts(self) -> nn.Module:
        """Everything that is counted, as one module: its state is what an interrupted evaluation continues from."""
        assert isinstance(self.scores, nn.Module)
        return self.scores

    def ranked(self) -> list[tuple[str, float]]:
        """Image ids and their mIoU with all classes offered, best first."""
        return sorted(self.images[PROTOCOLS[1]].items(), key=lambda pair: (-pair[1], pair[0]))

    def class_table(self, protocol: str) -> dict[str, float]:
        """IoU per class name; nan where a class has neither ground truth nor prediction."""
        return dict(zip(self.classes, self.scores[protocol].per_class().tolist(), strict=True))

    def matrices(self) -> dict[str, np.ndarray]:
        """Confusion matrices [K, K] by protocol, rows ground truth."""
        return {protocol: self.scores[protocol].confusion.compute().cpu().numpy() for protocol in PROTOCOLS}

    def ground_truth_pixels(self) -> dict[str, int]:
        """Pixels of each class in the ground truth of all images that were scored; void counts nowhere."""
        counts = self.scores[PROTOCOLS[1]].confusion.compute().sum(dim=1)
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def confusions(self, protocol: str, max_pairs: int = 15) -> list[dict[str, Any]]:
        """The largest confusions: true class, predicted class, pixels, and fraction of the true class's pixels."""
        matrix = self.scores[protocol].confusion.compute().cpu().double()
        fraction = matrix / matrix.sum(dim=1, keepdim=True).clamp_min(1)
        off = matrix - matrix.diagonal().diag()
        worst = off.flatten().argsort(descending=True)[:max_pairs].tolist()
        pairs = [divmod(i, len(self.classes)) for i in worst if off.flatten()[i] > 0]
        return [
            {
                "ground_truth": self.classes[t],
                "predicted": self.classes[p],
                "pixels": int(matrix[t, p]),
                "fraction": float(fraction[t, p]),
            }
            for t, p in pairs
        ]
