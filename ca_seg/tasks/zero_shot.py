"""Zero-shot segmentation of a dataset, scored under both protocols in one run.

    oracle-presence    only the classes that are in the picture are offered (as every published DiT figure)
    full-vocabulary    every class of the dataset is offered

Each picture is recorded once and asked once per protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torchmetrics import Metric

from ca_seg.data.seeds import picture_seed
from ca_seg.heads.zero_shot import decide
from ca_seg.tasks.scores import ProtocolScores, all_of, picture_miou
from ca_seg.vocabulary import Vocabulary

PROTOCOLS = ("oracle-presence", "full-vocabulary")


class Recorded(Protocol):
    def select(self, picture: int) -> Recorded: ...

    def maps(self, vocabulary: Vocabulary) -> torch.Tensor: ...  # [B, K, h, w]


# pictures [B, 3, H, W] in 0..1, one seed each; a bound that names by the truth says `sees_truth` and is given it
Record = Callable[..., Recorded]
Refine = Callable[[torch.Tensor, torch.Tensor, Recorded], torch.Tensor]  # maps, picture [1, 3, H, W] and its recording
Keep = Callable[[str, str, torch.Tensor], None]  # (protocol, stem, class indices [H, W])


class ZeroShot(pl.LightningModule):
    """Scores `record` on a dataset of `classes`. Nothing is trained, nothing enters a checkpoint.

    `refine` changes the class maps of a picture before the decision. After `trainer.test`, `figures` holds the figures
    of each protocol (all 0..1), `intervals` their 95 % intervals, `reliability` the bins of its plot, `pictures` the
    mIoU of every picture by protocol and stem, `skipped` those that could not be scored, with the reason. In several
    processes all of these are of the whole dataset, in each.
    """

    def __init__(
        self,
        record: Record,
        classes: Sequence[str],
        *,
        synonyms: dict[str, list[str]] | None = None,
        template: str = "{}",
        refine: Refine | None = None,
        calibrated: bool = True,
        seed: int = 0,
        keep: Keep | None = None,
    ) -> None:
        super().__init__()
        self.record: Record | None = record
        self.refine, self.seed, self.keep = refine, seed, keep
        self.classes, self.synonyms, self.template = tuple(classes), synonyms or {}, template
        self.scores = torch.nn.ModuleDict(
            {p: ProtocolScores(len(self.classes), calibrated=calibrated) for p in PROTOCOLS}
        )
        self.everything = self.vocabulary(range(len(self.classes)))
        self.pictures: dict[str, dict[str, float]] = {protocol: {} for protocol in PROTOCOLS}
        self.skipped: list[tuple[str, str]] = []
        self.figures: dict[str, dict[str, float]] = {}
        self.intervals: dict[str, dict[str, list[float]]] = {}
        self.reliability: dict[str, list[dict[str, float]]] = {}

    @property
    def scored(self) -> int:
        return len(self.pictures[PROTOCOLS[1]])

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
        seeds = [picture_seed(self.seed, stem) for stem in batch["stem"]]
        told = {"truths": lambda i: masks[i].cpu().numpy()} if getattr(self.record, "sees_truth", False) else {}
        recorded = self.record(images, seeds, **told)
        full = recorded.maps(self.everything).to(masks.device)
        for i, stem in enumerate(batch["stem"]):
            mask = masks[i]
            present = mask[mask != 255].unique().tolist()
            if not present:
                self.skipped.append((batch["path"][i], "every pixel of its mask is void"))
                continue
            own = recorded.select(i)
            oracle = own.maps(self.vocabulary(present)).to(masks.device)
            everything = list(range(len(self.classes)))
            for protocol, maps, offered in zip(
                PROTOCOLS, (oracle, full[i : i + 1]), (present, everything), strict=True
            ):
                maps = maps if self.refine is None else self.refine(maps, images[i : i + 1], own)
                self._score(protocol, stem, maps, mask, offered)

    def _score(self, protocol: str, stem: str, maps: torch.Tensor, mask: torch.Tensor, offered: list[int]) -> None:
        decided = decide(maps, *mask.shape)
        guess = self.scores[protocol].update(stem, decided, torch.tensor(offered, device=mask.device), mask)
        self.pictures[protocol][stem] = picture_miou(guess, mask)
        if self.keep is not None:
            self.keep(protocol, stem, guess)

    def on_test_epoch_end(self) -> None:
        self.figures = {protocol: self.scores[protocol].figures() for protocol in PROTOCOLS}
        self.intervals = {protocol: self.scores[protocol].interval_table() for protocol in PROTOCOLS}
        self.reliability = {protocol: self.scores[protocol].reliability() for protocol in PROTOCOLS}
        for protocol in PROTOCOLS:
            every = all_of(self.pictures[protocol])
            self.pictures[protocol] = dict(sorted(item for part in every for item in part.items()))
        self.skipped = sorted({pair for part in all_of(self.skipped) for pair in part})

    def metrics(self) -> list[Metric]:
        return [module for module in self.scores.modules() if isinstance(module, Metric)]

    def ranked(self) -> list[tuple[str, float]]:
        """Stems and per-picture mIoU with all classes offered, best first."""
        return sorted(self.pictures[PROTOCOLS[1]].items(), key=lambda pair: (-pair[1], pair[0]))

    def class_table(self, protocol: str) -> dict[str, float]:
        """IoU per class name; nan where a class has neither truth nor prediction."""
        return dict(zip(self.classes, self.scores[protocol].per_class().tolist(), strict=True))

    def matrices(self) -> dict[str, np.ndarray]:
        """Confusion matrices [K, K] by protocol, rows truth."""
        return {protocol: self.scores[protocol].confusion.compute().cpu().numpy() for protocol in PROTOCOLS}

    def confusions(self, protocol: str, most: int = 15) -> list[dict[str, Any]]:
        """The largest confusions: true class, predicted class, pixels, and share of the true class's pixels."""
        matrix = self.scores[protocol].confusion.compute().cpu().double()
        share = matrix / matrix.sum(dim=1, keepdim=True).clamp_min(1)
        off = matrix - matrix.diagonal().diag()
        worst = off.flatten().argsort(descending=True)[:most].tolist()
        pairs = [divmod(i, len(self.classes)) for i in worst if off.flatten()[i] > 0]
        return [
            {
                "truth": self.classes[t],
                "predicted": self.classes[p],
                "pixels": int(matrix[t, p]),
                "share": float(share[t, p]),
            }
            for t, p in pairs
        ]
