"""Zero-shot segmentation of a dataset, scored under both protocols in one run.

    oracle-presence    only the classes that are in the picture are offered (as every published DiT figure)
    full-vocabulary    every class of the dataset is offered

Each picture is recorded once and asked once per protocol.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
import torch

from ca_seg.heads.zero_shot import decide
from ca_seg.metrics.average_precision import MeanAveragePrecision
from ca_seg.metrics.confusion import ConfusionMatrix, class_iou, mean_accuracy, miou, pixel_accuracy
from ca_seg.vocabulary import Vocabulary

PROTOCOLS = ("oracle-presence", "full-vocabulary")
GALLERY = 4  # pictures kept at each end of the ranking


class Recorded(Protocol):
    def select(self, picture: int) -> Recorded: ...

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor: ...  # [B, K, h, w]


Record = Callable[[torch.Tensor, Sequence[int]], Recorded]  # pictures [B, 3, H, W] in 0..1, one seed each
Keep = Callable[[str, str, torch.Tensor], None]  # (protocol, stem, class indices [H, W])


class ZeroShot(pl.LightningModule):
    """Scores `record` on a dataset of `classes`. Nothing is trained, nothing enters a checkpoint.

    After `trainer.test`, `matrices` holds the confusion matrix [K, K] and `figures` pixel_accuracy, mean_accuracy, miou
    and map (all 0..1) of each protocol; `ranking` the stems of the best and worst pictures (mIoU of the picture,
    full vocabulary); `skipped` the pictures that could not be read.
    """

    def __init__(
        self,
        record: Record,
        classes: Sequence[str],
        *,
        synonyms: dict[str, list[str]] | None = None,
        template: str = "{}",
        seed: int = 0,
        keep: Keep | None = None,
    ) -> None:
        super().__init__()
        self.record: Record | None = record
        self.seed, self.keep = seed, keep
        self.classes, self.synonyms, self.template = tuple(classes), synonyms or {}, template
        self.confusion = torch.nn.ModuleDict({p: ConfusionMatrix(len(self.classes)) for p in PROTOCOLS})
        self.precision = torch.nn.ModuleDict({p: MeanAveragePrecision("present") for p in PROTOCOLS})
        self.everything = self.vocabulary(range(len(self.classes)))
        self.scored = 0
        self.skipped: list[tuple[str, str]] = []
        self.matrices: dict[str, torch.Tensor] = {}
        self.figures: dict[str, dict[str, float]] = {}
        self._best: list[tuple[float, str]] = []
        self._worst: list[tuple[float, str]] = []

    def vocabulary(self, indices: Sequence[int]) -> Vocabulary:
        """The vocabulary of some of the classes."""
        names = [self.classes[i] for i in indices]
        synonyms = {n: s for n, s in self.synonyms.items() if n in names}
        return Vocabulary.from_names(names, synonyms=synonyms, template=self.template)

    def test_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self.skipped.extend((skipped.path, skipped.reason) for skipped in batch["skipped"])
        if not batch["stem"]:
            return
        images, masks = batch["image"], batch["mask"]
        assert self.record is not None
        recorded = self.record(images, [picture_seed(self.seed, stem) for stem in batch["stem"]])
        full = recorded.maps(self.everything).to(masks.device)
        for i, stem in enumerate(batch["stem"]):
            mask = masks[i]
            present = mask[mask != 255].unique().tolist()
            if not present:
                self.skipped.append((batch["path"][i], "every pixel of its mask is void"))
                continue
            own = recorded.select(i).maps(self.vocabulary(present)).to(masks.device)
            self._score("oracle-presence", stem, own, mask, present)
            self._score("full-vocabulary", stem, full[i : i + 1], mask, list(range(len(self.classes))))
            self.scored += 1

    def _score(self, protocol: str, stem: str, maps: torch.Tensor, mask: torch.Tensor, offered: list[int]) -> None:
        segmentation = decide(maps, *mask.shape)
        guess = torch.tensor(offered, device=mask.device)[segmentation.mask[0]]
        self.confusion[protocol].update(guess, mask)
        local = torch.full((256,), 255, device=mask.device)
        local[torch.tensor(offered, device=mask.device)] = torch.arange(len(offered), device=mask.device)
        self.precision[protocol].update(segmentation.scores, local[mask][None])
        if protocol == "full-vocabulary":
            self._rank(stem, guess, mask)
        if self.keep is not None:
            self.keep(protocol, stem, guess)

    def _rank(self, stem: str, guess: torch.Tensor, mask: torch.Tensor) -> None:
        counted = mask != 255
        ious = [
            ((guess == c) & (mask == c) & counted).sum() / (((guess == c) | (mask == c)) & counted).sum()
            for c in mask[counted].unique()
        ]
        score = float(torch.stack(ious).mean())
        for heap, key in ((self._best, score), (self._worst, -score)):
            heapq.heappush(heap, (key, stem))
            if len(heap) > GALLERY:
                heapq.heappop(heap)

    @property
    def ranking(self) -> dict[str, list[tuple[str, float]]]:
        """Stems and per-picture mIoU, best first and worst first."""
        return {
            "best": [(stem, key) for key, stem in sorted(self._best, reverse=True)],
            "worst": [(stem, -key) for key, stem in sorted(self._worst, reverse=True)],
        }

    def on_test_epoch_end(self) -> None:
        for protocol in PROTOCOLS:
            matrix = self.confusion[protocol].compute()
            self.matrices[protocol] = matrix
            self.figures[protocol] = {
                "miou": float(miou(matrix)),
                "pixel_accuracy": float(pixel_accuracy(matrix)),
                "mean_accuracy": float(mean_accuracy(matrix)),
                "map": float(self.precision[protocol].compute()),
            }

    def class_table(self, protocol: str) -> dict[str, float]:
        """IoU per class name; nan where a class has neither truth nor prediction."""
        return dict(zip(self.classes, class_iou(self.matrices[protocol]).tolist(), strict=True))

    def confusions(self, protocol: str, most: int = 15) -> list[dict[str, Any]]:
        """The largest confusions: true class, predicted class, share of the true class's pixels."""
        matrix = self.matrices[protocol].cpu().double()
        share = matrix / matrix.sum(dim=1, keepdim=True).clamp_min(1)
        off = matrix - matrix.diagonal().diag()
        worst = off.flatten().argsort(descending=True)[:most].tolist()
        pairs = [divmod(i, len(self.classes)) for i in worst if off.flatten()[i] > 0]
        return [{"truth": self.classes[t], "predicted": self.classes[p], "share": float(share[t, p])} for t, p in pairs]


def picture_seed(seed: int, stem: str) -> int:
    """A picture's noise depends on its name and the run's seed, not on its place in a batch."""
    value = seed
    for character in stem:
        value = (value * 1_000_003 + ord(character)) % (2**31)
    return value
