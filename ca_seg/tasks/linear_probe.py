"""Train a linear head on the concept-projected features of a frozen backbone.

picture ──► backbone (frozen, eval, not in the checkpoint) ──► features [L*C, h, w] ──► head ──► logits
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.pictures import resize_out
from ca_seg.data.seeds import picture_seed
from ca_seg.heads.linear import LinearHead
from ca_seg.metrics.confusion import ConfusionMatrix, miou, pixel_accuracy
from ca_seg.vocabulary import Vocabulary


class LinearProbe(pl.LightningModule):
    """Only the head has parameters, and only the head is in `state_dict()`.

    AdamW with a cosine to zero, cross entropy in the picture's own size, void ignored.
    """

    def __init__(
        self,
        backbone: Backbone,
        classes: tuple[str, ...],
        *,
        lr: float = 1e-3,
        weight_decay: float = 1e-3,
        dropout: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._frozen = (backbone,)  # a tuple, so that it is no submodule
        self.vocabulary = Vocabulary.from_names(classes)
        self.head = LinearHead(len(backbone.card.layers) * len(classes), len(classes), dropout=dropout)
        self.confusion = ConfusionMatrix(len(classes))
        self.lr, self.weight_decay, self.seed = lr, weight_decay, seed
        self.skipped: dict[str, str] = {}  # why, by path

    @property
    def backbone(self) -> Backbone:
        return self._frozen[0]

    def setup(self, stage: str) -> None:
        self.backbone.to(self.device)

    def features(self, batch: dict[str, Any]) -> torch.Tensor:
        """[B, L * C, h, w], without a gradient."""
        seeds = [picture_seed(self.seed, stem) for stem in batch["stem"]]
        with torch.no_grad():
            return self.backbone.record(batch["image"], seed=seeds).ask(self.vocabulary).projected()

    def forward(self, batch: dict[str, Any]) -> torch.Tensor:
        """Class logits [B, K, H, W] in the pictures' own size."""
        return resize_out(self.head(self.features(batch)), *batch["mask"].shape[-2:])

    def training_step(self, batch: dict[str, Any], batch_index: int) -> torch.Tensor | None:
        self._note(batch)
        if not batch["stem"] or (batch["mask"] == 255).all():
            return None
        loss = cross_entropy(self(batch), batch["mask"], ignore_index=255)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch["stem"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        self._note(batch)
        if batch["stem"]:
            self.confusion.update(self(batch).argmax(dim=1), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        matrix = self.confusion.compute()
        self.log_dict({"val/miou": miou(matrix), "val/pixel_accuracy": pixel_accuracy(matrix)}, prog_bar=True)
        self.confusion.reset()

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.head.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _note(self, batch: dict[str, Any]) -> None:
        self.skipped.update({skipped.path: skipped.reason for skipped in batch["skipped"]})
